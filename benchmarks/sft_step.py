"""One SFT step (encode, loss, backward, AdamW): Holdfast and TRL, each in a process of its own.

    python benchmarks/sft_step.py                  a tiny model on the CPU
    python benchmarks/sft_step.py --device cuda --shape qwen2.5-vl-3b

TRL is needed here alone: pip install --no-deps trl==1.16.0
"""

from __future__ import annotations

from steps.duel import arguments, run
from steps.workload import Case

CPU = [("sft", 16, 1, 16, 56), ("sft", 4, 1, 16, 392)]  # objective, batch, 1, target tokens, image side
GPU = [("sft", 16, 1, 128, 868)]
GPU_WORDS = 32


def main() -> None:
    options = arguments(__doc__).parse_args()
    common = {"shape": options.shape, "device": options.device, "threads": options.threads}
    if options.shape == "tiny":
        cases = [Case(*size, **common) for size in (CPU[:1] if options.quick else CPU)]
    else:
        common |= {"dtype": "bfloat16", "words": GPU_WORDS, "micro_prompts": 8, "checkpointing": True}
        cases = [Case(*size, **common) for size in GPU]
    run("sft_step", cases, options)


if __name__ == "__main__":
    main()

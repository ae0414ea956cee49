"""One SFT step (encode, loss, backward, AdamW): Holdfast and TRL, each in a process of its own.

    python benchmarks/sft_step.py                  a tiny model on the CPU
    python benchmarks/sft_step.py --device cuda --shape qwen2.5-vl-3b

TRL is needed here alone: pip install --no-deps trl==1.16.0
"""

from __future__ import annotations

from steps.command import LORA_RANK, arguments, run
from steps.workload import Case

CPU = [("sft", 16, 1, 16, 56), ("sft", 4, 1, 16, 392)]  # objective, batch, 1, target tokens, image side
GPU = [("sft", 4, 1, 64, 448, 37), ("sft", 16, 1, 128, 868, 32)]  # and words
GPU_MICRO = 8  # most prompts in a training forward, in both arms


def main() -> None:
    options = arguments(__doc__).parse_args()
    common = {"shape": options.shape, "device": options.device, "threads": options.threads}
    common["lora"] = LORA_RANK if options.lora else None
    if options.shape.startswith("tiny"):
        cases = [Case(*size, **common) for size in (CPU[:1] if options.quick else CPU)]
    else:
        common |= {"dtype": "bfloat16", "checkpointing": True}
        sizes = GPU[:1] if options.quick else GPU
        cases = [Case(*size, **common, micro_prompts=min(GPU_MICRO, size[1])) for size in sizes]
    raise SystemExit(run("sft_step", cases, options))


if __name__ == "__main__":
    main()

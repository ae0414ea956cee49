"""One RFT step (sample, reward, loss, backward, AdamW): Holdfast and TRL, each in a process of its own.

    python benchmarks/rft_step.py                  a tiny model on the CPU, a few minutes
    python benchmarks/rft_step.py --quick          the smallest sizes, under a minute
    python benchmarks/rft_step.py --device cuda --shape qwen2.5-vl-3b    random weights, bfloat16

Both arms hold their model, gradients and optimiser at once: about 2 × 60 GB for the 7B shape.
TRL is needed here alone: pip install --no-deps trl==1.16.0
"""

from __future__ import annotations

from steps.duel import arguments, run
from steps.workload import Case

CPU = [  # objective, prompts, group, completion, image side
    ("grpo", 16, 8, 16, 56),
    ("grpo", 4, 8, 16, 392),
    ("grpo", 4, 8, 64, 392),
    ("grpo", 2, 8, 64, 784),
    ("rloo", 16, 8, 16, 56),
]
GPU = [("grpo", 16, 8, 128, 868), ("grpo", 16, 8, 512, 868)]
GPU_WORDS = 32  # 961 image tokens and these make 1,000
GPU_MICRO = 2  # prompts in a training forward, in both arms


def main() -> None:
    options = arguments(__doc__).parse_args()
    common = {"shape": options.shape, "device": options.device, "threads": options.threads}
    if options.shape == "tiny":
        sizes = CPU[:2] + CPU[-1:] if options.quick else CPU
        cases = [Case(*size, **common) for size in sizes]
    else:
        common |= {"dtype": "bfloat16", "words": GPU_WORDS, "micro_prompts": GPU_MICRO, "checkpointing": True}
        cases = [Case(*size, **common) for size in (GPU[:1] if options.quick else GPU)]
    run("rft_step", cases, options)


if __name__ == "__main__":
    main()

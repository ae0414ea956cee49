"""One RFT step (sample, reward, loss, backward, AdamW): Holdfast and TRL, each in a process of its own.

    python benchmarks/rft_step.py                  a tiny model on the CPU, a few minutes
    python benchmarks/rft_step.py --quick          the smallest sizes, under a minute
    python benchmarks/rft_step.py --shape tiny-qwen3.5                    layers that carry a state
    python benchmarks/rft_step.py --shape tiny-gemma3                     layers that see a window
    python benchmarks/rft_step.py --device cuda --shape qwen2.5-vl-3b    random weights, bfloat16
    python benchmarks/rft_step.py --arms holdfast --base ../older    this checkout against another

A table is printed whatever the arms do; an arm that takes too long for a step (--step-limit) is killed
and says so in its cell. On a GPU one arm follows the other, so that each has all of the memory; the 7B
shape takes about 60 GB. TRL is needed here alone: pip install --no-deps trl==1.16.0
"""

from __future__ import annotations

from steps.command import LORA_RANK, arguments, run
from steps.workload import Case

CPU = [  # objective, prompts, group, completion, image side
    ("grpo", 16, 8, 16, 56),
    ("grpo", 4, 8, 16, 392),
    ("grpo", 4, 8, 64, 392),
    ("grpo", 2, 8, 64, 784),
    ("rloo", 16, 8, 16, 56),
]
GPU = [  # and words: 256 image tokens and 37 make 300 with the frame, 961 and 32 make 1,000
    ("grpo", 4, 8, 64, 448, 37),
    ("grpo", 16, 8, 128, 868, 32),
    ("grpo", 16, 8, 512, 868, 32),
]
GPU_MICRO = 2  # prompts in a training forward, in both arms


def main() -> None:
    options = arguments(__doc__).parse_args()
    common = {"shape": options.shape, "device": options.device, "threads": options.threads}
    common["lora"] = LORA_RANK if options.lora else None
    if options.shape.startswith("tiny"):
        sizes = CPU[:2] + CPU[-1:] if options.quick else CPU
        cases = [Case(*size, **common) for size in sizes]
    else:
        common |= {"dtype": "bfloat16", "micro_prompts": GPU_MICRO, "checkpointing": True}
        cases = [Case(*size, **common) for size in (GPU[:1] if options.quick else GPU)]
    raise SystemExit(run("rft_step", cases, options))


if __name__ == "__main__":
    main()

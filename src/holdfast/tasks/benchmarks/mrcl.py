"""MRCL (arXiv 2607.04364): five tasks that need reasoning, in the order of its authors.

Right is an equal value or text, part by part where parts are parted by semicolons; FinMME's options have no
order, and some of them earn half.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.conversations import conversations

_TASKS = {
    "medbookvqa": ("MedBookVQA", "medical pictures from textbooks", "parts"),
    "navigation": ("Navigation", "ways through mazes and maps", "parts"),
    "we_math2": ("We-Math2", "mathematics with figures", "parts"),
    "puzzle": ("Puzzle", "visual puzzles", "parts"),
    "finmme": ("FinMME", "financial charts, numbers with a tolerance", "option_set"),
}
BENCHMARKS = tuple(
    conversations(
        f"mrcl_{name}",
        f"{description} (MRCL)",
        hub="MaolinLuo/MRCL",
        files={"train": (f"{place}/jsons/train/data.json",), "test": (f"{place}/jsons/test/data.json",)},
        pictures=(f"{place}/images", place),
        scorer=scorer,
    )
    for name, (place, description, scorer) in _TASKS.items()
)

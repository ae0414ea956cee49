"""CoIN (arXiv 2403.08350): eight tasks of instruction tuning, from its own instruction files.

Its TextVQA is our `textvqa`: the same rows, judged by ten answers that its files do not hold. Images lie in
the folder as their names say (`COCO2014/train2014/…`).
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.conversations import conversations
from holdfast.tasks.task import Split

_TASKS = {
    "scienceqa": ("ScienceQA", "letters, also of questions without an image", "choice"),
    "imagenet": ("ImageNet", "what a photo shows", "exact"),
    "gqa": ("GQA", "scenes, a word", "gqa"),
    "vizwiz": ("VizWiz", "photos by blind people, one reference", "exact"),
    "grounding": ("Grounding", "where a thing is, as a box (RefCOCO, RefCOCO+, RefCOCOg)", "box"),
    "vqav2": ("VQAv2", "photos, one reference", "exact"),
    "ocrvqa": ("OCRVQA", "book covers", "exact"),
}
_SIZES: dict[str, dict[Split, int]] = {
    "scienceqa": {"train": 12726, "test": 4241},
    "imagenet": {"train": 129833, "test": 5050},
    "gqa": {"train": 72140, "test": 12578},
}
BENCHMARKS = tuple(
    conversations(
        f"coin_{name}",
        f"{description} (CoIN)",
        hub="Zacks-Chen/CoIN",
        files={
            "train": (f"Instructions_Original/{place}/train.json", f"{place}/train.json"),
            "test": tuple(
                f"{folder}{place}/{split}.json"
                for folder in ("Instructions_Original/", "")
                for split in ("test", "val")
            ),
        },
        pictures=("cl_dataset", "."),
        scorer=scorer,
        answer="answer_bbox" if scorer == "box" else "answer",
        sizes=_SIZES.get(name),
    )
    for name, (place, description, scorer) in _TASKS.items()
)

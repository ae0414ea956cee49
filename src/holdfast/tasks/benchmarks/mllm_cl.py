"""MLLM-CL's domains (arXiv 2506.05453): five fields in the order of its authors' scripts.

The authors' scripts count an answer of remote sensing, medicine and driving that *contains* the reference,
which a policy that is rewarded for it can exploit by naming everything. Here all five ask for an equal text.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.conversations import conversations

_TASKS = {
    "rs": ("RS", "remote sensing"),
    "med": ("Med", "pathology"),
    "ad": ("AD", "driving scenes"),
    "sci": ("Sci", "science diagrams and maps"),
    "fin": ("Fin", "stock charts, choices and true or false"),
}
BENCHMARKS = tuple(
    conversations(
        f"mllm_cl_{name}",
        f"{description} (MLLM-CL)",
        hub="MLLM-CL/MLLM-CL",
        licence="Apache 2.0 by the repository; its sources have their own",
        files={"train": (f"{place}/train.json",), "test": (f"{place}/test.json",)},
        pictures=(place,),
        scorer="exact",
    )
    for name, (place, description) in _TASKS.items()
)

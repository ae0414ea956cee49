"""Holdfast: continual post-training of vision-language models, and what it makes them forget.

    import holdfast

    experiment = holdfast.load_experiment("configs/embedded/demo.yaml", ["seeds=[0, 1]"])
    results = holdfast.run(experiment, workers=2)
    results.metrics()    # a pandas frame: AvgAcc, FM, BWT, ... of each method and seed

What a name needs is imported when the name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.analysis.results import Results as Results
    from holdfast.api import load_experiment as load_experiment
    from holdfast.api import load_results as load_results
    from holdfast.api import run as run
    from holdfast.config.experiment import Experiment as Experiment
    from holdfast.errors import HoldfastError as HoldfastError
    from holdfast.errors import InputError as InputError
    from holdfast.policy.policy import Policy as Policy
    from holdfast.policy.settings import ModelSettings as ModelSettings
    from holdfast.policy.settings import Sampling as Sampling
    from holdfast.tasks.example import Example as Example
    from holdfast.tasks.task import Task as Task

__version__ = "0.1.0"

_PUBLIC = {
    "load_experiment": "holdfast.api",
    "load_results": "holdfast.api",
    "run": "holdfast.api",
    "Experiment": "holdfast.config.experiment",
    "HoldfastError": "holdfast.errors",
    "InputError": "holdfast.errors",
    "Results": "holdfast.analysis.results",
    "Policy": "holdfast.policy.policy",
    "ModelSettings": "holdfast.policy.settings",
    "Sampling": "holdfast.policy.settings",
    "Example": "holdfast.tasks.example",
    "Task": "holdfast.tasks.task",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'holdfast' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

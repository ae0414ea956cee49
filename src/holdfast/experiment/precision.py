"""Steps that are too small for the numbers they are added to, told before a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from holdfast.config.experiment import Experiment
from holdfast.experiment.identity import model_folder
from holdfast.learning.schedule import learning_rate
from holdfast.weights import sample_weights

# Significant bits of what steps are added to. (Where an error of addition is kept in bfloat16 beside a
# bfloat16 weight, it can be as large as half the weight's last digit, and has 8 bits from there on.)
_FLOAT32, _KAHAN, _BFLOAT16 = 24, 17, 8
_MOST = 0.5  # of the weights: with fewer there is nothing to say


def rounded_away(experiment: Experiment) -> Iterator[str]:
    """A sentence for each method whose steps most of the model's weights cannot hold.

    AdamW moves a weight by about the learning rate in a step, and by no more than the sum of a stage's
    rates in a stage. What is less than half a unit in the last place of a weight leaves it as it is.
    """
    model, folder = experiment.model, model_folder(experiment.model)
    if folder is None or model.lora is not None:  # adapters start near zero
        return
    weights = np.abs(np.concatenate([sample_weights(file) for file in sorted(folder.glob("*.safetensors"))]))
    if not len(weights := weights[(weights > 0) & np.isfinite(weights)]):
        return
    for name, method in experiment.methods.items():
        kahan = model.trains_bfloat16 and method.optimizer_state == "kahan"
        share = _lost(weights, method.learning_rate, _KAHAN if kahan else _FLOAT32)
        if share > _MOST:
            yield (
                f"Method {name}: its steps of about {method.learning_rate:g} are less than half a unit in "
                f"the last place of {share:.0%} of the weights, so most are rounded away. "
                "Raise learning_rate."
            )
        elif model.trains_bfloat16:
            steps = method.updates * experiment.longest_stage(method)
            most = sum(learning_rate(method, step, steps) for step in range(steps))
            if (share := _lost(weights, most, _BFLOAT16)) > _MOST:
                yield (
                    f"Method {name}: {steps} steps, together at most about {most:.1g}, are less than half "
                    f"a unit in the last place of {share:.0%} of the weights in bfloat16. Within a stage "
                    "nothing is lost, but in what it saves most weights will be as they were. Raise "
                    "learning_rate or iterations, or use model.dtype=float32."
                )


def _lost(weights: np.ndarray, step: float, bits: int) -> float:
    """Share of the weights (absolute values above 0) that a step of this size does not change."""
    return float((step < 2.0 ** (np.floor(np.log2(weights)) - bits)).mean())

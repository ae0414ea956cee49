"""A model in parts (`shard: full`): the same bits as whole, a rank's share of the memory, and nobody waits in vain."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.errors import HoldfastError, InputError
from holdfast.learning.loop import check_weights
from holdfast.learning.methods import Shard, make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.policy import sharding
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.policy.team import Team
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES, render_prompt
from team_helpers import METHODS, check_same, learned, together

QUICK = {"sft", "kl, two updates"}
EXAMPLES = TASKS["reading"].examples("train", 16)


@pytest.mark.parametrize(
    "name",
    [
        one if one in QUICK else pytest.param(one, marks=pytest.mark.cluster)
        for one in METHODS
        if one not in ("self-distillation", "strategies")
    ],
)
def test_ranks_with_parts_of_a_model_learn_the_same_bits(name: str, tmp_path: Path) -> None:
    (expected,) = together(1, learned, name, tmp_path / "1")
    assert isinstance(expected, tuple), expected
    assert all(row["skipped"] == 0 and row["grad_norm"] > 0 for row in expected[1])
    for size in (2, 4):
        given = together(size, learned, name, tmp_path / str(size), 4, None, "full")
        check_same(given, expected)


if __name__ == "__main__":
    import sys, tempfile
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            test_ranks_with_parts_of_a_model_learn_the_same_bits(name, Path(folder))
            print(name, "ok", flush=True)

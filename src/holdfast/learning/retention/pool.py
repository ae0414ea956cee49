"""The examples a strategy comes back to, and what its memory holds of each.

Memory is made of tensors, so an example is known there by a key, a hash of its task and id, and what is
remembered of it is a row of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from random import Random

import torch

from holdfast.generate.rollouts import Item
from holdfast.learning.groups import Groups
from holdfast.learning.methods import RFT, SDFT, Method
from holdfast.learning.retention import Memory
from holdfast.learning.stage import Stage
from holdfast.rng import seed


def key_of(item: Item) -> int:
    """What memory calls an example; 63 bits."""
    return _key(item[0].name, item[1].id)


def known(stage: Stage) -> dict[int, Item]:
    """The examples of a stage and of the earlier ones, by key."""
    pools = [*stage.earlier.values(), stage.items]
    return {key_of(item): item for pool in pools for item in pool}


def old_rows(stage: Stage, groups: Groups) -> list[int]:
    """Which prompts are of earlier tasks, whoever chose them."""
    earlier = stage.earlier.keys() - {task.name for task, _ in stage.items}
    return [row for row, (task, _) in enumerate(groups.items) if task.name in earlier]


def spread(pools: Sequence[Sequence[Item]], count: int, draw: Random) -> list[Item]:
    """So many examples, of all pools alike; each once where there are enough."""
    left = [list(pool) for pool in pools]
    order = draw.sample(range(len(left)), len(left))
    chosen = []
    for index in range(count):
        pool = left[order[index % len(left)]]
        chosen.append(pool.pop(draw.randrange(len(pool))) if len(pool) > 1 else pool[0])
    return chosen


def mixed(new: Sequence[Item], old: Sequence[Item]) -> list[Item]:
    """Both, in their orders, the old ones evenly between the new: so each update of a batch has its share."""
    placed = [
        ((row + 0.5) / len(items), is_new, row, item)
        for is_new, items in ((True, new), (False, old))
        for row, item in enumerate(items)
    ]
    return [item for *_, item in sorted(placed, key=lambda one: one[:3])]


def old_share(stage: Stage, groups: Groups) -> float:
    """The share of a batch that is of earlier tasks."""
    return len(old_rows(stage, groups)) / max(1, len(groups.items))


def pass_rates(groups: Groups) -> list[float]:
    """Of each prompt of a graded batch."""
    assert groups.scores_BG is not None, "the way of learning grades answers"
    return groups.scores_BG.mean(1).tolist()


def table(memory: Mapping[str, torch.Tensor], name: str) -> dict[int, list[float]]:
    """The rows of numbers under a name, by key."""
    if name not in memory:
        return {}
    return dict(zip(memory[f"{name}_keys"].tolist(), memory[name].tolist(), strict=True))


def keep_table(memory: Memory, name: str, rows: Mapping[int, Sequence[float]]) -> None:
    """Put a table into a memory under a name, in float32."""
    memory[f"{name}_keys"] = torch.tensor(list(rows), dtype=torch.long)
    memory[name] = torch.tensor(list(rows.values()), dtype=torch.float32)


def count(memory: Memory, name: str) -> int:
    """How often this was called before."""
    done = int(memory.get(name, 0))
    memory[name] = torch.tensor(done + 1)
    return done


def not_graded(method: Method) -> str | None:
    """Why a strategy that needs all graded answers of the policy's own cannot be used."""
    if not isinstance(method, RFT):
        return f"looks at the policy's graded answers, which {method.objective} has none of; use it with RFT"
    if method.refills:
        return "needs prompts whose answers are all alike, which refills replaces; leave refills out"
    return None


def not_right(method: Method) -> str | None:
    """Why a strategy that keeps right answers cannot be used."""
    if isinstance(method, SDFT):
        return "keeps right answers, and sdft grades none; use another objective"
    return None


@cache
def _key(task: str, id: str) -> int:
    return seed(task, id)

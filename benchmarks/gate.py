"""How often the gate is wrong: simulated releases with known truth, from the embedded model's own answers.

A release is judged on the core suite: five skills of as many items as `--power 0.9` names, drawn from the
embedded model's records with replacement. The new checkpoint turns a fifth of the judgements of every skill.
A *harmless* one loses as many as it gains; a *harmful* one loses five points net on one skill. What `holdfast
check` says of each is counted: with all items, and with looks on the way (`--sequential`). Where the embedded
model makes no mistake (presence) nothing can be gained: there, half of the base's answers are made wrong.

    python benchmarks/gate.py [--releases 1000] [--save]

Some minutes on one core.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from holdfast.analysis.power import CHURN, items_needed
from holdfast.analysis.sequential import looks_at
from holdfast.checkpoints import comparison
from holdfast.checkpoints.examine import examine
from holdfast.checkpoints.folder import Examined
from holdfast.checkpoints.looks import Looks, alike
from holdfast.checkpoints.subject import find_subject
from holdfast.config.load import load_exam
from holdfast.config.suites import suite
from holdfast.generate.evaluate import Enough
from holdfast.tasks.scoring import RIGHT

LOSS, POWER, LEVEL, MAX_DROP = 0.05, 0.9, 0.95, 0.01
FOLDER = Path(__file__).parent / "results"


def base_records() -> list[Examined]:
    """The embedded model's answers to the core suite, in its own prompts."""
    tasks, defaults = suite("core")
    exam = load_exam(["prompts=embedded", "evaluation.max_tokens=32"], None, tasks, defaults)
    return examine(find_subject("embedded", exam), exam)


def release(
    base: list[Examined], items: int, harmed: int | None, generator: np.random.Generator
) -> tuple[list[Examined], list[Examined]]:
    """A base and a new checkpoint, asked the same items.

    Args:
        harmed: the skill that loses; None: none.
    """
    before, after = [], []
    for place, one in enumerate(base):
        right_N = generator.choice(one.scores_N, size=items) >= RIGHT
        share, loss = float(right_N.mean()), LOSS if place == harmed else 0.0
        lost, gained = (CHURN + loss) / 2, (CHURN - loss) / 2
        if lost > share or gained > 1 - share:
            share, right_N = 0.5, generator.random(items) < 0.5
        chance_N = np.where(right_N, lost / share, gained / (1 - share))
        now_N = right_N ^ (generator.random(items) < chance_N)
        before.append(judged(one, right_N))
        after.append(judged(one, now_N))
    return before, after


def judged(one: Examined, right_N: np.ndarray) -> Examined:
    """The same task with other judgements; of records only what a comparison reads of them."""
    alike = {key: one.records[0][key] for key in ("id", "prompt", "reference", "response", "answer")}
    wrong, right = ({**alike, "score": score, "lenient": score} for score in (0.0, 1.0))
    records = [right if said else wrong for said in right_N.tolist()]
    return replace(one, records=records, inputs=one.inputs | {"examples": len(records)})


def fixed(before: list[Examined], after: list[Examined]) -> set[str]:
    """What the check without looks finds forgotten."""
    return set(comparison.compare(before, after, max_drop=MAX_DROP, level=LEVEL).named("forgotten"))


def looked(before: list[Examined], after: list[Examined]) -> tuple[set[str], int]:
    """What the check with looks finds, and the items that the new checkpoint was asked."""
    looks = Looks(before, max_drop=MAX_DROP, level=LEVEL)
    ended = []
    for one in after:
        watch = looks.watch(one.task)
        try:
            for count in looks_at(len(one.records)):  # as they come
                watch(dict(enumerate(one.records[:count])))
            ended.append(one)
        except Enough as enough:
            count = len(enough.records)
            ended.append(replace(one, records=one.records[:count], inputs=one.inputs | {"examples": count}))
    old = alike(before, ended)
    found = comparison.compare(old, ended, max_drop=MAX_DROP, level=LEVEL, looks=looks)
    return set(found.named("forgotten")), sum(len(one.records) for one in ended)


def percent(count: int, of: int) -> str:
    """With its 95 % interval (Wilson)."""
    share, z = count / of, 1.96
    middle, half = share + z**2 / 2 / of, z * (share * (1 - share) / of + z**2 / 4 / of**2) ** 0.5
    low, high = ((middle + side * half) / (1 + z**2 / of) for side in (-1, 1))
    low = max(low, 0.0)
    return f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--releases", type=int, default=1000)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/DATE-gate.md")
    options = parser.parse_args()
    base, count = base_records(), options.releases
    skills = len(base)
    lines = [
        "| way | items of a skill | false alarms, % | losses found, % | items asked where harmful, % |",
        "|---|---:|---:|---:|---:|",
    ]
    for sequential in (False, True):
        items = items_needed(
            POWER,
            loss=LOSS,
            rows=skills + (not sequential),
            level=LEVEL,
            max_drop=MAX_DROP,
            sequential=sequential,
        )
        alarms = found = asked = 0
        for number in range(count):
            generator = np.random.default_rng([number, sequential])
            harmed = number % skills
            for harm in (None, harmed):
                before, after = release(base, items, harm, generator)
                if sequential:
                    forgotten, spent = looked(before, after)
                else:
                    forgotten, spent = fixed(before, after), items * skills
                if harm is None:
                    alarms += bool(forgotten)
                else:
                    found += base[harmed].task in forgotten
                    asked += spent
        way = "with four looks (`--sequential`)" if sequential else "all items"
        share = f"{100 * asked / (count * items * skills):.1f}"
        lines.append(f"| {way} | {items:,} | {percent(alarms, count)} | {percent(found, count)} | {share} |")
        print(lines[-1], flush=True)
    if options.save:
        head = (
            f"# The gate on simulated releases, {date.today()}\n\n"
            f"`python benchmarks/gate.py --releases {count} --save`: {count:,} harmless and {count:,} "
            f"harmful releases each way, the {skills} skills of the core suite. {100 * CHURN:g} % of "
            f"judgements turn; a harmful release loses {100 * LOSS:g} points net on one skill. `--max-drop "
            f"1 --level 0.95`, items as `--power {POWER:g}` names them. 95 % intervals (Wilson) in "
            "brackets.\n\n"
        )
        path = FOLDER / f"{date.today()}-gate.md"
        path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()

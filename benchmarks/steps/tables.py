"""Results in Markdown, whatever the arms did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steps.duel import OURS, Result, Run
from steps.parts import REST, SAMPLING, TRAINING

NONE = "–"


def tables(results: Sequence[Result]) -> str:
    """The arms, Holdfast's parts against their floors, and a step taken apart."""
    return "\n\n".join(filter(None, [arms(results), floors(results), apart(results)]))


def arms(results: Sequence[Result]) -> str:
    """One row a case. The first arm is compared with each other one."""
    names = [run.rival.name for run in results[0].runs]
    others = names[1:]
    heads = [f"{name}, s" for name in names]
    heads += [_than("faster", name, others) for name in others]
    heads += [f"{name}, tokens/s" for name in names] + [f"{name}, MB" for name in names]
    heads += [_than("memory", name, others) for name in others]
    heads += ["estimate, MB", "floor, s", "times the floor"]
    rows = [["work", *heads]]
    for result in results:
        own = result.runs[0]
        row = [result.case.name(), *(_seconds(run) for run in result.runs)]
        row += [
            _both(own, run, lambda a, b: f"**{b.seconds() / a.seconds():.1f}×**") for run in result.runs[1:]
        ]
        tokens = result.case.completion_tokens
        row += [f"{tokens / run.seconds():.0f}" if run.steps else NONE for run in result.runs]
        row += [f"{run.peak / 1e6:.0f}" if run.steps else NONE for run in result.runs]
        row += [_both(own, run, lambda a, b: f"{a.peak / b.peak:.2f}") for run in result.runs[1:]]
        row += [NONE if result.estimate is None else f"{result.estimate / 1e6:.0f}"]
        least = result.floor
        row += [NONE if least is None else f"{least.total:.3f}"]
        row += [f"{own.seconds() / least.total:.1f}" if least is not None and own.steps else NONE]
        rows.append(row)
    return markdown(rows)


def floors(results: Sequence[Result]) -> str:
    """The halves of a step of Holdfast's, against what they cannot be faster than."""
    rows = [
        [
            "Holdfast's halves", "sample, s", "its floor", "train and update, s", "its floor",
            "share of the matrix rate in training", "matrix rate, TFLOP/s", "PyTorch's own",
            "bandwidth, GB/s",
        ]
    ]  # fmt: skip
    for result in results:
        for run in result.runs:
            if run.rival.module != OURS or not run.steps or result.floor is None or result.rates is None:
                continue
            sample, train = run.seconds("sample"), run.seconds("train")
            share = result.floor.train_operations / train / result.rates.operations
            rows.append(
                [
                    _work(result, run),
                    f"{sample:.3f}",
                    f"{result.floor.sample:.3f}",
                    f"{train:.3f}",
                    f"{result.floor.train + result.floor.update:.3f}",
                    f"{share:.0%}",
                    f"{result.rates.operations / 1e12:.3f}",
                    f"{result.rates.by_pytorch / 1e12:.3f}",
                    f"{result.rates.bytes / 1e9:.1f}",
                ]
            )
    return markdown(rows) if len(rows) > 1 else ""


def apart(results: Sequence[Result]) -> str:
    """Seconds of the parts of one step; they add up to it."""
    names = (*SAMPLING, *TRAINING, REST)
    rows = [["one step taken apart, s", *names]]
    for result in results:
        for run in result.runs:
            if run.parts:
                rows.append([_work(result, run), *(_part(run, name) for name in names)])
    return markdown(rows) if len(rows) > 1 else ""


def failures(results: Sequence[Result]) -> str:
    """What failed arms had to say, the end of it."""
    return "\n\n".join(
        f"{run.rival.name}, {result.case.name()}: {run.failure}\n{run.details.strip()}"
        for result in results
        for run in result.runs
        if run.failure and run.details.strip()
    )


def _work(result: Result, run: Run) -> str:
    own = run.rival.name == "Holdfast"
    return result.case.name() if own else f"{run.rival.name}: {result.case.name()}"


def _than(word: str, name: str, others: Sequence[str]) -> str:
    return word if len(others) == 1 else f"{word} ({name})"


def _part(run: Run, name: str) -> str:
    return f"{run.parts[name]:.3f}" if name in run.parts else NONE


def _seconds(run: Run) -> str:
    reason = run.failure.replace("|", "/")
    if not run.steps:
        return reason
    return f"{run.seconds():.3f}" + (f" ({len(run.steps)} of its steps, then {reason})" if reason else "")


def _both(own: Run, other: Run, text: Callable[[Run, Run], str]) -> str:
    return text(own, other) if own.steps and other.steps else NONE


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row holds its heads, the first column names."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])

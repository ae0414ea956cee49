"""What an experiment was run with, read from its resolved configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.analysis.axes import shown
from holdfast.analysis.method import MethodView
from holdfast.analysis.views import Analysis
from holdfast.report.rows import METHOD, STYLE, TASK, Row, named, strategies_of
from holdfast.report.section import Section, Terms
from holdfast.report.table import Column, Table, used

# Key in the configuration -> what the report calls it.
FACTS = (("train_examples", "Training examples per task"), ("test_examples", "Test items per task"))
METHOD_KEYS: tuple[tuple[str, str], ...] = (
    ("objective", "Objective"),
    ("learning_rate", "Learning rate"),
    ("iterations", "Iterations per task"),
    ("batch", "Batch"),
    ("group_size", "Group"),
    ("kl_coef", "KL"),
    ("filter", "Filter"),
    ("target", "SFT target"),
)
SFT_ONLY, RFT_ONLY = ("target",), ("kl_coef", "filter")
SAMPLING = ("group_size", "sampled_by", "show_answer", "resample_every")  # RFT and SFT on sampled targets


def section(analysis: Analysis) -> Section:
    tables = methods_table(analysis), tasks_table(analysis), left_out_table(analysis)
    said = Terms(setup(analysis))
    moved = _moved(analysis.results.made)
    return Section("setup", "What it was run with", "Setup", [said, *tables], cautions=moved)


def setup(analysis: Analysis) -> list[tuple[str, str]]:
    """(what, value) pairs in a few words each."""
    settings = analysis.results.settings
    facts = [("Base model", str(_mapping(settings.get("model")).get("path", "not recorded")))]
    if analysis.shared_order:
        facts += [("Sequence", " → ".join(analysis.shared_order))]
    else:
        facts += [(f"Tasks of {whose}", " → ".join(order)) for whose, order in _orders(analysis)]
    if analysis.results.general:
        facts += [("General benchmarks", ", ".join(analysis.results.general))]
    facts += _judged(settings)
    facts += [("Seeds", ", ".join(map(str, analysis.seeds)))]
    facts += [(name, _most(settings[key])) for key, name in FACTS if settings.get(key) is not None]
    evaluation = _mapping(settings.get("evaluation"))
    if "temperature" in evaluation:
        temperature = evaluation["temperature"]
        sampling = f"sampled at temperature {temperature:g}" if temperature else "greedy"
        facts += [("Evaluation", f"free generation, {sampling}, at most {evaluation['max_tokens']} tokens")]
    return facts + _made(analysis.results.made)


def _judged(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """By which rules own data are scored, and the reward where all that learn from one name its parts.

    (Where rewards differ, the table of methods says them.)
    """
    tasks = {task: _mapping(said).get("scorer") for task, said in _mapping(settings.get("tasks")).items()}
    scorers = [f"{task}: {Path(str(scorer)).name}" for task, scorer in tasks.items() if scorer]
    methods = map(_mapping, _mapping(settings.get("methods")).values())
    first, *others = [_mapping(method["reward"]) for method in methods if "reward" in method] or [{}]
    parts = [] if any(one != first for one in others) else first.items()
    facts = {
        "Scorers": ", ".join(scorers),
        "Reward": " + ".join(f"{shown(weight)} · {Path(part).name}" for part, weight in parts),
    }
    return [(what, said) for what, said in facts.items() if said]


def _orders(analysis: Analysis) -> list[tuple[str, tuple[str, ...]]]:
    """Each order of tasks, behind the value of the setting that makes it or else the names of its methods."""
    methods: dict[tuple[str, ...], list[MethodView]] = {}
    for method in analysis.sequential:
        methods.setdefault(method.order, []).append(method)
    found = []
    for order, group in methods.items():
        values = {shown(method.axes["order"]) for method in group if "order" in method.axes}
        named = f"order={values.pop()}" if len(values) == 1 else ", ".join(method.name for method in group)
        found.append((named, order))
    return found


def _made(made: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Where, when and with what the results were made, as far as they say; where they differ, each once."""

    def said(*keys: str) -> set[str]:
        return {", ".join(str(one[key]) for key in keys if one.get(key)) for one in made} - {""}

    versions = (_mapping(one.get("versions")) for one in made)
    days = sorted(day[:10] for day in said("date"))
    facts = {
        "Versions": {
            ", ".join(f"{name} {number}" for name, number in one.items()) for one in versions if one
        },
        "Machine": said("machine", "device"),
        "Threads of a job": said("threads"),
        "Commit of the base model": said("commit"),
        "Made": {" to ".join(dict.fromkeys((days[0], days[-1])))} if days else set(),
    }
    return [(name, "; ".join(sorted(values))) for name, values in facts.items() if values]


def _moved(made: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to say where results are of several commits of a base model whose revision is not one of them."""
    if len(commits := sorted({str(one["commit"]) for one in made if one.get("commit")})) < 2:
        return []
    return [
        f"Results are of {len(commits)} commits of the base model ({', '.join(commits)}): it changed on the "
        "hub in between, and what is compared here may be two models. Set model.revision to one of them and "
        "run again."
    ]


def _most(value: Any) -> str:
    """A bound on examples in words: one number, or one for each task."""
    if isinstance(value, Mapping):
        return ", ".join(f"{task} at most {most}" for task, most in value.items())
    return f"at most {value}"


def methods_table(analysis: Analysis) -> Table:
    """The settings that say most, and those in which methods differ; what none sets is left out."""
    configured = _mapping(analysis.results.settings.get("methods"))
    flat = {method.name: _flat(_mapping(configured.get(method.name))) for method in analysis.methods}
    others = _differing(list(flat.values()))
    rows: list[Row] = []
    for method in analysis.methods:
        chosen = flat[method.name]
        unused = _unused(chosen, method.objective)
        said = {key: shown(value) for key, value in chosen.items() if value is not None and key not in unused}
        on = (key for key, _ in METHOD_KEYS if chosen.get(key) not in (0, "none"))
        row = named(method) | {key: said.get(key) for key in (*on, *others)}
        row["strategies"] = ", ".join(strategies_of(analysis, method)) or None
        rows.append(row | {"objective": method.objective})
    columns = [
        METHOD,
        STYLE,
        *(Column(key, name) for key, name in METHOD_KEYS),
        Column("strategies", "Strategies"),
        *(Column(key, key, help="as the experiment's file has it") for key in others),
    ]
    return Table("methods", "Methods", used(columns, rows), rows, tight=True)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as the command line takes them (of the user's code the name alone);
    numbers for each task stay together."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = name.rpartition(":")[2]
        if isinstance(value, Mapping) and key != "iterations":
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _differing(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings without a column of their own in which methods that have them differ, in the file's order."""
    known = {"style", "retention", *(key for key, _ in METHOD_KEYS)}
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in known)
    values = {key: {repr(settings[key]) for settings in flat if key in settings} for key in keys}
    for key in keys:  # of a mapping where others have none
        whole = [key[:place] for place, character in enumerate(key) if character == "."]
        values[key] |= {
            repr(None) for settings in flat if key not in settings for one in whole if one in settings
        }
    return [key for key in keys if len(values[key]) > 1]


def tasks_table(analysis: Analysis) -> Table:
    """Tasks with their part, number of test items and chance level."""
    rows: list[Row] = [
        {
            "task": task,
            "part": _part(analysis, task),
            "items": analysis.items[task] or None,
            "chance": analysis.results.chance.get(task),
        }
        for task in analysis.tasks
    ]
    columns = [
        TASK,
        Column("part", "Part"),
        Column("items", "Test items", "count"),
        Column("chance", "Chance", "points", "accuracy of guessing without the picture"),
    ]
    return Table("tasks", "Tasks", columns, rows, tight=True)


def left_out_table(analysis: Analysis) -> Table:
    """Every row that the model cannot take."""
    rows: list[Row] = [
        {"task": one.task, "split": one.split, "row": position + 1, "problem": problem}
        for one in analysis.results.left_out
        for position, problem in one.problems.items()
    ]
    columns = [
        TASK,
        Column("split", "Split"),
        Column("row", "Row", "count", "in the data, from 1"),
        Column("problem", "Why"),
    ]
    return Table("left_out", "Rows that were left out", columns, rows, fold=True)


def _part(analysis: Analysis, task: str) -> str:
    """Where a task stands in the experiment."""
    if task in analysis.results.general:
        return "general"
    order = analysis.shared_order
    return f"stage {order.index(task) + 1}" if order else "sequence"


def _unused(chosen: Mapping[str, Any], objective: str) -> tuple[str, ...]:
    """The settings that say nothing about a method."""
    if objective != "sft":
        return SFT_ONLY
    return RFT_ONLY if chosen.get("target") == "sampled" else (*RFT_ONLY, *SAMPLING)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

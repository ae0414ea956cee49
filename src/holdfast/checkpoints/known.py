"""How a checkpoint was asked before: what a folder of `evaluate`, or a stage that `run` stored, says of it.

These are defaults for asking it, or what is compared with it, once more. Nothing that they name is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from holdfast import files, plugins
from holdfast.checkpoints.folder import RECORDS, read_folder
from holdfast.checkpoints.subject import makers
from holdfast.config.exam import ASKING, Exam
from holdfast.experiment.runindex import RUNS, indices_beside
from holdfast.experiment.store import WEIGHTS
from holdfast.policy.settings import holds_adapters
from holdfast.tasks.prompts import TEMPLATES

MOST_TASKS = 8  # that are named
LONGEST = 80  # characters of a mapping that is shown


@dataclass(frozen=True)
class Known:
    """Settings of an exam, and where they were found.

    Attributes:
        place: in words.
        settings: as `load_exam` takes them; none where there is trouble.
        tasks: what was asked.
        trouble: why nothing is taken, if so.
    """

    place: str
    settings: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    trouble: str = ""

    def taken(self, asked: Sequence[str], overrides: Sequence[str]) -> str:
        """What of it counts, in words: all that differs from the defaults and was not said otherwise.

        Args:
            asked: tasks that were named besides.
            overrides: `key.sub=value` that went before.
        """
        said = {override.partition("=")[0].strip() for override in overrides}
        parts = []
        if not asked:
            more = f" and {len(self.tasks) - MOST_TASKS} more" if len(self.tasks) > MOST_TASKS else ""
            parts.append(f"tasks {', '.join(self.tasks[:MOST_TASKS])}{more}")
        for key, value in _flat(self.settings):
            if key not in said and key.partition(".")[0] not in said:
                parts += _part(key, value)
        return f"Asked as {self.place}: {'; '.join(parts)}." if parts else ""


def known_of(sources: Sequence[str]) -> Known | None:
    """What is known of the first of some checkpoints that was asked before; None where nothing is.

    Where answers are there (folders of `evaluate`), only they count: others have to be asked in the same way.
    """
    answered = [folder for folder in map(Path, sources) if (folder / RECORDS).is_dir()]
    if answered:
        return _answered(answered[0])
    return next(filter(None, (_stage(Path(source)) for source in sources if "://" not in source)), None)


def _answered(folder: Path) -> Known | None:
    examined = read_folder(folder)
    noted = [one.asked for one in examined if one.asked is not None]
    if len(noted) < len(examined):
        return None  # an earlier version wrote some of it
    settings = deepcopy(noted[0])
    settings["tasks"] = {name: task for one in noted for name, task in one.get("tasks", {}).items()}
    return _checked(Known(f"{folder} was", settings, tuple(one.task for one in examined)))


def _stage(folder: Path) -> Known | None:
    """What the run that trained a policy asks of it; the newest, where several count on it.

    It is known by its place in a store, or elsewhere by its files, if `runs/store` holds the same.
    """
    absolute = folder.absolute()
    in_store = absolute.name == WEIGHTS and absolute.parent.parent.name == "learn"
    store = absolute.parents[2] if in_store else (RUNS / "store").absolute()
    if not (in_store or holds_adapters(folder) or (folder / "config.json").is_file()):
        return None
    names = [absolute.parent.name] if in_store else list(makers(store, folder))
    for index in sorted(indices_beside(store), key=lambda index: -index.stat().st_mtime):
        try:
            row = next(
                row
                for row in files.read_jsonl(index)
                if row["kind"] == "learn" and any(map(row["fingerprint"].startswith, names))
            )
            config = yaml.safe_load(files.read_text(index.parent / "config.yaml"))
            method, seed = row["method"], row["seed"]
            settings = {key: config[key] for key in ASKING if key not in ("store", "cache")}
            settings |= {"style": config["methods"][method]["style"], "seeds": [seed]}
            settings["evaluation"].pop("sampler", None)  # a checkpoint answers itself
            if not files.is_url(str(config["store"])):
                settings["store"] = str(store)  # where its answers are already
            tasks = (*config["sequence"], *config["general"])
        except (StopIteration, OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
            continue  # of another store, of an earlier version, or no longer readable
        place = f"{index.parent} asks it ({method}, seed {seed}, stage {row['stage']})"
        return _checked(Known(place, settings, tasks))
    return None


def _checked(known: Known) -> Known:
    if code := next(plugins.references(known.settings), None):
        return Known(known.place, trouble=f"it names code ({code}), which --like would run")
    try:
        Exam.model_validate(known.settings)
    except ValidationError:
        return Known(known.place, trouble="this version of Holdfast does not know all of its settings")
    return known


def _flat(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Settings with their dotted names, without those that are as they would be anyway."""
    plain = Exam.model_validate({"prompts": "standard"}).model_dump(mode="json")
    found = []
    for key, value in settings.items():
        if key in ("model", "evaluation"):
            found += [(f"{key}.{inner}", one) for inner, one in value.items() if one != plain[key].get(inner)]
        elif value != plain.get(key) and key not in ("store", "seeds", "tasks"):
            found.append((key, value))
    return found


def _part(key: str, value: Any) -> list[str]:
    if key == "prompts":
        named = [name for name, templates in TEMPLATES.items() if templates == value]
        return [f"prompts={named[0]}" if named else "its prompts"]
    if key == "model.path":
        return []
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=LONGEST).strip()
    plain = not isinstance(value, dict | list)
    return [f"{key}={value}" if plain else f"{key}={text}" if len(text) < LONGEST else key]

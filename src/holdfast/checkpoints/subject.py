"""A checkpoint that can be asked: a model's folder, a hub id, a policy of an experiment, a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from holdfast import files
from holdfast.config.exam import Exam
from holdfast.config.models import check_model, with_base
from holdfast.errors import InputError
from holdfast.experiment.fitting import check_rows
from holdfast.experiment.identity import (
    HASHES,
    check_unchanged,
    determines,
    digest,
    folder_digests,
    loading_settings,
    model_identity,
)
from holdfast.experiment.plan import Plan, evaluation_plan
from holdfast.experiment.store import MANIFEST, WEIGHTS, Store
from holdfast.generate.generator import Generator
from holdfast.policy.device import device_for
from holdfast.policy.ready import check_ready
from holdfast.policy.settings import ModelSettings, holds_adapters
from holdfast.weights import count_parameters


@dataclass(frozen=True)
class Subject:
    """A checkpoint, and how to make it answer.

    Attributes:
        name: where it is: a folder, a hub id, a server with what it calls the model.
        identity: all that determines what it answers, or the fingerprint of the job that trained it.
        load: makes what answers; called when there is something to ask.
        here: it generates in this process, so that its answers depend on how many are asked together.
        model: how it is loaded here; None where that is not known.
        remarks: what is to be said once it has answered.
        weights: a hash of its files; None of what lies elsewhere.
    """

    name: str
    identity: str | dict[str, Any]
    load: Callable[[], Generator]
    here: bool = False
    model: ModelSettings | None = None
    remarks: Callable[[], list[str]] = list
    weights: str | None = None

    def plan(self, exam: Exam) -> Plan:
        """The jobs of letting it answer an exam, without rows that it cannot take if they are skipped."""
        if self.model is not None:
            exam = exam.model_copy(update={"model": self.model})
        return evaluation_plan(exam, self.identity, self.name, self.here)


def find_subject(source: str, exam: Exam) -> Subject:
    """The checkpoint that the command line names.

    Raises:
        InputError: there is none, too little is said about it, or it cannot take a row that is asked.
    """
    return _served(source, exam) if "://" in source else _local(source, exam)


def _served(url: str, exam: Exam) -> Subject:
    from holdfast.generate.server import REQUEST_VERSION, ServerGenerator

    server = ServerGenerator(url, exam.server, exam.model.system_prompt)
    identity = {
        "endpoint": server.url,
        "model": exam.server.model,
        "system_prompt": exam.model.system_prompt,
        "version": REQUEST_VERSION,
    }

    def remarks() -> list[str]:
        return [f"{server.repeated} requests had to be repeated"] if server.repeated else []

    return Subject(f"{exam.server.model} at {server.url}", identity, lambda: server, remarks=remarks)


def _local(source: str, exam: Exam) -> Subject:
    folder = Path(source)
    adapters, (settings, said) = holds_adapters(folder), _settings_of(source, exam)
    memory = exam.store_folder / HASHES

    def contents() -> dict[str, Any]:
        made_of = {"adapters": folder_digests(folder, memory)} if adapters else {}
        return model_identity(settings, memory) | made_of

    found = contents()
    trained = _trained(folder, settings, exam, adapters) if folder.is_dir() else None
    identity, loading = trained or (found, settings)

    def load() -> Generator:
        from holdfast.generate.local import LocalGenerator
        from holdfast.policy.load import check_fetched
        from holdfast.policy.policy import Policy

        check_fetched(loading)  # waits for the hub no longer than it must
        check_unchanged(source, found, contents())
        policy = Policy.load(source, loading)
        check_unchanged(source, found, contents())
        return LocalGenerator(policy)

    name = str(folder.resolve()) if folder.is_dir() else source
    made_of = {key: found[key] for key in ("files", "adapters") if key in found}
    weights = digest(made_of) if made_of else None
    remarks = [said] if said else []
    return Subject(name, identity, load, True, loading, remarks=lambda: remarks, weights=weights)


def _settings_of(source: str, exam: Exam) -> tuple[ModelSettings, str]:
    """How a checkpoint of this machine or the hub is loaded, after all that can be told without its weights;
    and a sentence on it, where there is something to say.

    Raises:
        InputError: as `find_subject`.
    """
    folder = Path(source)
    adapters = holds_adapters(folder)
    settings, said = with_base(folder, exam.model) if adapters else (exam.model, "")
    if folder.is_dir() and not adapters and not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is neither a model's folder (it has no config.json) nor one that "
            "'holdfast evaluate' wrote (it has no records)."
        )
    if not adapters:
        settings = settings.model_copy(update={"path": source})
    for _, problem in check_model(settings):
        raise InputError(f"{problem[0].upper()}{problem[1:]}.")
    for file in folder.glob("*.safetensors") if adapters else ():
        count_parameters(file)  # or say what is wrong with it
    check_ready(source, settings)
    check_rows(exam.model_copy(update={"model": settings}))
    device_for(settings.device)
    return settings, said


def _trained(
    folder: Path, settings: ModelSettings, exam: Exam, adapters: bool
) -> tuple[str, ModelSettings] | None:
    """The `learn` job that made the weights in a folder (a copy, too), and how its experiment loads them.

    What the command line says of loading counts first; if that makes it another policy, no job made it.
    """
    store = Store(exam.store_folder)
    for fingerprint in makers(store.root, folder):
        try:
            base = store.base(fingerprint)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        kept = {key: value for key, value in base.items() if key in ModelSettings.model_fields}
        if kept["device"] == "cuda":
            kept["device"] = "auto"
        loaded = ModelSettings.model_validate(kept | settings.model_dump(exclude_unset=True))
        ours = model_identity(loaded, exam.store_folder / HASHES) if adapters else loading_settings(loaded)
        if ours.items() <= base.items():
            return fingerprint, loaded
    return None


def makers(store: Path, folder: Path) -> Iterator[str]:
    """The fingerprints of the `learn` jobs in a store whose weights a folder holds, itself or as a copy.

    Raises:
        InputError: its index of weights names files outside it.
    """
    manifests = sorted((store / "learn").glob(f"[!.]*/{MANIFEST}"))
    digests = folder_digests(folder, store / HASHES) if manifests else {}
    for path in manifests:
        try:
            manifest = files.read_json(path)
            made = {PurePath(name): facts["sha256"] for name, facts in manifest["files"].items()}
            weights = {path.name: made[path] for path in made if path.parent.name == WEIGHTS}
            if {name: weights[name] for name in weights if determines(name)} == digests:
                yield str(manifest["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            continue

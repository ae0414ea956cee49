"""`holdfast merge`: adapters into the weights of their model, or several models into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.asked import begin
from holdfast.cli.console import Debug, out
from holdfast.errors import InputError


def merge(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTERS [KEY=VALUE]... | BASE NEW...",
            help="A folder of LoRA adapters, of which model they are, and how to load it; with --method the "
            "folders of a base and of models made from it.",
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    method: Annotated[
        str | None,
        typer.Option("--method", help="Merge models: wise, average, sum, ties, dare, magmax or intruders."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="How far from the base; normally 0.5 for wise, 1 for the others."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            help="What is kept: of each tensor, normally 0.2 for ties and 0.1 for dare; of intruder "
            "dimensions 0.75.",
        ),
    ] = None,
    shallow: Annotated[
        float | None,
        typer.Option(
            "--shallow",
            help="The part of the change that first layers keep; it grows to all in the last (LiNeS). "
            "Normally 1.",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Make an ordinary model folder of adapters and their model, or of a base and models made from it.

    Adapters are added into the weights of the model that they name, if it is on this disk, or of
    model.path=BASE; model.dtype=bfloat16 says in which precision to write it (normally float32). It is done
    on the CPU and takes twice the model's memory.

    With --method the new weights are base + alpha · m of the differences from it: of the only one (wise),
    their mean, their sum, TIES, the sum of what is left of each where all but a share is dropped by chance
    (dare), of each weight the largest (magmax), or the only one with a share of the directions that it
    brought among the largest of a matrix (intruders). Beside the tensor that is being made, a file of at
    most 4 GiB is in memory.
    """
    begin(debug)
    if method is None:
        if alpha is not None:
            raise InputError("--alpha says how far from the base to go; say how with --method, too.")
        if share is not None:
            raise InputError("--share is for --method dare, intruders or ties.")
        if shallow is not None:
            raise InputError("--shallow is for models; make one of the adapters first.")
        merge_adapters(Path(what[0]), folder, what[1:])
    else:
        from holdfast.checkpoints.merging import merge_folders
        from holdfast.policy.merging import RULES, SHARES

        if share is not None and method in RULES and method not in SHARES:
            raise InputError(f"--share is for --method {', '.join(SHARES)}, not {method}.")
        far = alpha if alpha is not None else 0.5 if method == "wise" else 1.0
        kept = SHARES.get(method, 1.0) if share is None else share
        merge_folders(method, what[0], what[1:], folder, far, kept, 1.0 if shallow is None else shallow)
    out.print(f"The merged model lies in {folder}.")


def merge_adapters(adapters: Path, folder: Path, overrides: Sequence[str]) -> None:
    """Add adapters into the weights of their model.

    Raises:
        InputError: these are none, or of another model.
    """
    from holdfast.policy.environment import torchvision_works

    torchvision_works()

    from holdfast.config.load import load_exam
    from holdfast.config.models import with_base
    from holdfast.files import whole_folder
    from holdfast.policy.lora import quantised
    from holdfast.policy.policy import Policy
    from holdfast.policy.settings import ADAPTERS, holds_adapters

    if not holds_adapters(adapters):
        raise InputError(
            f"{adapters} holds no adapters: it has no {ADAPTERS}. To merge models, add --method."
        )
    chosen, said = with_base(adapters, load_exam(overrides).model)
    if said:
        out.print(said)
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another folder with --out.")
    if "device" not in chosen.model_fields_set:
        chosen = chosen.model_copy(update={"device": "cpu"})
    policy = Policy.load(adapters, chosen)
    if by := quantised(policy.model):
        raise InputError(
            f"The model of {adapters} is quantised (by {by}): nothing can be added to its weights. "
            "Name the model that it was made of with model.path."
        )
    for name, weight in policy.model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise InputError(
                f"{name} of {adapters} or its model has numbers that are not finite; it is damaged."
            )
    with whole_folder(folder, new=True) as unfinished:
        policy.save(unfinished, merge=True)

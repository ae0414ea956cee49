"""`holdfast bundle` and `holdfast verify`: a run in one file, and whether it agrees with itself."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.asked import Run
from holdfast.cli.console import Debug, Json, err, out, show_json
from holdfast.errors import InputError

DISAGREES = 3  # exit code


def bundle(
    run: Run,
    file: Annotated[Path | None, typer.Option("--out", help="The file; normally NAME.bundle.zip.")] = None,
    with_texts: Annotated[
        bool,
        typer.Option("--with-texts", help="Prompts, responses and references, too; mind their licences."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Pack a run into one file that anyone can verify: settings, versions, fingerprints, records, tables.

    No pictures, no weights, and no texts of data sets or models unless asked for. The same run gives the same
    bytes.
    """
    from holdfast import files
    from holdfast.bundle import contents
    from holdfast.cli.report import collected, open_run

    experiment, plan, store = open_run(run)
    target = file or Path(f"{experiment.name}.bundle.zip")
    if target.is_file() and not zipfile.is_zipfile(target):
        raise InputError(f"{target} is there already and is no bundle; give --out another name.")
    results = collected(experiment, plan, store)
    if not any(one.cells for one in results.runs):
        raise InputError(f"Nothing of {experiment.name} is in the store yet; 'holdfast run' makes it.")
    packed = contents.bundle(results, plan, with_texts)
    files.write_bytes(target, packed)
    out.print(f"{target}: {len(packed):,} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'holdfast bundle' wrote.")],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compute every table of a bundle from its records, and say whether they agree.

    Nothing in the file is run or unpacked. Exit codes: 0 all agrees, 3 something does not, 2 it is no whole
    bundle.
    """
    from holdfast.bundle import contents

    if not file.is_file():
        raise InputError(f"There is no file {file}.")
    found = contents.verify(file)
    if json:
        show_json(asdict(found))
    elif found.problems:
        err.print(f"{file} does not agree with itself:", style="red")
        for problem in found.problems:
            err.print(f"  {problem}")
    else:
        out.print(
            f"{file}: {found.name}; all {found.tables} tables agree with the {found.records:,} records."
        )
    if found.problems:
        raise typer.Exit(DISAGREES)

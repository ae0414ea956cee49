"""The commands, put together; errors become one message and an exit code."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import traceback
from typing import Annotated

import typer

from holdfast import __version__, plugins
from holdfast.cli.bundle import bundle, verify
from holdfast.cli.check import check
from holdfast.cli.checkpoints import evaluate
from holdfast.cli.console import err, escape_what_cannot_be_said, only_json, out, show_json
from holdfast.cli.data import data_app
from holdfast.cli.export import export
from holdfast.cli.merge import merge
from holdfast.cli.plan import plan
from holdfast.cli.report import report
from holdfast.cli.run import run
from holdfast.cli.start import demo, init
from holdfast.cli.store import store_app
from holdfast.cli.tasks import tasks_app
from holdfast.cli.watch import watch
from holdfast.errors import HoldfastError, InputError, NotRegular

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, init, run, plan, report, export, watch, evaluate, check, merge, bundle, verify):
    # Paragraphs unwrapped, for the terminal to wrap.
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    app.command(help="\n\n".join(one.replace("\n", " ") for one in paragraphs))(command)
app.add_typer(tasks_app, name="tasks")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")


@app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, with which editors complete and check them."""
    from holdfast.config.schema import schema as made

    show_json(made())


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


def _print_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Post-train a vision-language model on a sequence of tasks, and see what it forgets."""


def main() -> None:
    """Run the command line; errors become one message and an exit code (2: input, 1: while running)."""
    debug = "--debug" in sys.argv
    escape_what_cannot_be_said()
    os.environ["MPLBACKEND"] = "agg"  # figures go to files; a notebook's backend, or none of any name, is set
    leave = os._exit
    os._exit = plugins.telling_exit(lambda text: err.print(f"Error: {text}", style="red"))  # type: ignore[assignment]
    try:
        app()
    except SystemExit as end:
        # Typer ends Ctrl-C with code 130 and no word; where a command says more, the cause is not told.
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            err.print("Stopped.")
        raise
    except InputError as error:
        _fail(str(error), 2, debug)
    except HoldfastError as error:
        _fail(str(error), 1, debug)
    except OSError as error:
        place = error.filename2 or error.filename  # a file is written beside its place and then moved there
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError)
        advice = "Another name may do" if in_the_way else "Check that the disk has room and can be written"
        advice = "Move it away" if isinstance(error, NotRegular) else advice
        if error.errno in (errno.ENOENT, errno.ELOOP) and place and os.path.islink(place):
            advice = "It is a link that leads to no file; copy or download what it stood for"
        _fail(f"{error.strerror or error}{f': {place}' if place else ''}. {advice}.", 1, debug)
    except Exception as error:
        if of_users := plugins.fault(error):
            _fail(of_users, 2, debug)
        own = "".join(f", or in what {path} gives it" for path in plugins.ran())
        advice = f"This is a mistake in Holdfast{own}; --debug shows where. Results that were done are safe."
        _fail(f"{type(error).__name__}: {error}. {advice}", 1, debug)
    finally:
        os._exit = leave
        only_json(False)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        err.print(traceback.format_exc())
    err.print(f"Error: {message}", style="red")
    sys.exit(code)

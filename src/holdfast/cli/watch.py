"""`holdfast watch`: a run's page on this machine while the run goes on."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.asked import Run
from holdfast.cli.console import Debug, err, out
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.plan import Plan
    from holdfast.experiment.store import Store

PORT = 8420
LOOK_SECONDS = 1.0
LAST_SECONDS = 5.0  # in which an open page asks once more, and learns that the run has ended


def watch(
    run: Run,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help=f"Of this machine; {PORT}, or another where that is taken."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a run in the browser while it goes on: bars, curves, latest answers, failures."""
    from holdfast.cli.report import open_run

    experiment, plan, store = open_run(run)

    from holdfast.report.templating import scripted
    from holdfast.watch.server import Made, Server, as_json
    from holdfast.watch.state import Watch

    watched = Watch(experiment, plan, store)
    pages: dict[str, Made] = {
        "/": partial(scripted, "watch", name=experiment.name),
        "/state.json": lambda: as_json(watched.state()),
        "/gallery.html": partial(_gallery, experiment, plan, store),
    }
    report = experiment.page
    try:
        server = Server(PORT if port is None else port, pages, report.parent)
    except InputError:
        if port is not None:
            raise
        err.print(f"Port {PORT} is taken; this is another.")
        server = Server(0, pages, report.parent)
    if watched.state()["ended"]:
        server.server_close()
        out.print(f"This run has ended; its report is {report}.")
        return
    try:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        out.print(
            f"{experiment.name}: {server.url} (on this machine alone; Ctrl-C ends the watch, not the run)"
        )
        if not watched.at_work:
            out.print(
                "No process of this machine is at work on it now; the page waits. If none is elsewhere, "
                "'holdfast run' goes on with it."
            )
        while not watched.ended:
            time.sleep(LOOK_SECONDS)
        time.sleep(LAST_SECONDS)
        out.print(f"The run has ended; its report is {report}." if report.is_file() else "The run has ended.")
    except KeyboardInterrupt:
        out.print("Stopped watching.")
    finally:
        server.shutdown()
        server.server_close()


def _gallery(experiment: Experiment, plan: Plan, store: Store) -> bytes:
    """The items as far as they are judged."""
    from holdfast.experiment.collect import collect, judged
    from holdfast.report.gallery.page import gallery
    from holdfast.report.gallery.thumbnails import Album, Shelf

    results = collect(experiment, plan, store)
    return gallery([results], Shelf(partial(judged, experiment, plan)), Album(), report=None)

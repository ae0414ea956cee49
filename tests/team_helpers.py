"""Several ranks on this machine."""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from holdfast.policy.team import PATIENCE, join, meeting_point
from processes import FORKED


def together(
    size: int, work: Callable[..., Any], *arguments: Any, patience: float = 30, ranks: Sequence[int] = ()
) -> list[Any]:
    """What `work(team, *arguments)` gives on each of so many ranks; an error is given back as its text.

    Of a rank that died it is None.

    Args:
        ranks: those that are waited for; by default all.
    """
    point = meeting_point()
    connections, processes = [], []
    for rank in range(size):
        ours, theirs = FORKED.Pipe()
        process = FORKED.Process(
            target=_be_rank, args=(theirs, point.port, rank, size, patience, work, arguments), daemon=True
        )
        process.start()
        theirs.close()
        connections.append(ours)
        processes.append(process)
    given: list[Any] = [None] * size
    for rank in ranks or range(size):
        assert wait([connections[rank]], timeout=4 * patience), "the ranks hang"
        with suppress(EOFError):
            given[rank] = torch.load(io.BytesIO(connections[rank].recv_bytes()), weights_only=False)
    for process in processes:
        process.kill()
        process.join()
    return given


def _be_rank(
    connection: Connection,
    port: int,
    rank: int,
    size: int,
    patience: float,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ[PATIENCE] = str(patience)
    torch.set_num_threads(1)
    try:
        team = join(port, rank, size)
        given = work(team, *arguments)
    except Exception as error:
        given = f"{type(error).__name__}: {error}"
        if os.environ.get("HOLDFAST_TRACE"):
            traceback.print_exc()
    made = io.BytesIO()
    torch.save(given, made)  # tensors sent as they are would be those of a process that is gone
    connection.send_bytes(made.getvalue())
    os._exit(0)  # whatever the group is at

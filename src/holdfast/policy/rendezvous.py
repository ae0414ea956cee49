"""How the processes that become ranks of a team find each other, and what one leaves that ends alone."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from holdfast.errors import InputError, said
from holdfast.policy.team import Ranks, Team, TeamLost, patience

HERE, LOOPBACK = "127.0.0.1", "lo"


def meeting_point() -> dist.TCPStore:
    """Where the ranks of a team on this machine find each other, at a free port; while it is held.

    No other machine reaches it: whoever tells ranks something has them unpickle it. (By itself the store
    listens on every interface, whatever address it is given.)
    """
    with socket.create_server((HERE, 0)) as listening:
        port = listening.getsockname()[1]
        return dist.TCPStore(
            HERE, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )


def join(port: int, rank: int, size: int) -> Team:
    """Be a rank of a team on this machine.

    Raises:
        TeamLost: not all came.
    """
    if LOOPBACK in (name for _, name in socket.if_nameindex()):  # else gloo asks what the machine is called
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    return Ranks(dist.TCPStore(HERE, port, is_master=False), rank, size) if size > 1 else Team()


@cache
def team_of_environment() -> Team:
    """The team that `torchrun` or a scheduler started this process for; this process alone where none did.

    Raises:
        InputError: the variables are not all there.
        TeamLost: not all ranks came.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return Team()
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise InputError(f"WORLD_SIZE is {size}, so this is a rank of several, but {missing[0]} is not set.")
    for name in (*needed, "LOCAL_RANK"):
        if name != "MASTER_ADDR" and not (told := os.environ.get(name, "0")).isdecimal():
            raise InputError(f"{name} is '{told}'; it must be a whole number.")
    if (rank := int(os.environ["RANK"])) >= int(size):
        raise InputError(f"RANK is {rank}, but ranks count from 0, and WORLD_SIZE is {size}.")
    longest = timedelta(seconds=patience())
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    try:
        store, rank, count = next(rendezvous("env://", timeout=longest))
    except (RuntimeError, ValueError) as error:
        raise TeamLost(
            f"The {size} ranks did not find each other at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} (MASTER_ADDR, MASTER_PORT): {said(error)}"
        ) from error
    return Ranks(store, rank, count)


def leave_word(port: int, rank: int, word: str) -> None:
    """Say why this rank of a team on this machine ends, for who keeps the meeting point."""
    with suppress(RuntimeError):  # it is gone
        dist.TCPStore(HERE, port, is_master=False, timeout=timedelta(seconds=5)).set(f"word/{rank}", word)


def word_of(point: dist.Store, rank: int) -> str:
    """Why a rank ended; empty where it did not say."""
    with suppress(RuntimeError):
        if point.check([f"word/{rank}"]):
            return point.get(f"word/{rank}").decode()
    return ""

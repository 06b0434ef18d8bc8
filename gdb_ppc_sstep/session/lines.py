# SPDX-License-Identifier: MIT
"""Tell a layer through which lines gdb is about to step, if gdb does not ask for ranges itself.

From version 14 on gdb asks what a stub can do (`vCont?`) while it connects, before the layer is
there, and never again (gdb 16 remote.c start_remote_1).  So before `step`, `next` and `until` we
tell the layer the range that gdb's infrun would have sent, from the same line table.  It only makes
steps faster: on any error we tell nothing, and the command works as without us.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import gdb

from ..commands import before
from ..errors import SstepError

if TYPE_CHECKING:
    from .doors import Door

Find = Callable[[], "Door | None"]
"""Finds the door that steps the selected inferior's connection; None if none of ours does."""

_told: dict[Door, gdb.InferiorThread] = {}
"""The threads that a door believes gdb to be stepping by lines, by door."""


def gdb_asks() -> bool:
    """Whether gdb itself asks a layer for ranges.

    Before version 14 it does, as it asks what a stub can do when it first resumes the guest.
    """
    version = re.search(r"\d+", gdb.VERSION)
    return version is not None and int(version[0]) < 14


_watching = False


def watch(find: Find) -> None:
    """From now on tell the layers before each command that steps by lines."""
    global _watching
    if _watching or gdb_asks():
        return
    _watching = True
    before.add(
        {
            **dict.fromkeys(("step", "next", "until"), partial(_tell, find)),
            **dict.fromkeys(("stepi", "nexti"), forget),
        }
    )


def _tell(find: Find) -> None:
    """gdb is about to step the selected thread by lines."""
    forget()
    door, thread = find(), gdb.selected_thread()
    if door is None or door.steps_by_commands or thread is None or thread.is_running():
        return
    from ..commands.link import thread_id  # seldom, as is the next
    from . import stretches

    with suppress(Exception):  # which would end the user's command
        # Of the selected frame; gdb.newest_frame() unwinds its caller as well, by a dozen packets.
        pc = int(gdb.parse_and_eval("$pc"))
        found = () if _every_instruction_counts() else stretches.around(pc)
        if found:
            _told[door] = thread
            door.expect_lines(thread_id(thread), found)


def forget() -> None:
    """Tell the doors that gdb no longer steps by lines: it has stopped, or does another thing."""
    for door, thread in list(_told.items()):
        if thread.is_valid() and thread.is_running():
            continue  # stepped in the background; its stop will come
        del _told[door]
        with suppress(RuntimeError, SstepError):  # the connection may be gone; gdb.error is one
            door.expect_lines(b"", ())


def _every_instruction_counts() -> bool:
    """Whether gdb has to see each instruction of a line.

    gdb decides the same in infrun.c resume_1 and in record-full.c.
    """
    if not gdb.parameter("range-stepping") or gdb.current_recording() is not None:
        return True
    return any(one.type == gdb.BP_WATCHPOINT and one.enabled for one in gdb.breakpoints())

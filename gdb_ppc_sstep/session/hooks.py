# SPDX-License-Identifier: MIT
"""What we do before some commands of gdb's, where a connection is stepped by commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gdb

if TYPE_CHECKING:
    from ..commands.door import CommandsDoor

Find = Callable[[], "CommandsDoor | None"]
"""Finds the commands door of the selected inferior's connection, if it is in use and at rest."""

_OF_THE_STUB = (
    gdb.BP_HARDWARE_WATCHPOINT,
    gdb.BP_READ_WATCHPOINT,
    gdb.BP_ACCESS_WATCHPOINT,
)


def _return_address() -> int | None:
    """pc of the selected frame's caller; None where it has none.

    Not by Frame.older(), which unwinds the caller's caller as well (gdb/python py-frame.c
    frame_info_to_frame_object): half a dozen packets.
    """
    try:
        gdb.execute("up-silently")
    except gdb.error:
        return None
    try:
        return int(gdb.parse_and_eval("$pc"))  # in whatever language: no cast
    finally:
        gdb.execute("down-silently")


def actions(find: Find) -> dict[str, Callable[[], None]]:
    """What we do before commands of gdb's, by the command's name."""

    def before_return() -> None:
        """The command waits until the function of the selected frame returns: guard that place.

        From a function that is inlined gdb steps out by itself.
        """
        door = find()
        if door is None:
            return
        inlined = gdb.selected_frame().type() == gdb.INLINE_FRAME
        returning = None if inlined else _return_address()
        door.guards.expect(returning=returning, following=inlined)

    def before_until() -> None:
        """`until` without a place steps by itself; with one gdb waits for a return as well."""
        door = find()
        if door is not None:
            door.guards.expect(returning=_return_address(), following=True)

    def before_recording() -> None:
        """Refuse: gdb's recorder makes each step itself, and asks no breakpoint in between."""
        if find() is not None:
            raise gdb.GdbError("ppc-sstep: `record` needs `set ppc-sstep door wire`, in a new gdb.")

    def before_leaving() -> None:
        """The command lets the guest go."""
        door = find()
        if door is not None:
            door.leaving()

    return {
        **dict.fromkeys(("finish", "advance"), before_return),
        "until": before_until,
        **dict.fromkeys(("record", "record full", "target record-full"), before_recording),
        **dict.fromkeys(("detach", "disconnect", "kill"), before_leaving),
    }


def warn_of(breakpoint: gdb.Breakpoint, find: Find) -> None:
    """Say what the commands door makes of a new breakpoint, if it is a watchpoint of the stub's."""
    if breakpoint.type in _OF_THE_STUB and find() is not None:
        gdb.write(
            "ppc-sstep: for a watchpoint of the stub's gdb makes a step of its own, which this "
            "stub ignores; it needs `set ppc-sstep door wire`, in a new gdb.\n",
            gdb.STDERR,
        )

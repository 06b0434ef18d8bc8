# SPDX-License-Identifier: MIT
"""What comes before a command of gdb's on a connection that is stepped by commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gdb

if TYPE_CHECKING:
    from .doors import Door

Find = Callable[[], "Door | None"]
"""The door of the selected inferior's connection, if that is stepped by commands and at rest."""

_WATCHPOINTS = (
    gdb.BP_WATCHPOINT,
    gdb.BP_HARDWARE_WATCHPOINT,
    gdb.BP_READ_WATCHPOINT,
    gdb.BP_ACCESS_WATCHPOINT,
)


def actions(find: Find) -> dict[str, Callable[[], None]]:
    """What to do before commands of gdb's, by their names."""

    def before_return() -> None:
        """It will wait for the function of the selected frame to return.

        From a function that is inlined gdb steps out by itself.
        """
        door = find()
        if door is None:
            return
        frame = gdb.selected_frame()
        caller, inlined = frame.older(), frame.type() == gdb.INLINE_FRAME
        if caller is not None:
            door.guard(returning=None if inlined else caller.pc(), following=inlined)

    def before_until() -> None:
        """`until` without a place steps by itself, and to a place it waits for a return as well."""
        door = find()
        if door is not None:
            caller = gdb.selected_frame().older()
            door.guard(returning=caller.pc() if caller is not None else None, following=True)

    def before_leaving() -> None:
        """The guest is about to be let go."""
        door = find()
        if door is not None:
            door.leaving()

    return {
        **dict.fromkeys(("finish", "advance"), before_return),
        "until": before_until,
        **dict.fromkeys(("detach", "disconnect", "kill"), before_leaving),
    }


def warn_of(breakpoint: gdb.Breakpoint, find: Find) -> None:
    """Say that a new breakpoint is one that the commands door cannot do."""
    if breakpoint.type in _WATCHPOINTS and find() is not None:
        gdb.write(
            "ppc-sstep: for a watchpoint gdb makes steps of its own, which this stub ignores; "
            "watchpoints need `set ppc-sstep door wire`, in a new gdb.\n",
            gdb.STDERR,
        )

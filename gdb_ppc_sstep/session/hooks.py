# SPDX-License-Identifier: MIT
"""What we do before some commands of gdb's, where a connection is stepped by commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gdb

if TYPE_CHECKING:
    from .doors import Door

Find = Callable[[], "Door | None"]
"""Finds the commands door of the selected inferior's connection, if it is in use and at rest."""

_WATCHPOINTS = (
    gdb.BP_WATCHPOINT,
    gdb.BP_HARDWARE_WATCHPOINT,
    gdb.BP_READ_WATCHPOINT,
    gdb.BP_ACCESS_WATCHPOINT,
)


def actions(find: Find) -> dict[str, Callable[[], None]]:
    """What we do before commands of gdb's, by the command's name."""

    def before_return() -> None:
        """The command waits until the function of the selected frame returns: guard that place."""
        door = find()
        caller = gdb.selected_frame().older() if door is not None else None
        if door is not None and caller is not None:
            door.guard(returning=caller.pc())

    def before_until() -> None:
        """Refuse `until` without a place, which needs gdb's steps; else guard the return.

        A hook does not learn the arguments; the last line of the history is what the user typed.
        """
        typed = gdb.execute("show commands", to_string=True).rpartition("\n  ")[2].split()[1:]
        if find() is not None and len(typed) == 1 and "until".startswith(typed[0]):
            raise gdb.GdbError(
                "ppc-sstep: `until` without a place needs `set ppc-sstep door wire`, in a new gdb."
            )
        before_return()

    def before_leaving() -> None:
        """The command lets the guest go."""
        door = find()
        if door is not None:
            door.leaving()

    return {
        **dict.fromkeys(("finish", "advance"), before_return),
        "until": before_until,
        **dict.fromkeys(("detach", "disconnect", "kill"), before_leaving),
    }


def warn_of(breakpoint: gdb.Breakpoint, find: Find) -> None:
    """Warn if a new breakpoint is a watchpoint, which the commands door cannot do."""
    if breakpoint.type in _WATCHPOINTS and find() is not None:
        gdb.write(
            "ppc-sstep: for a watchpoint gdb makes steps of its own, which this stub ignores; "
            "watchpoints need `set ppc-sstep door wire`, in a new gdb.\n",
            gdb.STDERR,
        )

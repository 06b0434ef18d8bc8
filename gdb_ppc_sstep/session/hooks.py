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
        """It will wait for the function of the selected frame to return."""
        door = find()
        caller = gdb.selected_frame().older() if door is not None else None
        if door is not None and caller is not None:
            door.guard(returning=caller.pc())

    def before_until() -> None:
        """`until` to a place waits for a return as well; without one it needs steps of gdb's own.

        A hook does not learn the arguments; the last line of the history is what was typed.
        """
        typed = gdb.execute("show commands", to_string=True).rpartition("\n  ")[2].split()[1:]
        if find() is not None and len(typed) == 1 and "until".startswith(typed[0]):
            raise gdb.GdbError(
                "ppc-sstep: `until` without a place needs `set ppc-sstep door wire`, in a new gdb."
            )
        before_return()

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

# SPDX-License-Identifier: MIT
"""Watchpoints at the commands door: gdb's software watchpoints, evaluated after each step.

For a stub's watchpoint gdb makes a step behind the hit, before any breakpoint of ours is asked; so
gdb is told that the stub has none.
"""

from __future__ import annotations

import gdb

_LIMIT = "remote hardware-watchpoint-limit"

MANY = 1000
"""After so many steps for watchpoints the user has waited for seconds, and is told why."""


def numbers() -> frozenset[int]:
    """The software watchpoints for which gdb steps instead of running the guest."""
    found = (one for one in gdb.breakpoints() if one.type == gdb.BP_WATCHPOINT and one.enabled)
    return frozenset(one.number for one in found)


class Patience:
    """The user's, while gdb evaluates watchpoints on one connection."""

    def __init__(self) -> None:
        self._steps = 0
        self._said = False

    def stepped(self) -> None:
        """gdb has made a step, if it watches to evaluate what it watches."""
        self._steps += bool(numbers())
        if self._steps == MANY and not self._said:
            self._said = True
            gdb.write(
                "ppc-sstep: gdb evaluates watchpoints after each step, which is slow; they are "
                "fast with `set ppc-sstep door wire`, in a new gdb.\n",
                gdb.STDERR,
            )


class SoftwareOnly:
    """While it is switched on, gdb makes no watchpoint the stub's."""

    def __init__(self) -> None:
        self._before: object = None
        self._is_on = False

    def switch(self, on: bool) -> None:
        """On, or off: then the limit is as the user had set it."""
        if on == self._is_on:
            return
        self._is_on = on
        if not on:
            if gdb.parameter(_LIMIT) == 0:
                gdb.execute(f"set {_LIMIT} {self._before}")
            return
        self._before = gdb.parameter(_LIMIT)
        gdb.execute(f"set {_LIMIT} 0")
        for one in gdb.breakpoints():
            if one.type == gdb.BP_HARDWARE_WATCHPOINT and one.enabled:
                one.enabled = False
                one.enabled = True  # gdb decides anew which kind it is

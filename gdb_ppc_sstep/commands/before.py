# SPDX-License-Identifier: MIT
"""What comes before commands of gdb's own: gdb's hooks, which call back.

A hook does not learn the arguments, and keeps the command as it is.  Front ends reach it as well,
for MI and DAP run these commands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gdb

Action = Callable[[], None]

_actions: dict[str, list[Action]] = {}

_needed: set[str] = set()

_LATER = ("stop",)
"""Hooks that are not there before they are needed.  gdb asks users before they make one of their
own in the place of one that is there.  "stop" is not a command: gdb has stopped.
"""


class _Before(gdb.Command):
    """Do what the ppc64 single-step extension does before a command of gdb's.
    Usage: maintenance ppc-sstep COMMAND

    The extension's hooks call this.  It leaves a hook of your own for COMMAND alone;
    that one may call this too."""

    def __init__(self) -> None:
        super().__init__("maintenance ppc-sstep", gdb.COMMAND_MAINTENANCE)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        run(argument)


def run(command: str) -> None:
    """Do what comes before a command."""
    for action in _actions.get(command, ()):
        action()


def register() -> None:
    """Make what the hooks call known to gdb."""
    _Before()


def add(actions: Mapping[str, Action]) -> None:
    """Have each action done before the command of that name, after those that were added before.

    The command is not run where an action raises.
    """
    for command, action in actions.items():
        if command not in _actions and command not in _LATER:
            _define(command)
        _actions.setdefault(command, []).append(action)


def need(command: str) -> None:
    """From now on a hook is needed that is made later than the others."""
    if command in _actions and command not in _needed:
        _needed.add(command)
        _define(command)


def _define(command: str) -> None:
    prefix, _, name = command.rpartition(" ")
    hook = f"{prefix} hook-{name}".strip()
    try:
        gdb.execute(f"show user {hook}", to_string=True)
    except gdb.error:  # there is none: a user's own is left alone
        gdb.execute(f"define {hook}\nmaintenance ppc-sstep {command}\nend")

# SPDX-License-Identifier: MIT
"""Prefixes of commands (such as `ppc-sstep`), which behave as gdb's own."""

from __future__ import annotations

import gdb


class Group(gdb.Command):
    """A prefix: without a subcommand it lists them, as gdb's own do."""

    def __init__(self, name: str, summary: str) -> None:
        self.__doc__ = summary
        self._name = name
        super().__init__(name, gdb.COMMAND_RUNNING, prefix=True)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        if argument:
            unknown = f'Undefined {self._name} command: "{argument}".'
            raise gdb.GdbError(f'{unknown}  Try "help {self._name}".')
        gdb.execute(f"help {self._name}")

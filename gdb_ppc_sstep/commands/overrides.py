# SPDX-License-Identifier: MIT
"""stepi, nexti, step, next and continue as gdb.Commands, for connections stepped by commands.

A built-in that is replaced is gone until gdb ends; so they are installed when the first connection
needs them.  finish, until and advance stay gdb's own (see `guards`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import gdb

from ..errors import SstepError
from . import acting, before, placed
from .dap import Server

if TYPE_CHECKING:  # most gdbs never need the rest
    from .door import CommandsDoor
    from .stepping import Calls

Find = Callable[[], "CommandsDoor | None"]
"""The commands door of the selected inferior's connection, None where it has none."""


class _Stopped:
    """What gdb stopped with last.

    newest: the number of the newest breakpoint that there was.
    """

    breakpoints: tuple[gdb.Breakpoint, ...] = ()
    signal: str | None = None
    newest = 0


def note_stop(event: gdb.StopEvent) -> None:
    """gdb has stopped; `continue` asks for what."""
    _Stopped.breakpoints = tuple(getattr(event, "breakpoints", ()))
    acting.note_stop(_Stopped.breakpoints)
    _Stopped.signal = getattr(event, "stop_signal", None)
    newest = gdb.convenience_variable("bpnum")
    _Stopped.newest = int(newest) if newest is not None else 0


def before_prompt() -> None:
    """gdb is about to prompt."""
    if installed():
        acting.before_prompt()


def note_resume(find: Find) -> None:
    """gdb is about to resume a guest."""
    door = find() if installed() else None
    if door is not None:
        door.resuming.begin()


def _check_stopped() -> None:
    acting.check()
    thread = gdb.selected_thread()
    if thread is None:
        raise gdb.GdbError("The program is not being run.")
    if thread.is_running():
        raise gdb.GdbError("Cannot execute this command while the selected thread is running.")


def _number(expression: str) -> int:
    try:
        value = gdb.parse_and_eval(expression)
    except gdb.error as error:
        raise gdb.GdbError(str(error)) from error
    try:
        return int(value)
    except gdb.error:
        raise gdb.GdbError("Value can't be converted to integer.") from None


@contextmanager
def _errors_as_gdbs() -> Iterator[None]:
    """What goes wrong is one line, as where gdb's own command fails."""
    try:
        yield
    except SstepError as error:
        raise gdb.GdbError(f"ppc-sstep: {error}") from error
    except gdb.error as error:
        raise gdb.GdbError(str(error)) from error


class _Step(gdb.Command):
    """What the four commands have in common."""

    def __init__(
        self, name: str, find: Find, server: Server, calls: Calls, *, by_lines: bool
    ) -> None:
        super().__init__(name, gdb.COMMAND_RUNNING, gdb.COMPLETE_EXPRESSION)
        self._find = find
        self._server = server
        self._calls = calls
        self._by_lines = by_lines

    def invoke(self, argument: str, from_tty: bool) -> None:
        _check_stopped()
        door = self._find()
        if door is None:
            raise gdb.GdbError(
                "ppc-sstep has replaced this command for another connection, and gdb's own is "
                "gone until gdb ends; step this one in a new gdb."
            )
        door.reporter.stopped()  # a hook-stop of the user's may step as well
        # In the background (`stepi &`, MI with mi-async) as well: it is over when this returns.
        argument = argument.strip().rstrip("&")
        count = _number(argument) if argument.strip() else 1
        from . import nowhere
        from .stepping import Stepping

        door.reporter.for_mi = not from_tty and nowhere.speaks_mi()
        with _errors_as_gdbs(), self._server.one_stop():
            door.guards.refresh()
            Stepping(door, self._calls, count, by_lines=self._by_lines).run()
        acting.act_later()


class _Stepi(_Step):
    """Step one instruction exactly.
    Usage: stepi [N]
    Argument N means step N times (or till program stops for another reason)."""


class _Nexti(_Step):
    """Step one instruction, but proceed through subroutine calls.
    Usage: nexti [N]
    Argument N means step N times (or till program stops for another reason)."""


class _StepLine(_Step):
    """Step program until it reaches a different source line.
    Usage: step [N]
    Argument N means step N times (or till program stops for another reason)."""


class _Next(_Step):
    """Step program, proceeding through subroutine calls.
    Usage: next [N]
    Unlike "step", if the current source line calls a subroutine,
    this command does not enter the subroutine, but instead steps over
    the call, in effect treating it as a single source line."""


class _Continue(gdb.Command):
    """Continue program being debugged, after signal or breakpoint.
    Usage: continue [N]
    If proceeding from breakpoint, a number N may be given as an argument,
    which means to set the ignore count of that breakpoint to N - 1 (so that
    the breakpoint won't break until the Nth time it is reached)."""

    def __init__(self, find: Find) -> None:
        super().__init__("continue", gdb.COMMAND_RUNNING, gdb.COMPLETE_EXPRESSION)
        self._find = find

    def invoke(self, argument: str, from_tty: bool) -> None:
        _check_stopped()
        argument = argument.strip()
        background = argument.endswith("&")
        argument = argument.rstrip("&").rstrip()
        if argument == "-a":
            raise gdb.GdbError("`-a' is meaningless in all-stop mode.")
        if argument:
            said = self._ignore(_number(argument) - 1)
            if from_tty:
                gdb.write(said)
        if from_tty:
            gdb.write("Continuing.\n")
        door = self._find()
        with _errors_as_gdbs():
            if door is not None:
                door.reporter.stopped()
            # gdb's own, by another name (see `resuming` and `guards`).
            gdb.execute(f"signal {self._signal()}" + (" &" if background else ""))
        acting.act_later()
        if door is not None and not background and door.guards.interrupted:
            door.guards.interrupted = False
            door.reporter.report_interrupted()

    @staticmethod
    def _ignore(count: int) -> str:
        """Have the breakpoints that were hit ignored; gdb's words about it.

        All that were there count, also those that did not stop (gdb/infcmd.c continue_command).
        """
        from .view import stopped_at

        # Ours were hit with the user's, but gdb's own `continue` should not count for them.
        numbers = {one.number for one in _Stopped.breakpoints if one.is_valid() and one.visible}
        pc = stopped_at()
        if pc is not None:
            numbers |= {one for one in placed.dprintfs(pc) if one <= _Stopped.newest}
        said = ""
        for number in sorted(numbers):
            text = gdb.execute(f"ignore {number} {count}", True, to_string=True)
            said += text.rstrip("\n") + "  "
        return said or "Not stopped at any breakpoint; argument ignored.\n"

    @staticmethod
    def _signal() -> str:
        """The signal that the program is to have, as gdb's own `continue` decides it."""
        if _Stopped.signal is None:
            return "0"
        passed = gdb.execute(f"info signals {_Stopped.signal}", to_string=True).splitlines()[-1]
        return _Stopped.signal if passed.split()[3] == "Yes" else "0"


_installed: list[gdb.Command] = []


def installed() -> bool:
    """Whether gdb's built-ins have been replaced."""
    return bool(_installed)


def install(find: Find, actions: Mapping[str, before.Action]) -> None:
    """Replace gdb's built-ins, for good.  actions: what to do before others, by their names."""
    if _installed:
        return
    from . import internal
    from .stepping import Calls

    internal.install()

    def before_telling() -> None:
        door = find()
        if door is not None:
            door.reporter.stopped()

    def before_jump() -> None:
        door = find()
        if door is not None:
            door.resuming.before_jump()

    server = Server(find)
    _installed.extend(
        (
            _Stepi("stepi", find, server, Calls.INTO, by_lines=False),
            _Nexti("nexti", find, server, Calls.OVER, by_lines=False),
            _StepLine("step", find, server, Calls.BY_LINES, by_lines=True),
            _Next("next", find, server, Calls.OVER, by_lines=True),
            _Continue(find),
        )
    )
    # "stop" is not a command: gdb has stopped.
    before.add({**actions, "stop": before_telling, "jump": before_jump})

# SPDX-License-Identifier: MIT
"""The commands: info ppc-sstep, ppc-sstep probe, ppc-sstep clean."""

from __future__ import annotations

from collections.abc import Iterator

import gdb

from ..commands import before
from ..ppc import msr
from . import sessions
from .groups import Group
from .sessions import Session
from .settings import SETTINGS


class _Probe(gdb.Command):
    """Ask the stub again whether it steps, and take its connection if it does not.

    Usage: ppc-sstep probe

    For when the answer may have changed since "target remote"."""

    def __init__(self) -> None:
        super().__init__("ppc-sstep probe", gdb.COMMAND_RUNNING)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        _no_arguments("ppc-sstep probe", argument)
        session, inferior = _current(), gdb.selected_inferior()
        if not sessions.at_rest(inferior):
            raise gdb.GdbError("The target is running; interrupt it first.")
        session.decide(inferior)
        for line in _summary(session):
            gdb.write(line + "\n")


class _Clean(gdb.Command):
    """Undo what a session that was killed in a step has left in the guest.

    Usage: ppc-sstep clean

    It takes vCPUs off their Trace vector, to where they were interrupted, and clears MSR[SE].
    Do not use it where the guest is single-stepping itself (ptrace, kprobes, KGDB)."""

    def __init__(self) -> None:
        super().__init__("ppc-sstep clean", gdb.COMMAND_RUNNING)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        _no_arguments("ppc-sstep clean", argument)
        session = _current()
        if not sessions.at_rest(gdb.selected_inferior()):
            raise gdb.GdbError("The target is running; interrupt it first.")
        if session.door is None:
            raise gdb.GdbError(f"The connection is not taken: {session.why}.")
        found = session.leftovers(clean=True)
        for one in found:
            masked = "" if one["state"] & (msr.EE | msr.PR) else "; MSR[EE] is 0 there"
            gdb.write(f"{one['thread']}: {one['what']} is taken back{masked}.\n")
        if not found:
            gdb.write("Nothing to clean.\n")


class _Info(gdb.Command):
    """Show what the ppc64 single-step extension does with the current connection.

    Usage: info ppc-sstep

    Settings            those of "set ppc-sstep".
    Connection          "taken": the extension does the steps, by a process between gdb and the
                        stub.  "stepped by commands": it does them by commands of its own.
                        "not taken": gdb asks the stub for steps, as without the extension; why.
    Stub steps          whether the stub does steps by itself, and how that is known.
    Target              only if it is running: interrupt it to see what follows.
    Problem             only if there is one: what keeps the next step from being done.
    Trace vector now    where the Trace interrupt of the next step arrives: a breakpoint is there
                        for each step.
    LPCR[AIL]           where the guest's interrupts go while MSR[IR] and MSR[DR] are on.
    Byte order          that of the guest's code now.
    Watchpoints         only if there are some that the stub does not have itself: how they are seen
                        (see "help set ppc-sstep watchpoints").
    Steps done          instructions stepped on this connection.
    Outstanding         steps that were interrupted within a handler of the guest, by vCPU; each
                        ends when the guest returns to it."""

    def __init__(self) -> None:
        super().__init__("info ppc-sstep", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        _no_arguments("info ppc-sstep", argument)
        for line in (_settings(), *_connection(gdb.selected_inferior())):
            gdb.write(line + "\n")


def _no_arguments(command: str, argument: str) -> None:
    if argument.strip():
        raise gdb.GdbError(f'"{command}" takes no arguments.')


def _current() -> Session:
    session = sessions.session_of(gdb.selected_inferior())
    if session is None:
        raise gdb.GdbError('Not connected to a remote target; use "target remote" first.')
    return session


def _settings() -> str:
    values = {"mode": SETTINGS.mode, "door": SETTINGS.door, **SETTINGS.options.to_text()}
    if SETTINGS.debug:
        values["debug-file"] = SETTINGS.debug_file or "gdb's log"
    return "Settings: " + ", ".join(f"{name} {value}" for name, value in values.items())


def _connection(inferior: gdb.Inferior) -> Iterator[str]:
    """What there is to say of an inferior's connection, whatever it is."""
    connection = inferior.connection
    if connection is None:
        yield "Connection: none; `target remote` makes one"
    elif not isinstance(connection, gdb.RemoteTargetConnection):
        where = f"{connection.num} ({connection.type})"
        yield f"Connection {where}: not taken: only remote targets are"
    elif sessions.at_rest(inferior):
        session = _current()
        yield from _summary(session)
        yield from _details(session)
    else:
        known = sessions.known(inferior)
        if known is not None:
            yield from _summary(known)
        else:
            where = f"{connection.num} ({connection.type} {connection.details})"
            yield f"Connection {where}: not looked at yet"
        yield "Target: not stopped; interrupt it to see more"


def _summary(session: Session) -> Iterator[str]:
    connection = session.connection
    what = f"Connection {connection.num} ({connection.type} {connection.details}): "
    by_commands = session.door is not None and session.door.steps_by_commands
    door = "stepped by commands" if by_commands else "taken"
    yield what + (door if session.active else f"not taken: {session.why}")
    finding = session.finding
    if finding is not None:
        steps = {True: "yes", False: "no", None: "unknown"}[finding.steps]
        yield f"Stub steps: {steps} ({finding.why})"


def _details(session: Session) -> Iterator[str]:
    if session.door is None:
        return
    status = session.door.status(active=session.active)
    if "problem" in status:
        yield f"Problem: {status['problem']}"
    if "vector" in status:
        translation = "both on" if msr.relocates(status["msr"]) else "not both on"
        yield f"Trace vector now: {status['vector']:#x} (MSR[IR] and MSR[DR] {translation})"
        by_hand = "" if SETTINGS.options.ail is None else " (set by hand)"
        yield f"LPCR[AIL]: {status['ail']}{by_hand}"
        yield f"Byte order: {status['order']}-endian (MSR[LE])"
    if status["watchpoints"]:
        yield f"Watchpoints: {status['watchpoints']}"
    yield f"Steps done: {status['steps']}"
    outstanding = [
        f"{one['thread'] or 'the vCPU'} from {one['pc']:#x}" for one in status["outstanding"]
    ]
    yield f"Outstanding: {', '.join(outstanding) or 'none'}"


def register() -> None:
    """Make the commands known to gdb."""
    Group("ppc-sstep", "Commands of the ppc64 single-step extension.")
    for kind in (_Probe, _Clean, _Info):
        kind()
    before.register()

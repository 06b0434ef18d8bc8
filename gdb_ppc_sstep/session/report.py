# SPDX-License-Identifier: MIT
"""What `info ppc-sstep` and `ppc-sstep report` write; it asks gdb, the doors and the stub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import gdb

from ..engine import host, shown
from ..errors import SstepError
from . import detect, ended, sessions
from .sessions import Session
from .settings import SETTINGS

Told = dict[str, Any]

_OF_GDB = (
    *("architecture", "endian", "non-stop", "schedule-multiple", "scheduler-locking"),
    *("breakpoint always-inserted", "can-use-hw-watchpoints", "displaced-stepping", "step-mode"),
    *("remotetimeout", "tcp auto-retry"),
)
"""gdb's own settings that affect how gdb steps."""

_LAYER_ENDS = 2.0
"""Seconds within which the layer of a closed connection has usually ended."""

_REGISTERS = ("pc", "msr", "srr0", "srr1", "lr", "ctr", "cr", "r1", "lpcr", "pvr", "pir", "pid")


# -- info


def settings() -> str:
    """What the user has set, as one line."""
    values = {"mode": SETTINGS.mode, "door": SETTINGS.door, **SETTINGS.options.to_text()}
    if SETTINGS.debug:
        values["debug-file"] = SETTINGS.debug_file or "gdb's log"
    return "Settings: " + ", ".join(f"{name} {value}" for name, value in values.items())


def connection(inferior: gdb.Inferior) -> Iterator[str]:
    """The lines of `info ppc-sstep` about an inferior's connection, of whatever kind it is."""
    yield from _connection(inferior, lambda session: _lines(_asked(session)))


def _lines(status: Told | None) -> Iterable[str]:
    return () if status is None else shown.lines(status)


def _connection(
    inferior: gdb.Inferior, details: Callable[[Session], Iterable[str]]
) -> Iterator[str]:
    """details: gives the lines about a session whose guest is at rest."""
    connection = inferior.connection
    if connection is None:
        yield "Connection: none; `target remote` makes one"
        return
    if not isinstance(connection, gdb.RemoteTargetConnection):
        where = f"{connection.num} ({connection.type})"
        yield f"Connection {where}: not taken: only remote targets are"
        return
    if sessions.at_rest(inferior):
        session = sessions.session_of(inferior)
        if session is not None:
            yield from summary(session)
            yield from details(session)
    else:
        known = sessions.known(inferior)
        if known is not None:
            yield from summary(known)
        else:
            where = f"{connection.num} ({connection.type} {connection.details})"
            yield f"Connection {where}: not looked at yet"
        yield "Target: not stopped; interrupt it to see more"
    yield shown.HOW_TO_REPORT


def summary(session: Session) -> Iterator[str]:
    """Lines that say whether a connection is taken and why, and whether the stub steps."""
    connection = session.connection
    what = f"Connection {connection.num} ({connection.type} {connection.details}): "
    by_commands = session.door is not None and session.door.steps_by_commands
    door = "stepped by commands" if by_commands else "taken"
    yield what + (door if session.active else f"not taken: {session.why}")
    finding = session.finding
    if finding is not None:
        steps = {True: "yes", False: "no", None: "unknown"}[finding.steps]
        yield f"Stub steps: {steps} ({finding.why})"


def _asked(session: Session) -> Told | None:
    """The status that our door, or `gdb-ppc-sstep`, tells; None if there is neither."""
    if session.door is not None:
        status = session.door.status(active=session.active)
    elif session.finding is not None and session.finding.served:
        from .doors import ask_status

        return ask_status(session.connection)
    else:
        return None
    return _at_door(session, status)


def _at_door(session: Session, status: Told) -> Told:
    if session.door is not None and session.door.steps_by_commands:
        return {**status, "watchpoints": "by gdb, which evaluates them after each step"}
    return status


# -- a report


def text() -> str:
    """The text that `ppc-sstep report` writes about the selected inferior.

    It has all that can be found out.  Where the door or the stub does not answer, a line says so.
    """
    inferior = gdb.selected_inferior()
    session = sessions.session_of(inferior) if sessions.at_rest(inferior) else None
    told, details = None, []
    try:
        told = _told(session) if session is not None else None  # first, as all else needs packets
        details = list(_lines(None if told is None else told["status"]))
    except (gdb.error, gdb.GdbError, SstepError) as error:
        details = [f"Problem: {error}"]
    sections = {
        "Versions": list(_versions(session)),
        "Settings": [settings(), *_of_gdb()],
        "Connection": list(_connection(inferior, lambda session: details)),
        "Registers": list(_registers()) if session is not None else [],
        "Target description": list(_description(session)) if session is not None else [],
        "Log, its end": _log(session),
        "Versions of the step layer": told["host"] if told is not None else [],
        "Packets, the last ones": told["packets"] if told is not None else [],
    }
    before = _before()
    if before is not None:
        where = f"Connection that has ended ({before.where})"
        sections[f"{where}, log"] = before.log.splitlines()
        if before.told is not None:
            sections[where] = list(shown.lines(before.told["status"]))
            sections[f"{where}, packets"] = before.told["packets"]
    return shown.report(time.time(), sections)


def _before() -> ended.Last | None:
    """The connection that ended last, None if none has; its layer gets a little time to end."""
    end = time.monotonic() + _LAYER_ENDS
    while not sessions.reap() and time.monotonic() < end:
        time.sleep(0.01)
    return ended.last()


def _told(session: Session) -> Told | None:
    """The data that our door, or `gdb-ppc-sstep`, has for a report; None if there is neither."""
    if session.door is not None:
        told = session.door.report(active=session.active)
        return {**told, "status": _at_door(session, told["status"])}
    if session.finding is not None and session.finding.served:
        from .doors import ask_report

        return ask_report(session.connection)
    return None


def _versions(session: Session | None) -> Iterator[str]:
    """The versions of all that takes part.  session: its stub may be asked; None: no stub."""
    yield f"gdb {gdb.VERSION} (host {gdb.HOST_CONFIG}, target {gdb.TARGET_CONFIG})"
    yield from host.lines()
    finding = None if session is None else session.finding
    if finding is None or (finding.steps is None and not finding.served):
        return  # as far as we know, the stub is not QEMU's
    for command in ("info version", "info kvm", "info status"):
        said = " ".join(detect.monitor(command).split())
        yield f"QEMU, {command}: {said or 'the stub does not say'}"
    yield "Guest kernel: unknown"


def _of_gdb() -> Iterator[str]:
    for name in _OF_GDB:
        with suppress(gdb.error):  # one that this gdb does not have
            yield gdb.execute(f"show {name}", to_string=True).strip()


def _registers() -> Iterator[str]:
    for name in _REGISTERS:
        with suppress(gdb.error):  # as where the target description has none of that name
            yield f"{name} {int(gdb.parse_and_eval(f'(unsigned long)${name}')):#x}"


def _description(session: Session) -> Iterator[str]:
    from ..stub.introduce import described

    def call(payload: bytes) -> bytes:
        return detect.send(session.connection, payload.decode("ascii")) or b""

    try:
        yield from shown.described(described(call))
    except (SstepError, gdb.error) as error:
        yield str(error)


def _log(session: Session | None) -> list[str]:
    return session.door.log_end().splitlines() if session is not None and session.door else []

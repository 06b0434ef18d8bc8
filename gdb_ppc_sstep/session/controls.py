# SPDX-License-Identifier: MIT
"""The commands: info ppc-sstep, ppc-sstep probe, ppc-sstep clean, ppc-sstep report."""

from __future__ import annotations

import os

import gdb

from ..commands import before
from ..ppc import msr
from . import sessions
from .groups import Group
from .sessions import Session


class _Probe(gdb.Command):
    """Ask the stub again whether it steps, and take its connection if it does not.
    Usage: ppc-sstep probe

    This is for when the answer may have changed since "target remote"."""

    def __init__(self) -> None:
        super().__init__("ppc-sstep probe", gdb.COMMAND_RUNNING)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        _no_arguments("ppc-sstep probe", argument)
        session, inferior = _current(), gdb.selected_inferior()
        if not sessions.at_rest(inferior):
            raise gdb.GdbError("The target is running; interrupt it first.")
        session.decide(inferior)
        from . import report  # seldom

        for line in report.summary(session):
            gdb.write(line + "\n")


class _Clean(gdb.Command):
    """Undo what a session that was killed in a step has left in the guest.
    Usage: ppc-sstep clean

    It takes vCPUs off their Trace vector, back to where they were interrupted, and
    clears MSR[SE].  Do not use it where the guest is single-stepping itself
    (ptrace, kprobes, KGDB)."""

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

    Settings          Those of "set ppc-sstep".
    Connection        "taken": the extension does the steps, by a process between
                      gdb and the stub.  "stepped by commands": it does them by
                      commands of its own.  "not taken": gdb asks the stub for
                      steps, as without the extension; the reason follows.
    Stub steps        Whether the stub does steps by itself, and how that is known.
    Target            Only if it is running: interrupt it to see what follows.
    Guest runs on     What executes the guest: KVM HV, QEMU's TCG, or unknown.
    vCPUs             How many there are, and what the stub says of each.
    Problem           Only if there is one: what keeps the next step from being
                      done.
    Trace vector now  Where the Trace interrupt of the next step arrives: a
                      breakpoint is there for each step.
    LPCR[AIL]         Where the guest's interrupts go while MSR[IR] and MSR[DR]
                      are on.
    Byte order        That of the guest's code now.
    Interrupts        What a step does with them (see "help set ppc-sstep
                      interrupts" and "help set ppc-sstep mask-interrupts").
    Watchpoints       How they are seen (see "help set ppc-sstep watchpoints").
    Steps done        Instructions stepped on this connection.
    Last steps        How long each took, and how many packets to the stub: the
                      medians of the last 100 requests to step.
    Outstanding       Steps that were interrupted within a handler of the guest,
                      by vCPU; each ends when the guest returns to it.
    For a bug report  How to write one, and how to have packets logged."""

    def __init__(self) -> None:
        super().__init__("info ppc-sstep", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        from . import report  # seldom

        _no_arguments("info ppc-sstep", argument)
        for line in (report.settings(), *report.connection(gdb.selected_inferior())):
            gdb.write(line + "\n")


class _Report(gdb.Command):
    """Write a file for a bug report about the ppc64 single-step extension.
    Usage: ppc-sstep report FILE

    It has the versions of all that takes part, all settings, what "info ppc-sstep"
    shows, some registers of the selected vCPU, the target description, and the last
    500 packets, which are always kept.  There are no memory contents in it but
    those that these packets carry.  Where the connection is gone, it has the last
    packets of the one that ended last.

    A FILE that is there is overwritten, as by "save breakpoints"."""

    def __init__(self) -> None:
        super().__init__("ppc-sstep report", gdb.COMMAND_SUPPORT, gdb.COMPLETE_FILENAME)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        from . import report  # seldom

        name = argument.strip()
        if not name:
            raise gdb.GdbError("Argument required (file name in which to save)")
        path = os.path.expanduser(name)
        text = report.text()
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            why = f"Unable to open file '{path}' for saving ({error.strerror})"
            raise gdb.GdbError(why) from error
        gdb.write(f"Saved to file '{path}'.\n")


_ABOUT = """Commands of the extension that steps ppc64 guests whose gdbstub cannot.
stepi, nexti, step, next and continue are typed as always: they work once the
connection is taken.  "info ppc-sstep" shows whether it is, and why; "help set
ppc-sstep" lists the settings."""


def _no_arguments(command: str, argument: str) -> None:
    if argument.strip():
        raise gdb.GdbError(f'"{command}" takes no arguments.')


def _current() -> Session:
    session = sessions.session_of(gdb.selected_inferior())
    if session is None:
        raise gdb.GdbError('Not connected to a remote target; use "target remote" first.')
    return session


def register() -> None:
    """Make the commands known to gdb."""
    Group("ppc-sstep", _ABOUT)
    for kind in (_Probe, _Clean, _Report, _Info):
        kind()
    before.register()

# SPDX-License-Identifier: MIT
"""The settings and commands: set/show ppc-sstep, info ppc-sstep, ppc-sstep probe."""

from __future__ import annotations

import os
from collections.abc import Iterator

import gdb

from ..options import AIL, Interrupts
from ..ppc import msr
from . import sessions
from .sessions import Session, Settings


class _Group(gdb.Command):
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


class _ShowGroup(gdb.Command):
    """Show the settings of the ppc64 single-step extension."""

    def __init__(self) -> None:
        super().__init__("show ppc-sstep", gdb.COMMAND_RUNNING, prefix=True)

    def invoke(self, _argument: str, _from_tty: bool) -> None:
        for name in ("mode", "door", "ail", "interrupts", "mask-interrupts", "debug-file"):
            gdb.execute(f"show ppc-sstep {name}")


class _Mode(gdb.Parameter):
    """auto  ppc64 remote targets whose stub ignores step requests: QEMU with KVM, or with
          Qqemu.sstep=0.  This is the default.
    on    every ppc64 remote target.
    off   none."""

    set_doc = "Set which connections are taken, to step by the Trace interrupt."
    show_doc = "Show which connections are taken, to step by the Trace interrupt."

    def __init__(self) -> None:
        super().__init__(
            "ppc-sstep mode", gdb.COMMAND_RUNNING, gdb.PARAM_ENUM, ["auto", "on", "off"]
        )
        self.value = Settings.mode

    def get_set_string(self) -> str:
        Settings.mode = str(self.value)
        sessions.ask_again()
        return ""

    def get_show_string(self, value: str) -> str:
        return f"The mode of ppc-sstep is {value}."


class _Door(gdb.Parameter):
    """auto      by the wire, and by commands where that cannot be done.  This is the default.
    wire      a process between gdb and the stub answers gdb's own step requests.
    commands  stepi, nexti, step and next are replaced, and use gdb's own connection.

    It counts for connections that are made from then on.  gdb cannot bring back a command
    that was replaced: once one connection is stepped by commands, all later ones are."""

    set_doc = "Set how a connection is stepped."
    show_doc = "Show how a connection is stepped."

    def __init__(self) -> None:
        super().__init__(
            "ppc-sstep door", gdb.COMMAND_RUNNING, gdb.PARAM_ENUM, ["auto", "wire", "commands"]
        )
        self.value = Settings.door

    def get_set_string(self) -> str:
        Settings.door = str(self.value)
        return ""

    def get_show_string(self, value: str) -> str:
        return f"The door of ppc-sstep is {value}."


class _Ail(gdb.Parameter):
    """LPCR[AIL] says where interrupts go while translation is on.

    auto  as LPCR says.  This is the default.
    0     to 0xd00, without translation.
    2     to 0x18d00.
    3     to 0xc000000000004d00, as in Linux.

    Needed only for a stub that does not give LPCR."""

    set_doc = "Set LPCR[AIL] of the guest, for a stub that does not give LPCR."
    show_doc = "Show LPCR[AIL] of the guest, for a stub that does not give LPCR."

    def __init__(self) -> None:
        super().__init__("ppc-sstep ail", gdb.COMMAND_RUNNING, gdb.PARAM_ENUM, list(AIL))
        self.value = Settings.options.to_text()["ail"]

    def get_set_string(self) -> str:
        return _set_option("ail", str(self.value))

    def get_show_string(self, value: str) -> str:
        return f"LPCR[AIL] for ppc-sstep is {value}."


class _Interrupts(gdb.Parameter):
    """into  the first instruction of the guest's handler, as native stepping does.  This is the
          default.
    over  what the handler returns to: after a fault that it has put right (page faults, facilities
          switched on when they are first used) the next instruction, as the step then completes;
          after a system call, a trap, an alignment or program interrupt the place that the handler
          returns to, if that is the instruction or the next one.

    Interrupts from outside (timer, devices) never end a step."""

    set_doc = "Set what a step shows of an interrupt that its instruction takes."
    show_doc = "Show what a step shows of an interrupt that its instruction takes."

    def __init__(self) -> None:
        super().__init__(
            "ppc-sstep interrupts",
            gdb.COMMAND_RUNNING,
            gdb.PARAM_ENUM,
            [choice.value for choice in Interrupts],
        )
        self.value = Settings.options.interrupts.value

    def get_set_string(self) -> str:
        return _set_option("interrupts", str(self.value))

    def get_show_string(self, value: str) -> str:
        return f"Steps go {value} interrupts that their instruction takes."


class _MaskInterrupts(gdb.Parameter):
    """on   interrupts from outside (timer, devices, other vCPUs) wait until the guest is
         continued, as in native stepping: MSR[EE] is 0 for the instruction, and the guest
         does not see that.  This is the default.
    off  their handlers run first, whenever they are due, unless all other vCPUs stand still
         (in a step over a breakpoint, by scheduler-locking, and always at the commands
         door): a handler may wait for them.

    In problem state MSR[EE] is always 1: there they are never kept waiting."""

    set_doc = "Set whether interrupts from outside wait for a step."
    show_doc = "Show whether interrupts from outside wait for a step."

    def __init__(self) -> None:
        super().__init__("ppc-sstep mask-interrupts", gdb.COMMAND_RUNNING, gdb.PARAM_BOOLEAN)
        self.value = Settings.options.mask_interrupts

    def get_set_string(self) -> str:
        return _set_option("mask-interrupts", "on" if self.value else "off")

    def get_show_string(self, value: str) -> str:
        return f"Masking of interrupts while an instruction is stepped is {value}."


def _set_option(name: str, value: str) -> str:
    """What a parameter's `get_set_string` does for one of the `Options`."""
    Settings.options = Settings.options.with_text(name, value)
    sessions.tell_settings()
    return ""


class _Debug(gdb.Parameter):
    """When on, each packet and decision of the step layer is logged.

    The log is printed to gdb's own (see "set logging") at each stop, or appended line by line to
    the file that "set ppc-sstep debug-file" names."""

    set_doc = "Set debugging of the ppc64 single-step extension."
    show_doc = "Show debugging of the ppc64 single-step extension."

    def __init__(self) -> None:
        super().__init__("debug ppc-sstep", gdb.COMMAND_MAINTENANCE, gdb.PARAM_BOOLEAN)
        self.value = Settings.debug

    def get_set_string(self) -> str:
        Settings.debug = bool(self.value)
        sessions.tell_settings()
        return ""

    def get_show_string(self, value: str) -> str:
        return f"Debugging of the ppc64 single-step extension is {value}."


class _DebugFile(gdb.Parameter):
    """It is the log of "set debug ppc-sstep".

    Empty, which is the default, is for gdb's own log."""

    set_doc = "Set the file that the log of the step layer is appended to."
    show_doc = "Show the file that the log of the step layer is appended to."

    def __init__(self) -> None:
        super().__init__(
            "ppc-sstep debug-file", gdb.COMMAND_MAINTENANCE, gdb.PARAM_OPTIONAL_FILENAME
        )
        self.value = Settings.debug_file

    def get_set_string(self) -> str:
        Settings.debug_file = os.path.abspath(str(self.value)) if self.value else ""
        sessions.tell_settings()
        return ""

    def get_show_string(self, value: str) -> str:
        return f"The log of the step layer goes to {value or 'the log of gdb'}."


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
        if session.layer is None and session.door is None:
            raise gdb.GdbError(f"The connection is not taken: {session.why}.")
        found = session.left(clean=True)
        for one in found:
            masked = "" if one["state"] & (msr.EE | msr.PR) else "; MSR[EE] is 0 there"
            gdb.write(f"{one['thread']}: {one['what']} is taken back{masked}.\n")
        if not found:
            gdb.write("Nothing to clean.\n")


class _Info(gdb.Command):
    """Show what the ppc64 single-step extension does with the current connection.

    Usage: info ppc-sstep"""

    def __init__(self) -> None:
        super().__init__("info ppc-sstep", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, _from_tty: bool) -> None:
        _no_arguments("info ppc-sstep", argument)
        if not sessions.at_rest(gdb.selected_inferior()):
            gdb.write(f"Mode: {Settings.mode}\nConnection: none, or its target is running.\n")
            return
        session = _current()
        for line in (f"Mode: {Settings.mode}", *_summary(session), *_details(session)):
            gdb.write(line + "\n")


def _no_arguments(command: str, argument: str) -> None:
    if argument.strip():
        raise gdb.GdbError(f'"{command}" takes no arguments.')


def _current() -> Session:
    session = sessions.session_of(gdb.selected_inferior())
    if session is None:
        raise gdb.GdbError('Not connected to a remote target; use "target remote" first.')
    return session


def _summary(session: Session) -> Iterator[str]:
    connection = session.connection
    what = f"Connection {connection.num} ({connection.type} {connection.details}): "
    door = "stepped by commands" if session.door else "taken"
    yield what + (door if session.active else f"not taken: {session.why}")
    finding = session.finding
    if finding is not None:
        steps = {True: "yes", False: "no", None: "unknown"}[finding.steps]
        yield f"Stub steps: {steps} ({finding.why})"


def _details(session: Session) -> Iterator[str]:
    if session.layer is None and session.door is None:
        return
    status = session.status()
    if "problem" in status:
        yield f"Problem: {status['problem']}"
    if "vector" in status:
        translation = "both on" if msr.relocates(status["msr"]) else "not both on"
        yield f"Trace vector now: {status['vector']:#x} (MSR[IR] and MSR[DR] {translation})"
        by_hand = "" if Settings.options.ail is None else " (set by hand)"
        yield f"LPCR[AIL]: {status['ail']}{by_hand}"
        yield f"Byte order: {status['order']}-endian (MSR[LE])"
    yield f"Steps done: {status['steps']}"
    outstanding = [
        f"{one['thread'] or 'the vCPU'} from {one['pc']:#x}" for one in status["outstanding"]
    ]
    yield f"Outstanding: {', '.join(outstanding) or 'none'}"


def register() -> None:
    """Make the commands and settings known to gdb."""
    _Group("set ppc-sstep", "Set how the ppc64 single-step extension works.")
    _ShowGroup()
    _Group("ppc-sstep", "Commands of the ppc64 single-step extension.")
    for kind in (
        _Mode,
        _Door,
        _Ail,
        _Interrupts,
        _MaskInterrupts,
        _Debug,
        _DebugFile,
        _Probe,
        _Clean,
        _Info,
    ):
        kind()

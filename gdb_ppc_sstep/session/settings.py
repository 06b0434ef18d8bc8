# SPDX-License-Identifier: MIT
"""What the user has set: `set ppc-sstep ...` and `show ppc-sstep ...`."""

from __future__ import annotations

import os
from collections.abc import Callable

import gdb

from ..options import AIL, Interrupts, Options, Watchpoints
from .groups import Group


class Settings:
    """What the user has set.  mode, door: see the parameters.  options: how steps are done.  debug:
    whether all is logged.  debug_file: the file for the log, empty for gdb's own log.
    """

    def __init__(self) -> None:
        self.mode = "auto"
        self.door = "auto"
        self.options = Options()
        self.debug = False
        self.debug_file = ""


SETTINGS = Settings()
"""The settings of this gdb.  Only this room writes them; others read them."""


class _ShowGroup(gdb.Command):
    """Show how the ppc64 single-step extension works.
    Usage: show ppc-sstep [SETTING]

    Without a SETTING all of them are shown."""

    def __init__(self) -> None:
        super().__init__("show ppc-sstep", gdb.COMMAND_RUNNING, prefix=True)

    def invoke(self, _argument: str, _from_tty: bool) -> None:
        for name in (
            *("mode", "door", "ail", "interrupts", "mask-interrupts", "watchpoints"),
            "debug-file",
        ):
            gdb.execute(f"show ppc-sstep {name}")


class _Told(gdb.Parameter):
    """A parameter whose value the doors have to know."""

    _changed: Callable[[], None]

    def _set_option(self, name: str, value: str) -> str:
        """Do for one of the `Options` what `get_set_string` has to do."""
        SETTINGS.options = SETTINGS.options.with_text(name, value)
        self._changed()
        return ""


class _Choice(_Told):
    """A parameter for one of the `Options` that has a few words as its values."""

    _name: str
    _choices: tuple[str, ...]

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        super().__init__(
            f"ppc-sstep {self._name}", gdb.COMMAND_RUNNING, gdb.PARAM_ENUM, list(self._choices)
        )
        self.value = SETTINGS.options.to_text()[self._name]

    def get_set_string(self) -> str:
        return self._set_option(self._name, str(self.value))


class _Mode(gdb.Parameter):
    """Usage: set ppc-sstep mode auto|on|off

    auto  ppc64 remote targets whose stub ignores step requests: QEMU with KVM, or
          with Qqemu.sstep=0.  This is the default.
    on    Every ppc64 remote target.
    off   None."""

    set_doc = "Set which connections are taken, to step by the Trace interrupt."
    show_doc = "Show which connections are taken, to step by the Trace interrupt."

    def __init__(self, decide_again: Callable[[], None]) -> None:
        self._decide_again = decide_again
        super().__init__(
            "ppc-sstep mode", gdb.COMMAND_RUNNING, gdb.PARAM_ENUM, ["auto", "on", "off"]
        )
        self.value = SETTINGS.mode

    def get_set_string(self) -> str:
        SETTINGS.mode = str(self.value)
        self._decide_again()
        return ""

    def get_show_string(self, value: str) -> str:
        return f"The mode of ppc-sstep is {value}."


class _Door(gdb.Parameter):
    """Usage: set ppc-sstep door auto|wire|commands

    auto      By the wire, and by commands where that cannot be done.  This is the
              default.
    wire      A process between gdb and the stub answers gdb's own step requests.
    commands  stepi, nexti, step, next and continue are replaced, and use gdb's own
              connection.

    It counts for connections that are made from then on.  gdb cannot bring back a
    command that was replaced: once one connection is stepped by commands, all later
    ones are."""

    set_doc = "Set how a connection is stepped."
    show_doc = "Show how a connection is stepped."

    def __init__(self) -> None:
        super().__init__(
            "ppc-sstep door", gdb.COMMAND_RUNNING, gdb.PARAM_ENUM, ["auto", "wire", "commands"]
        )
        self.value = SETTINGS.door

    def get_set_string(self) -> str:
        SETTINGS.door = str(self.value)
        return ""

    def get_show_string(self, value: str) -> str:
        return f"The door of ppc-sstep is {value}."


class _Ail(_Choice):
    """Usage: set ppc-sstep ail auto|0|2|3

    LPCR[AIL] says where interrupts go while translation is on.

    auto  As LPCR says.  This is the default.
    0     To 0xd00, without translation.
    2     To 0x18d00.
    3     To 0xc000000000004d00, as in Linux.

    It is needed only for a stub that does not give LPCR."""

    set_doc = "Set LPCR[AIL] of the guest, for a stub that does not give LPCR."
    show_doc = "Show LPCR[AIL] of the guest, for a stub that does not give LPCR."

    _name, _choices = "ail", tuple(AIL)

    def get_show_string(self, value: str) -> str:
        return f"LPCR[AIL] for ppc-sstep is {value}."


class _Interrupts(_Choice):
    """Usage: set ppc-sstep interrupts into|over

    into  The first instruction of the guest's handler, as native stepping does.
          This is the default.
    over  What the handler returns to.  After a fault that it has put right (page
          faults, facilities switched on when they are first used) that is the next
          instruction, as the step then completes.  After a system call, a trap, an
          alignment or program interrupt it is the place that the handler returns
          to, if that is the instruction or the next one.

    Interrupts from outside (timer, devices) never end a step."""

    set_doc = "Set what a step shows of an interrupt that its instruction takes."
    show_doc = "Show what a step shows of an interrupt that its instruction takes."

    _name, _choices = "interrupts", tuple(choice.value for choice in Interrupts)

    def get_show_string(self, value: str) -> str:
        return f"Steps go {value} interrupts that their instruction takes."


class _MaskInterrupts(_Told):
    """Usage: set ppc-sstep mask-interrupts on|off

    on   Interrupts from outside (timer, devices, other vCPUs) wait until the guest
         is continued, as in native stepping: MSR[EE] is 0 for the instruction, and
         the guest does not see that.  This is the default.
    off  Their handlers run first, whenever they are due, unless all other vCPUs
         stand still (in a step over a breakpoint, by scheduler-locking, and always
         when steps are done by commands): a handler may wait for them.

    In problem state MSR[EE] is always 1: there they are never kept waiting."""

    set_doc = "Set whether interrupts from outside wait for a step."
    show_doc = "Show whether interrupts from outside wait for a step."

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        super().__init__("ppc-sstep mask-interrupts", gdb.COMMAND_RUNNING, gdb.PARAM_BOOLEAN)
        self.value = SETTINGS.options.mask_interrupts

    def get_set_string(self) -> str:
        return self._set_option("mask-interrupts", "on" if self.value else "off")

    def get_show_string(self, value: str) -> str:
        return f"Masking of interrupts while an instruction is stepped is {value}."


class _Watchpoints(_Choice):
    """Usage: set ppc-sstep watchpoints auto|dawr|step|off

    auto  By the stub where it has watchpoints.  Where it has none, as under KVM HV,
          by the CPU's own watchpoint register (DAWR), at the guest's full speed;
          where the host has that off or it is not long enough, by steps.  This is
          the default.
    dawr  By DAWR, or not at all.
    step  By steps: exact, and slow.
    off   By the stub, or not at all.

    This is about what "watch", "rwatch" and "awatch" insert.  Where steps are done
    by commands (see "help set ppc-sstep door") there are no watchpoints."""

    set_doc = "Set how watchpoints are seen where the stub has none."
    show_doc = "Show how watchpoints are seen where the stub has none."

    _name, _choices = "watchpoints", tuple(choice.value for choice in Watchpoints)

    def get_show_string(self, value: str) -> str:
        return f"Watchpoints are seen by: {value}."


class _Debug(_Told):
    """Usage: set debug ppc-sstep on|off

    When on, each packet and decision of the step layer is logged.  The log is
    printed to gdb's own (see "set logging") at each stop, or appended line by line
    to the file that "set ppc-sstep debug-file" names."""

    set_doc = "Set debugging of the ppc64 single-step extension."
    show_doc = "Show debugging of the ppc64 single-step extension."

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        super().__init__("debug ppc-sstep", gdb.COMMAND_MAINTENANCE, gdb.PARAM_BOOLEAN)
        self.value = SETTINGS.debug

    def get_set_string(self) -> str:
        SETTINGS.debug = bool(self.value)
        self._changed()
        return ""

    def get_show_string(self, value: str) -> str:
        return f"Debugging of the ppc64 single-step extension is {value}."


class _DebugFile(_Told):
    """Usage: set ppc-sstep debug-file [FILE]

    It is the log of "set debug ppc-sstep".  Without a FILE, which is the default,
    that goes to gdb's own log."""

    set_doc = "Set the file that the log of the step layer is appended to."
    show_doc = "Show the file that the log of the step layer is appended to."

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        super().__init__(
            "ppc-sstep debug-file", gdb.COMMAND_MAINTENANCE, gdb.PARAM_OPTIONAL_FILENAME
        )
        self.value = SETTINGS.debug_file

    def get_set_string(self) -> str:
        path = os.path.abspath(str(self.value)) if self.value else ""
        try:
            if path:  # O_NONBLOCK: a FIFO that nobody reads is an error, and no wait
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
                os.close(os.open(path, flags, 0o666))
        except OSError as error:
            self.value = SETTINGS.debug_file or None
            raise gdb.GdbError(f"{path} cannot be written: {error.strerror}.") from error
        SETTINGS.debug_file = path
        self._changed()
        return ""

    def get_show_string(self, value: str) -> str:
        return f"The log of the step layer goes to {value or 'the log of gdb'}."


def register(decide_again: Callable[[], None], changed: Callable[[], None]) -> None:
    """Register the settings with gdb.

    decide_again: called when the mode has changed.  changed: called when anything else has changed
    that a door has to know.
    """
    Group(
        "set ppc-sstep",
        "Set how the ppc64 single-step extension works.\nUsage: set ppc-sstep SETTING VALUE",
    )
    _ShowGroup()
    _Mode(decide_again)
    _Door()
    for kind in (_Ail, _Interrupts, _MaskInterrupts, _Watchpoints, _Debug, _DebugFile):
        kind(changed)

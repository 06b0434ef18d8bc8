# SPDX-License-Identifier: MIT
"""The oracle: the same commands on a stub that steps natively and on one that ignores steps.

Native: QEMU TCG with Qqemu.sstep=7, and plain gdb.  Ours: the same QEMU with Qqemu.sstep=0, and the
extension.  After every command the output, the registers and the breakpoint list must be equal.
Two equal errors prove nothing, so an error is a failure unless the test says that it must come.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect

from fixtures.qemu import Guest
from tests.harness.doors import SAID
from tests.harness.driver import Gdb

REGISTERS = " ".join(
    [f"r{number}" for number in range(32)] + ["pc", "msr", "cr", "lr", "ctr", "xer", "srr0", "srr1"]
)

HANGS = "(no prompt)"
# The beginnings of lines in which gdb says that it has not done a command.
_ERROR = re.compile(
    r"^(?:A (?:parse|syntax) error|Argument |Attempt |Bad |Can't |Cannot |Could not |Couldn't |"
    r"Error |Function .* not defined|Illegal |Insufficient |Invalid |Junk |Left |"
    r"No (?:breakpoint|default|function|line|skiplist|source file|struct|symbol|thread) |Non-|"
    r"Not a |Python Exception|Right |\"finish\" not|"
    r"The (?:history|program is)|Traceback |Unable |Undefined |Unknown |Value can't |"
    r".* = (?:void|<error)).*",
    re.MULTILINE,
)

# gdb warns so on the native side: the layer supports range stepping, the native stub does not.
NO_RANGES = "warning: Range stepping is not supported by the current target\n"

# gdb says so where it first steps off a breakpoint; ours may have left that one before.
NOT_DISPLACED = (
    "warning: disabling displaced stepping: Cannot find AT_ENTRY auxiliary vector entry.\n"
)


def variant_name(variant: dict[str, Any]) -> str:
    """The name by which pytest shows a program's variant."""
    return "-".join(f"{key}={value}" for key, value in variant.items())


def complaint(command: str, output: str) -> str:
    """The line in which gdb says that a command has failed; empty if it has not.

    For `set` any output is a complaint, because a `set` that succeeds prints nothing.
    """
    if command.startswith("set ") and output.strip():
        return output.strip()
    found = _ERROR.search(output)
    return found[0] if found else ""


class Oracle:
    """Two gdbs, each with a guest of its own, that get the same commands."""

    def __init__(self, native: Gdb, ours: Gdb, targets: tuple[str, str]) -> None:
        self.native = native
        self.ours = ours
        self.targets = targets
        self.compared = 0
        self.commands: list[str] = []
        self.agreeing = True

    def both(self, command: str, timeout: float = 20, *, fails: str | None = "") -> str:
        """Give both gdbs a command.  Returns its output, once output and state have proved equal.

        fails: a part of the error by which both must refuse it; None: they may refuse it.
        """
        self.commands.append(command)
        output = self._same(command, timeout)
        if fails is not None:
            said = complaint(command, output)
            assert bool(said) == bool(fails) and fails in said, (
                f"{command!r} on both sides: {said or 'no error'!r}, expected: {fails or 'none'!r}"
            )
        self._same(f"info registers {REGISTERS}", timeout)
        self._same("info breakpoints", timeout)
        return output

    def run(self, script: str) -> str:
        """Give both gdbs the commands of a script, one per line.  Returns all their output.

        `COMMAND # fails: TEXT` is a command that gdb must refuse with that text;
        `COMMAND # may fail` is one that it may refuse.
        """
        output = ""
        for line in script.splitlines():
            command, _, comment = line.strip().partition("  # ")
            if command and not command.startswith("#"):
                fails = None if comment == "may fail" else comment.partition("fails: ")[2]
                output += self.both(command, fails=fails)
        return output

    def block(self, *lines: str) -> None:
        """Give both gdbs a command with a body (`commands`, `define`).

        The prompt comes only after the last line.
        """
        for gdb in (self.native, self.ours):
            for line in lines:
                gdb.send(line)
            gdb.finish()

    def _same(self, command: str, timeout: float) -> str:
        """Give both gdbs a command.  Returns its output, which must be the same."""
        self.native.send(command)
        self.ours.send(command)
        self.agreeing = False
        native, ours = _finish(self.native, timeout), _finish(self.ours, timeout)
        self.compared += 1
        before = "\n".join(self.commands[-5:])
        assert HANGS not in (native, ours) or native != ours, f"{command!r} hangs both\n{before}"
        if native != ours:
            diff = "\n".join(
                difflib.unified_diff(
                    native.splitlines(), ours.splitlines(), "native", "ours", lineterm="", n=1
                )
            )
            raise AssertionError(f"{command!r} differs after\n{before}\n{diff}")
        self.agreeing = True
        return native


def _finish(gdb: Gdb, timeout: float) -> str:
    """The output of a command that was sent; HANGS if no prompt comes in time."""
    try:
        output = gdb.finish(timeout)
    except pexpect.TIMEOUT:
        return HANGS
    for said in (NO_RANGES, NOT_DISPLACED, SAID):
        output = output.replace(said, "")
    return output


def compare(native: Gdb, ours: Gdb, script: str) -> int:
    """Run a script on two connected gdbs, as `Oracle.run`.  Returns the number of comparisons."""
    pair = Oracle(native, ours, ("", ""))
    pair.run(script)
    return pair.compared


@contextmanager
def oracle(
    directory: Path,
    boot: Callable[..., Guest],
    elf: Path,
    arguments: Sequence[str] = (),
    door: str = "wire",
) -> Iterator[Oracle]:
    """Both sides, connected; ours is served at a door.  boot(steps=...)  starts a guest."""
    with (
        boot(steps=True) as stepping,
        boot(steps=False) as ignoring,
        Gdb(directory, name="native", extension=False, arguments=tuple(arguments)) as native,
        Gdb(directory, name="ours", door=door, arguments=tuple(arguments)) as ours,
    ):
        native.connect(stepping.target, elf)
        greeting = ours.connect(ignoring.target, elf)
        assert "stepping by the Trace interrupt" in greeting, greeting
        pair = Oracle(native, ours, (stepping.target, ignoring.target))
        yield pair
        if not pair.agreeing:
            return  # the test has failed already, and one of the gdbs may have no prompt
        status = ours.status()
        assert {"wire": ": taken", "commands": "by commands"}[door] in status, status
        assert "Outstanding: none" in status, status

# SPDX-License-Identifier: MIT
"""GDB/MI as a front end speaks it: the records that native stepping gives."""

from __future__ import annotations

import re
from collections.abc import Callable

import pexpect
import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.driver import EXTENSION

pytestmark = pytest.mark.bare

COMMANDS = [
    "-break-insert work",
    "-exec-continue",
    "-exec-step-instruction",
    "-exec-next-instruction",
    "-exec-next",
    "-exec-step",
    "-exec-step",
    "-exec-finish",
    "-break-insert -c x==3 square",
    "-exec-continue",
    "-stack-list-frames",
    "-exec-until",
    "-exec-finish",
    "-break-insert -i 1 factorial",
    "-exec-continue",
    "-break-delete 2 3",
    "-exec-continue",
    "-data-list-register-values x 64 65",
    "-exec-interrupt",
]


class Mi:
    """gdb's MI interpreter on a pipe-like terminal."""

    def __init__(self, *, extension: bool, asynchronous: bool) -> None:
        command = ["-nx", "-q", "-i=mi3", "-d", str(SOURCES)]
        if extension:
            command.append(f"-iex=source {EXTENSION}")
        self.child: pexpect.spawn[str] = pexpect.spawn(
            "gdb-multiarch", command, encoding="utf-8", timeout=30, echo=False
        )
        self.child.delaybeforesend = None
        self.child.expect_exact("(gdb) \r\n")
        self.command(f"-gdb-set mi-async {'on' if asynchronous else 'off'}")

    def command(self, text: str) -> str:
        """The records of a command, up to the stop if it resumes the target."""
        self.child.sendline(text)
        self.child.expect(r"\^(done|running|error|connected)[^\r]*\r\n")
        records = str(self.child.before) + str(self.child.after)
        if "^error" not in records and text.startswith("-exec"):
            self.child.expect(r"\*stopped[^\r]*\r\n")
            records += str(self.child.before) + str(self.child.after)
        # Prompts come at other moments with mi-async; what follows this answer is of the next.
        self.child.sendline("777-data-evaluate-expression 1")
        self.child.expect(r"777\^done[^\r]*\r\n\(gdb\) \r\n")
        return (records + str(self.child.before)).replace("(gdb) \r\n", "")


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "mi-async"])
def test_records(
    asynchronous: bool,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> None:
    program = programs("demo")
    sessions = []
    for steps in (True, False):
        guest = boot(program, steps=steps)
        mi = Mi(extension=not steps, asynchronous=asynchronous)
        records = [mi.command(f"-file-exec-and-symbols {program.elf}")]
        records.append(mi.command(f"-target-select remote {guest.target}"))
        for command in COMMANDS:
            records.append(mi.command(command) if command != COMMANDS[-1] else "")
        mi.command("-break-delete")
        mi.child.sendline("-exec-continue")
        mi.child.expect(r"\*running[^\r]*\r\n")
        if asynchronous:
            mi.child.sendline("-exec-interrupt")
        else:
            mi.child.sendintr()
        mi.child.expect(r"\*stopped,reason=\"signal-received\",signal-name=\"SIGINT\"[^\r]*\r\n")
        mi.child.close(force=True)
        sessions.append([_normal(record, guest) for record in records])
    native, ours = sessions
    assert any("stepping by the Trace interrupt" in record for record in ours)
    for command, theirs, mine in zip(["file", "target", *COMMANDS], native, ours):
        assert _without_announcement(mine) == theirs, command
    assert sum('reason="end-stepping-range"' in record for record in native) >= 5
    assert sum('reason="breakpoint-hit"' in record for record in native) >= 4
    assert sum('reason="function-finished"' in record for record in native) == 2


def _normal(records: str, guest: Qemu) -> str:
    """Without what differs from one guest to the next."""
    records = records.replace(guest.target, "TARGET").replace("\r\n", "\n")
    return re.sub(r'stopped-threads="[^"]*",|,core="\d+"', "", records)


def _without_announcement(records: str) -> str:
    return "".join(line for line in records.splitlines(keepends=True) if "ppc-sstep" not in line)

# SPDX-License-Identifier: MIT
"""GDB/MI as front ends speak it: the records must be those of native stepping.

The sequences are modelled on what VS Code's cppdbg (MIEngine's MICommandFactory.cs and
DebuggedProcess.cs), Eclipse CDT (DSF-GDB's FinalLaunchSequence and MIRunControl) and front ends
that step by `-interpreter-exec console` send.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pexpect
import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.doors import DOORS
from tests.harness.driver import EXTENSION, GDB

pytestmark = pytest.mark.bare


class Sequence(NamedTuple):
    """What a front end sends before it connects, how it connects, and what it sends afterwards."""

    before: tuple[str, ...]
    connect: str
    commands: tuple[str, ...]


PLAIN = Sequence(
    (),
    "-target-select remote {target}",
    (
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
        "-dprintf-insert square \"x=%d\\n\" x",
        "-break-watch total",
        "-exec-continue",
        "-exec-continue",
        "-break-list",
        "-break-delete",
        "-exec-until demo.c:51",
        "-break-insert work",
        "-exec-jump demo.c:51",
    ),
)  # fmt: skip

# Request "launch" with miDebuggerServerAddress: cppdbg stops where the guest is, then continues.
CPPDBG = Sequence(
    (
        # It also sends target-async on.  That is another name of mi-async, which the test sets.
        '-interpreter-exec console "set pagination off"',
        "-gdb-set auto-solib-add on",
    ),
    "-target-select remote {target}",
    (
        '-interpreter-exec console "show architecture"',
        "-break-insert -f main",
        "-exec-continue",
        "-break-delete 1",
        "-list-thread-groups i1",
        "-thread-info",
        "-thread-info 1",
        "-break-insert -f demo.c:40",
        '-break-insert -f -c "x == 3" demo.c:9',
        "-exec-continue",
        "-stack-list-frames --thread 1 0 1000",
        "-stack-list-arguments --thread 1 2 0 10",
        "-stack-list-variables --thread 1 --frame 0 1",
        "-stack-info-depth --thread 1 1000",
        '-var-create --thread 1 --frame 0 - * "result"',
        "-exec-step --thread 1 --frame 0",
        "-exec-next --thread 1 --frame 0",
        "-exec-next --thread 1 --frame 0",
        "-var-update 2 *",
        '-data-evaluate-expression --thread 1 --frame 1 "n"',
        "-exec-continue",
        "-exec-finish --thread 1 --frame 0",
        "-exec-step-instruction --thread 1 --frame 0",
        "-exec-next-instruction --thread 1 --frame 0",
        "-stack-select-frame 1",
        "-stack-list-locals 1",
        "-data-list-register-values --thread 1 x 1 64 65",
        "-data-disassemble -f demo.c -l 40 -n 5 -- 4",
        "-break-delete 3",
        "-exec-continue",
        "-thread-select 1",
        "-exec-finish --thread 1 --frame 0",
    ),
)

ECLIPSE = Sequence(
    (
        "-environment-cd /",
        "-gdb-set breakpoint pending on",
        "-gdb-set detach-on-fork on",
        "-gdb-set python print-stack none",
        "-gdb-set print object on",
        "-gdb-set print sevenbit-strings on",
        "-gdb-set auto-solib-add on",
        "-enable-pretty-printing",
        "-list-features",
    ),
    "-target-select extended-remote {target}",
    (
        "-list-thread-groups",
        "-list-thread-groups i1",
        "-break-insert -t -f main",
        "-exec-continue --thread 1",
        "-thread-info 1",
        "-stack-info-depth --thread 1 11",
        "-stack-list-frames --thread 1 0 0",
        "-break-insert -f demo.c:24",
        "-break-condition 2 n==3",
        "-break-after 2 1",
        "-exec-continue --thread-group i1",
        "-stack-list-locals --thread 1 --frame 0 1",
        "-var-create --thread 1 --frame 0 - * n",
        "-var-update 1 var1",
        "-exec-next --thread 1 1",
        "-exec-step --thread 1 1",
        "-exec-step --thread 1 2",
        "-exec-finish --thread 1 --frame 0",
        "-exec-step-instruction --thread 1 3",
        "-exec-next-instruction --thread 1 3",
        "-exec-until --thread 1 demo.c:44",
        "-break-disable 2",
        "-break-insert -f -h largest",
        "-exec-continue --thread 1",
        "-stack-list-arguments --thread 1 1",
        "-exec-return --thread 1 --frame 0",
        "-data-list-register-names 64 65",
        "-data-list-register-values --thread 1 --frame 0 x 64 65",
        "-data-read-memory-bytes $pc 16",
        "-break-watch total",
        "-exec-continue --thread 1",
        "-break-delete 4",
        "-exec-continue --thread 1",
    ),
)  # fmt: skip

CONSOLE = Sequence(
    ("-gdb-set confirm off", '-interpreter-exec console "set breakpoint pending on"'),
    "-interpreter-exec console \"target remote {target}\"",
    tuple(
        f'-interpreter-exec console "{command}"'
        for command in (
            *("break work", "continue", "step", "next", "stepi", "nexti", "finish", "next"),
            *("tbreak square if x == 3", "continue", "continue", "up", "finish", "until 44"),
            *("advance largest", "backtrace", "info locals", "info breakpoints", "continue"),
        )
    ),
)  # fmt: skip

SEQUENCES = {"plain": PLAIN, "cppdbg": CPPDBG, "eclipse": ECLIPSE, "console": CONSOLE}
RESUMES = re.compile(
    r'-exec-(?!return)|-interpreter-exec console "(target|continue|next|step|finish|until|advance)'
)


class Mi:
    """gdb's MI interpreter on a terminal that behaves like a pipe."""

    def __init__(self, *, extension: bool, asynchronous: bool, door: str = "wire") -> None:
        command = ["-nx", "-q", "-i=mi3", "-d", str(SOURCES)]
        if extension:
            command += [f"-iex=source {EXTENSION}", f"-iex=set ppc-sstep door {door}"]
        self.child: pexpect.spawn[str] = pexpect.spawn(
            GDB, command, encoding="utf-8", timeout=30, echo=False
        )
        self.child.delaybeforesend = None
        self.child.expect_exact("(gdb) \r\n")
        self.command(f"-gdb-set mi-async {'on' if asynchronous else 'off'}")

    def command(self, text: str) -> str:
        """Send a command.  Returns its records, up to the stop if the command resumes."""
        self.child.sendline(text)
        self.child.expect(r"\^(done|running|error|connected)[^\r]*\r\n")
        records = str(self.child.before) + str(self.child.after)
        stopped = "*stopped" in records and "^running" not in records
        if "^error" not in records and RESUMES.match(text) and not stopped:
            self.child.expect(r"\*stopped[^\r]*\r\n")
            records += str(self.child.before) + str(self.child.after)
        # With mi-async prompts come at other moments, so the answer to this marks the end.
        self.child.sendline("777-data-evaluate-expression 1")
        self.child.expect(r"777\^done[^\r]*\r\n\(gdb\) \r\n")
        return (records + str(self.child.before)).replace("(gdb) \r\n", "")

    def do(self, text: str) -> str:
        """The same for a command that must not fail."""
        records = self.command(text)
        assert "^error" not in records, records
        return records


@contextmanager
def connected(
    boot: Callable[..., Qemu], program: Program, ours: bool, *, asynchronous: bool, door: str
) -> Iterator[Mi]:
    """A gdb that is connected to a guest of its own; ours steps by `door`, else the stub does."""
    guest = boot(program, steps=not ours)
    mi = Mi(extension=ours, asynchronous=asynchronous, door=door)
    try:
        mi.do(f"-file-exec-and-symbols {program.elf}")
        mi.do(f"-target-select remote {guest.target}")
        yield mi
    finally:
        mi.child.close(force=True)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "mi-async"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_records(
    name: str,
    asynchronous: bool,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> None:
    program, sequence = programs("demo"), SEQUENCES[name]
    commands = [
        *sequence.before,
        f"-file-exec-and-symbols {program.elf}",
        sequence.connect,
        *sequence.commands,
    ]
    sessions = []
    for steps in (True, False):
        guest = boot(program, steps=steps)
        mi = Mi(extension=not steps, asynchronous=asynchronous)
        try:
            records = [mi.command(command.format(target=guest.target)) for command in commands]
            mi.command("-break-delete")
            mi.child.sendline("-exec-continue")
            mi.child.expect(r"\*running[^\r]*\r\n")
            if asynchronous:
                mi.child.sendline("-exec-interrupt")
            else:
                mi.child.sendintr()
            mi.child.expect(r'\*stopped,reason="signal-received",signal-name="SIGINT"[^\r]*\r\n')
        finally:
            mi.child.close(force=True)
        sessions.append([_normal(record, guest) for record in records])
    native, ours = sessions
    assert any("stepping by the Trace interrupt" in record for record in ours)
    for command, theirs, mine in zip(commands, native, ours):
        assert _without_announcement(mine) == theirs, command
    assert sum("*stopped" in record for record in native) >= 10
    wanted = {"end-stepping-range": 5, "breakpoint-hit": 3, "function-finished": 1}
    for reason, least in wanted.items():
        assert sum(f'reason="{reason}"' in record for record in native) >= least, reason
    errors = [command + record for command, record in zip(commands, native) if "^error" in record]
    assert not errors


def _normal(records: str, guest: Qemu) -> str:
    """The records without what differs from one guest to the next."""
    records = records.replace(guest.target, "TARGET").replace("\r\n", "\n")
    return re.sub(r'stopped-threads="[^"]*",|,core="\d+"', "", records)


def _without_announcement(records: str) -> str:
    return "".join(line for line in records.splitlines(keepends=True) if "ppc-sstep" not in line)


BY_COMMANDS = [
    *("-break-insert work", "-exec-continue", "-exec-step-instruction", "-exec-next-instruction"),
    *("-exec-next", "-exec-step", "-break-insert -c x==3 square", "-exec-continue"),
    *("-stack-list-frames", "-exec-finish", "-exec-next", "-exec-step 3", "-break-delete 2"),
    *("-exec-continue", "-data-list-register-values x 64 65"),
    *("-exec-next", "-exec-until", '-interpreter-exec console "step"', "-exec-step"),
    *('-interpreter-exec console "finish"', "-exec-next-instruction", "-exec-until demo.c:51"),
]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "mi-async"])
def test_stops_of_the_commands_door(
    asynchronous: bool, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """Each command has one *stopped, in the frame where native stepping has it."""
    frames: list[list[str]] = []
    for ours in (False, True):
        program = programs("demo")
        with connected(boot, program, ours, asynchronous=asynchronous, door="commands") as mi:
            records = [mi.command(one) for one in BY_COMMANDS]
        for command, record in zip(BY_COMMANDS, records):
            assert record.count("*stopped") == (RESUMES.match(command) is not None), record
        frames.append(
            [
                line
                for record in records
                for line in record.splitlines()
                if line.startswith(("*stopped", "*running", "^", "~"))
            ]
        )
    assert frames[0] == frames[1]
    assert sum("end-stepping-range" in line for line in frames[0]) >= 8


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "mi-async"])
@pytest.mark.parametrize("door", DOORS)
def test_commands_of_a_breakpoint_that_continue(
    door: str, asynchronous: bool, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    said = []
    for ours in (False, True):
        with connected(boot, programs("demo"), ours, asynchronous=asynchronous, door=door) as mi:
            mi.do("-break-insert square")
            mi.do('-break-commands 1 "silent" "output x" "continue"')
            mi.do("-break-insert -t largest")
            mi.child.sendline("-exec-continue")
            mi.child.expect(r'\*stopped,reason="breakpoint-hit",disp="del"[^\r]*\r\n')
            records = str(mi.child.before) + str(mi.child.after)
            said.append(re.findall(r'^~"(.*)"|^(\*stopped.*)', records, re.MULTILINE))
            mi.do("-exec-step-instruction")
    assert said[0] == said[1]
    assert len(said[0]) > 5


@pytest.mark.parametrize("door", DOORS)
def test_interrupt_waits_until_a_breakpoint_is_left(
    door: str, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """The guest stands at a breakpoint with an interrupt pending: it is taken one step later."""
    program = programs("demo")
    words = (0x7E9603A6, 0x7EA10164, *[0x60000000] * 6)  # mtdec 20; mtmsrd 21,1; nop
    handler = (0x7ED603A6, 0x4C000024)  # mtdec 22; rfid
    stored = [(f"$pc + {4 * n}", word) for n, word in enumerate(words)]
    stored += [(hex(0x900 + 4 * n), word) for n, word in enumerate(handler)]
    sets = [f"{{unsigned int}}({place}) = {word:#x}" for place, word in stored]
    sets += ["$r20 = -1", "$r21 = $msr | 0x8000", "$r22 = 0x7fffffff"]
    shown = []
    for ours in (False, True):
        with connected(boot, program, ours, asynchronous=True, door=door) as mi:
            for command in (
                "-break-insert -t work",
                "-exec-continue",
                *(f'-interpreter-exec console "set {one}"' for one in sets),
                '-break-insert "*($pc + 8)"',
                '-break-insert "*($pc + 16)"',
                *("-exec-step-instruction", "-exec-step-instruction"),
            ):
                said = mi.do(command)
            assert 'bkptno="2"' in said, said
            assert 'bkptno="3"' in mi.command("-exec-continue")
            values = ("(long)$srr0 - (long)$pc", "$srr1")
            shown.append([mi.command(f'-data-evaluate-expression "{one}"') for one in values])
    assert shown[0] == shown[1]
    assert 'value="-4"' in shown[0][0]

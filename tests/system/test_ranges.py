# SPDX-License-Identifier: MIT
"""Lines that are run through instead of stepped: loops of any length, and what ends the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb
from tests.harness.oracle import oracle

pytestmark = [
    pytest.mark.bare,
    pytest.mark.parametrize("door", ["wire", "commands"]),
]


@pytest.fixture
def program(programs: Callable[..., Program]) -> Program:
    return programs("bench", opt="O1")


@pytest.fixture
def gdb(door: str, boot: Callable[..., Qemu], program: Program, tmp_path: Path) -> Iterator[Gdb]:
    """A gdb at the loop of fixtures/bare/bench.c, which has `rounds` rounds."""
    with Gdb(tmp_path, door=door, arguments=("-d", str(SOURCES))) as gdb:
        gdb.connect(boot(program, steps=False).target, program.elf)
        gdb.command("tbreak loop")
        gdb.command("continue")
        yield gdb


def clean(gdb: Gdb) -> None:
    assert "Outstanding: none" in gdb.status()
    for packet in ("z0,d00,4", *(f"z0,{place:x},4" for place in range(gdb.pc, gdb.pc + 64, 4))):
        assert 'received: "E22"' in gdb.command(f"maint packet {packet}")


def through_the_loop(gdb: Gdb, command: str = "next") -> None:
    """Run through the whole loop.  To step its 200 000 rounds would take ten minutes."""
    gdb.command("set var rounds = 200000")
    gdb.command("set var total = 0")
    gdb.command("next")
    start = time.monotonic()
    assert "total = 0" in gdb.command(command, 30)
    assert time.monotonic() - start < 20
    assert gdb.value("total") == 200000 * 199999 // 2


def test_a_loop_takes_as_long_as_its_rounds(gdb: Gdb) -> None:
    through_the_loop(gdb)
    clean(gdb)


def test_ctrl_c_in_a_loop(gdb: Gdb) -> None:
    gdb.command("set var rounds = 4000000000")
    gdb.command("next")
    state = gdb.command("info registers r1 srr0 srr1 msr")
    for _ in range(2):
        gdb.send("next")
        time.sleep(1)
        start = time.monotonic()
        output = gdb.interrupt(10)
        assert "while (n--) total += n" in output, output
        assert time.monotonic() - start < 5
        assert gdb.command("info registers r1 srr0 srr1 msr") == state
    clean(gdb)
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc != here


def test_recursion_within_a_line(
    door: str, boot: Callable[..., Qemu], program: Program, tmp_path: Path
) -> None:
    """A call or a return shows what it does natively, also if it stays within the line."""
    with oracle(
        tmp_path, partial(boot, program), program.elf, ["-d", str(SOURCES)], door=door
    ) as pair:
        pair.run(
            """
            set var rounds = 3
            break depth if n == 7
            continue
            """
        )
        for command in ("finish", "next", "step", "step", "step", "next", "next", "next"):
            pair.both(command)
        pair.run(
            """
            delete
            tbreak loop
            continue
            break 52
            next
            next
            next
            delete
            next
            next
            """
        )


@pytest.mark.parametrize("opt", ["O0", "O1"])
def test_counted_steps(
    opt: str,
    door: str,
    boot: Callable[..., Qemu],
    programs: Callable[..., Program],
    tmp_path: Path,
) -> None:
    """Steps with a count and breakpoints among them, however many are done at once."""
    program = programs("bench", opt=opt)
    with oracle(
        tmp_path, partial(boot, program), program.elf, ["-d", str(SOURCES)], door=door
    ) as pair:
        pair.both("tbreak straight")
        pair.both("continue")
        for count in (2, 3, 4, 5, 7, 11, 16, 17, 40, 90):
            pair.both(f"stepi {count}")
        for command in ("tbreak calls", "continue", "break leaf", "break depth"):
            pair.both(command)
        for count in (2, 3, 5, 8, 13, 21, 34):
            pair.both(f"nexti {count}")
        for command in ("tbreak *$pc+8", "tbreak *$pc+12", "break *$pc+20 if total == 1"):
            pair.both(command)
        for count in (6, 9, 20):
            pair.both(f"stepi {count}")

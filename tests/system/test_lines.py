# SPDX-License-Identifier: MIT
"""The layer runs through lines that a gdb >= 14 steps, though that gdb asks for no ranges.

The tests are the same for a gdb that asks for ranges itself, but for those marked `hooks`.  The
number of gdb's packets shows whether a line was run through: one for the line, or one for each
instruction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb, gdb_version
from tests.harness.oracle import oracle

from .test_dap import server
from .test_mi import Mi

pytestmark = pytest.mark.bare

ROUNDS = 200000
"""Rounds of the loop; to step them takes ten minutes."""

hooks = pytest.mark.skipif(gdb_version() < (14, 0), reason="this gdb asks for ranges itself")


@pytest.fixture
def program(programs: Callable[..., Program]) -> Program:
    return programs("bench", opt="O1")


@pytest.fixture
def smp() -> int:
    return 1


@pytest.fixture
def gdb(boot: Callable[..., Qemu], program: Program, smp: int, tmp_path: Path) -> Iterator[Gdb]:
    """A gdb at the loop of fixtures/bare/bench.c, with ten rounds to go."""
    with Gdb(tmp_path, door="wire", arguments=("-d", str(SOURCES))) as gdb:
        gdb.connect(boot(program, steps=False, smp=smp).target, program.elf)
        at_the_loop(gdb, 10)
        yield gdb


def at_the_loop(gdb: Gdb, rounds: int) -> None:
    gdb.command("tbreak loop")
    gdb.command("continue")
    gdb.command(f"set var rounds = {rounds}")
    assert "while (n--)" in gdb.command("next")


def resumes(gdb: Gdb, tmp_path: Path, command: str) -> int:
    """How often gdb resumes the guest for a command."""
    log = tmp_path / f"{gdb.name}.remote"
    before = log.read_text().count("$vCont;")
    gdb.command(command)
    return log.read_text().count("$vCont;") - before


@pytest.mark.parametrize("smp", [1, 2])
@pytest.mark.parametrize(
    "command", ["next", "n", "step", "until", "next 1", 'python gdb.execute("next")']
)
def test_a_line_is_one_resume(command: str, gdb: Gdb, tmp_path: Path) -> None:
    assert resumes(gdb, tmp_path, command) <= 3
    assert "total = 0" in gdb.command("frame")


def test_the_next_lines_of_a_command_as_well(gdb: Gdb, tmp_path: Path) -> None:
    gdb.command("tbreak straight")
    gdb.command("continue")
    assert resumes(gdb, tmp_path, "next 20") <= 25
    assert resumes(gdb, tmp_path, "step 20") <= 25


def test_enter_repeats_the_command(gdb: Gdb, tmp_path: Path) -> None:
    gdb.command("tbreak straight")
    gdb.command("continue")
    gdb.command("next")
    assert resumes(gdb, tmp_path, "") == 1
    assert "total += 3" in gdb.command("frame")


def test_the_setting_of_gdb_counts(gdb: Gdb, tmp_path: Path) -> None:
    gdb.command("set range-stepping off")
    assert resumes(gdb, tmp_path, "next") > 10
    assert "total = 0" in gdb.command("frame")


def test_instructions_stay_single_after_lines(gdb: Gdb) -> None:
    gdb.command("tbreak straight")
    gdb.command("continue")
    for command in ("next", "step 2", "until", "next nonsense("):
        gdb.command(command)
        before = gdb.pc
        gdb.command("stepi")
        assert gdb.pc == before + 4, command


def test_two_inferiors(
    gdb: Gdb, boot: Callable[..., Qemu], program: Program, tmp_path: Path
) -> None:
    gdb.command("add-inferior -no-connection")
    gdb.command("inferior 2")
    gdb.connect(boot(program, steps=False).target, program.elf)
    at_the_loop(gdb, ROUNDS)
    gdb.command("inferior 1")
    assert resumes(gdb, tmp_path, "next") <= 3
    gdb.command("inferior 2")
    before = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == before + 4
    start = time.monotonic()
    assert "total = 0" in gdb.command("next", 30)
    assert time.monotonic() - start < 20
    assert "total = 0" in gdb.command("inferior 1")


def test_software_watchpoints_see_each_instruction(
    boot: Callable[..., Qemu], program: Program, tmp_path: Path
) -> None:
    start = partial(boot, program)
    with oracle(tmp_path, start, program.elf, ["-d", str(SOURCES)]) as pair:
        pair.run(
            """
            set can-use-hw-watchpoints 0
            set var rounds = 3
            tbreak loop
            continue
            next
            watch total
            next
            next
            step
            disable
            next
            next
            enable
            continue
            next 3
            until
            delete
            next
            """
        )


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "mi-async"])
def test_mi(asynchronous: bool, boot: Callable[..., Qemu], program: Program) -> None:
    mi = Mi(extension=True, asynchronous=asynchronous)
    try:
        for command in (
            f"-file-exec-and-symbols {program.elf}",
            f"-target-select remote {boot(program, steps=False).target}",
            "-break-insert -t loop",
            "-exec-continue",
            f"-gdb-set var rounds = {ROUNDS}",
            "-exec-next",
        ):
            mi.command(command)
        start = time.monotonic()
        assert 'line="133"' in mi.command("-exec-next")
        assert time.monotonic() - start < 20
    finally:
        mi.child.close(force=True)


@hooks
def test_dap(boot: Callable[..., Qemu], program: Program) -> None:
    with server(door="wire") as dap:
        dap.ask("initialize", adapterID="test")
        target = boot(program, steps=False).target
        dap.send("attach", target=target, program=str(program.elf))
        dap.ask("setFunctionBreakpoints", breakpoints=[{"name": "loop"}])
        dap.send("configurationDone")
        dap.where()
        dap.send("continue", threadId=1)
        dap.where()
        dap.ask("evaluate", expression=f"set var rounds = {ROUNDS}", context="repl")
        dap.send("next", threadId=1)
        before = dap.where()
        start = time.monotonic()
        dap.send("next", threadId=1)
        assert dap.where() != before
        assert time.monotonic() - start < 20


@hooks
def test_a_hook_of_the_users_is_left_alone(
    boot: Callable[..., Qemu], program: Program, tmp_path: Path
) -> None:
    """The user's own hook stays; lines are then stepped, unless the hook calls ours."""
    with Gdb(tmp_path, door="wire", arguments=("-d", str(SOURCES))) as gdb:
        for command, more in (("next", ()), ("step", ("maintenance ppc-sstep step",))):
            for line in (f"define hook-{command}", f"echo before {command}\\n", *more):
                gdb.send(line)
            gdb.command("end")
        gdb.connect(boot(program, steps=False).target, program.elf)
        at_the_loop(gdb, 10)
        assert resumes(gdb, tmp_path, "next") > 10
        at_the_loop(gdb, 10)
        assert "before step" in gdb.command("show user hook-step")
        assert resumes(gdb, tmp_path, "step") <= 3

# SPDX-License-Identifier: MIT
"""1, 2, 4 and 8 vCPUs (fixtures/bare/smp.c) against the oracle: who runs, and who is stepped.

QEMU 7.2's stub shows SPRs of the first vCPU only, so the others are stepped in another way.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb
from tests.harness.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

VARIANTS: list[dict[str, Any]] = [{"endian": "le"}, {"endian": "be"}, {"endian": "le", "ail": 3}]


@pytest.fixture
def smp() -> int:
    return 2


@pytest.fixture
def variant() -> dict[str, Any]:
    return VARIANTS[0]


@pytest.fixture
def door() -> str:
    return "wire"


@pytest.fixture
def program(programs: Callable[..., Program], variant: dict[str, Any]) -> Program:
    return programs("smp", **variant)


@pytest.fixture
def pair(
    tmp_path: Path, boot: Callable[..., Qemu], program: Program, smp: int, door: str
) -> Iterator[Oracle]:
    """Both sides at a place where all vCPUs but the first wait."""
    start = partial(boot, program, smp=smp)
    with oracle(tmp_path, start, program.elf, ["-d", str(SOURCES)], door) as pair:
        pair.both("tbreak all_ready")
        pair.both("continue")
        yield pair


@pytest.fixture
def gdb(
    tmp_path: Path, boot: Callable[..., Qemu], program: Program, smp: int, door: str
) -> Iterator[Gdb]:
    """Ours alone, at that place."""
    with Gdb(tmp_path, door=door, arguments=("-d", str(SOURCES))) as gdb:
        gdb.connect(boot(program, steps=False, smp=smp).target, program.elf)
        gdb.command("tbreak all_ready")
        gdb.command("continue")
        yield gdb


def select(pair: Oracle, thread: int) -> None:
    """Select a thread on both sides.  Where a vCPU waits differs, so this compares nothing."""
    for gdb in (pair.native, pair.ours):
        gdb.command(f"thread {thread}")


@pytest.mark.parametrize("door", ["wire", "commands"])
@pytest.mark.parametrize(
    ("variant", "smp"),
    [
        pytest.param(VARIANTS[0], 1, id="le-1"),
        pytest.param(VARIANTS[0], 4, id="le-4"),
        pytest.param(VARIANTS[1], 2, id="be-2"),
        pytest.param(VARIANTS[2], 2, id="le-ail=3-2"),
        pytest.param(VARIANTS[2], 8, id="le-ail=3-8", marks=pytest.mark.soak),
    ],
)
def test_every_register_of_every_vcpu(pair: Oracle, smp: int) -> None:
    """Each vCPU alone steps plain code, a trap, a return from interrupt and an atomic sequence."""
    pair.run("set scheduler-locking on\nset var go = 1")
    for thread in range(smp, 0, -1):
        select(pair, thread)
        pair.both(f"advance work_{thread}")
        passed = set()
        for _ in range(80 + 12 * thread):
            pair.both("stepi")
            passed.add(pair.native.pc)
        for what in ("after_trap", "after_rfid", "after_atomic"):
            assert pair.native.value(f"(long)&{what}_{thread}") in passed, what
    for command in ("stepi", "stepi 3", "nexti"):
        pair.both(f"thread apply all {command}")


SCRIPT = """
    break work_{thread} thread {thread}
    continue
    stepi 5
    finish
    step
    step
    next 3
    stepi 30
    nexti 40
    tbreak work_{thread} thread {thread} if n == 20
    delete 3
    continue
    info breakpoints
    until
    advance after_atomic_{thread}
    stepi
"""


@pytest.mark.parametrize("locking", ["off", "replay", "step", "on"])
@pytest.mark.parametrize("thread", [1, 2])
def test_scheduler_locking(pair: Oracle, locking: str, thread: int) -> None:
    """Other vCPUs run as gdb asks for it, and the stepped thread shows no trace of them.

    Natively the stepped thread runs alone here, which gives the right values whatever the others
    do.
    """
    pair.run("set scheduler-locking on\nset var go = 1")
    select(pair, thread)
    pair.both(f"advance work_{thread}")
    pair.ours.command(f"set scheduler-locking {locking}")
    pair.run(SCRIPT.format(thread=thread))


@pytest.mark.parametrize("locking", ["off", "on"])
def test_who_runs_during_steps(gdb: Gdb, locking: str) -> None:
    gdb.command("set var go = 1")
    gdb.command("tbreak work_2")
    gdb.command("continue")
    gdb.command(f"set scheduler-locking {locking}")
    before = gdb.value("done[0]")
    gdb.command("stepi 500")
    assert (gdb.value("done[0]") > before) is (locking == "off")


@pytest.mark.parametrize("door", ["wire", "commands"])
@pytest.mark.parametrize("smp", [2, 4, pytest.param(8, marks=pytest.mark.soak)])
@pytest.mark.parametrize("command", ["continue", "stepi", "stepi 3", "finish"])
def test_no_hit_is_lost_and_none_counted_twice(gdb: Gdb, smp: int, command: str) -> None:
    """All vCPUs come to one breakpoint again and again: gdb shows each hit once."""
    gdb.command("set var go = 1")
    gdb.command("break meet")
    gdb.command("continue")
    rounds: dict[int, list[int]] = {}
    for hit in itertools.count():
        # On a busy machine one vCPU may not get its turn for a while.
        if hit >= 15 * smp and (len(rounds) == smp or hit >= 300):
            break
        rounds.setdefault(gdb.value("$_thread"), []).append(gdb.value("n"))
        output = gdb.command(command)
        if "Breakpoint 2, " not in output:  # it is there if another vCPU came there in the step
            output = gdb.command("continue")
        assert "Breakpoint 2, " in output, output
    hits = sum(map(len, rounds.values()))
    assert set(rounds) == set(range(1, smp + 1))
    for numbers in rounds.values():
        assert numbers == list(range(1, len(numbers) + 1)), rounds
    counted = re.search(r"already hit (\d+) times", gdb.command("info breakpoints"))
    assert counted is not None and int(counted[1]) == hits + 1


@pytest.mark.parametrize("smp", [8])
def test_each_of_eight_is_stepped(gdb: Gdb, smp: int) -> None:
    """gdb steps each vCPU, and nothing of a step is left on any."""
    gdb.command("set var go = 1")
    gdb.command("break meet")
    gdb.command("continue")
    for thread in range(1, smp + 1):
        gdb.command(f"thread {thread}")
        gdb.command("stepi 3")
        gdb.command("next")
    assert "Outstanding: none" in gdb.status()
    for thread in range(1, smp + 1):
        gdb.command(f"thread {thread}")
        assert gdb.value("$msr") & 0x400 == 0


@pytest.mark.parametrize("variant", VARIANTS[1:2], ids=variant_name)
def test_vcpu_that_is_not_yet_started(
    tmp_path: Path, boot: Callable[..., Qemu], program: Program
) -> None:
    """A step of a vCPU that waits for its start is ended by Ctrl-C, and changes nothing."""
    with Gdb(tmp_path) as gdb:
        gdb.connect(boot(program, steps=False, smp=2).target, program.elf)
        gdb.command("tbreak main")
        gdb.command("continue")
        gdb.command("thread 2")
        gdb.command("set $pc = &early")

        def registers() -> str:
            # Without those that count time, which QEMU 11 tells of this vCPU as well.
            return re.sub(r"(?m)^(dec|hdec|tb)\w* .*\n", "", gdb.command("info registers"))

        before = registers()
        gdb.command("set scheduler-locking on")
        gdb.send("stepi")
        time.sleep(0.5)
        assert "SIGINT" in gdb.interrupt()
        assert registers() == before
        gdb.command("set scheduler-locking off")
        gdb.command("thread 1")
        gdb.command("tbreak work_2")
        assert "Thread 2 hit" in gdb.command("continue")
        assert "Outstanding: none" in gdb.status()


def test_register_that_the_stub_does_not_keep(gdb: Gdb) -> None:
    """QEMU 7.2 says OK to a write of this register, and writes nothing."""
    remote = gdb.command("maint print remote-registers")
    number = next(
        words[6] for words in map(str.split, remote.splitlines()) if words[:1] == ["srr0"]
    )
    write = f"maint packet P{int(number):x}=0000000000001234"
    assert 'received: "OK"' in gdb.command(write)
    gdb.command("thread 2")
    gdb.command("p $pc")  # gdb then selects the thread at the stub
    output = gdb.command(write)
    if "Could not fetch" in gdb.command("p/x $srr0"):
        assert "the stub does not keep this register of this vCPU" in output
    else:
        assert 'received: "OK"' in output  # QEMU 8 and later

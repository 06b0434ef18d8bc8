# SPDX-License-Identifier: MIT
"""How many packets the stub gets for a step or a stop: the one cost that noise does not change.

The cases are those of tests/bench on bare metal, with fewer steps.  Change a number here only on
purpose.  A failure prints the whole table as counted, to be pasted in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.kvm_hv import AnyHost
from fixtures.qemu import Guest, Qemu
from tests.harness.benchmark import counted
from tests.harness.cases import OURS, Case, bare
from tests.harness.driver import gdb_version
from tests.harness.relay import Relay
from tests.harness.results import Results
from tests.harness.side import Side

Row = tuple[float, ...]
"""For one step or stop: packets and exchanges at the wire door; the same at the commands door, if
the case is one for that.
"""

COUNTED_WITH = 13  # gdb's version: other versions ask the stub for other things

TRIES = 3
"""If the machine is so busy that gdb is silent for 20 ms, the layer sends early what it has
deferred, which may be a packet more.  So the test counts again what differs, and takes the lowest
numbers.
"""

TCG: dict[str, Row] = {
    "stepi": (10.9, 5.2, 39.9, 35.7),
    "stepi 100": (7.22, 3.05, 4.0, 1.83),
    "nexti 20": (8.1, 3.25, 5.25, 3.3),
    "nexti 20 over 5 calls": (11.05, 5.1, 10.7, 6.05),
    "next over 20 lines": (5.4, 3.15, 7.15, 4.75),
    "next over a loop of 1000": (18.0, 9.0, 46.0, 37.0),
    "next over a loop of 100000": (18.0, 9.0, 46.0, 37.0),
    "step through 10 calls": (42.4, 16.4, 50.6, 22.2),
    "finish": (8.0, 7.0, 21.0, 21.0),
    "finish from depth 10": (18.4, 15.0, 83.2, 81.6),
    "condition false 20 times": (12.9, 8.7, 20.85, 18.75),
    "stop at a breakpoint 20 times": (15.0, 11.05, 33.0, 31.0),
    "software watchpoint, 50 instructions": (9.9, 4.82),
    "stepi 20, 1 breakpoints": (8.25, 3.3, 6.35, 3.5),
    "stepi 20, 100 breakpoints": (18.1, 8.25, 20.25, 18.3),
    "stepi 20, 1000 breakpoints": (108.1, 53.4, 155.25, 153.3),
    "stepi 20, 1 vCPUs": (8.1, 3.25, 5.25, 3.3),
    "stepi 20, 2 vCPUs": (8.15, 3.3, 6.35, 3.5),
}

PER = {case.name: case.per for case in bare(few=True)}

KVM_HV: dict[str, Row] = {
    "stepi": (10.9, 5.2, 42.8, 36.7),
    "stepi 100": (7.22, 3.05, 4.04, 1.84),
    "nexti 20": (8.1, 3.25, 5.45, 3.35),
    "nexti 20 over 5 calls": (11.45, 5.35, 11.65, 6.95),
    "next over 20 lines": (6.4, 3.15, 8.55, 5.1),
    "next over a loop of 1000": (20.0, 9.0, 52.0, 39.0),
    "next over a loop of 100000": (20.0, 9.0, 52.0, 39.0),
    "step through 10 calls": (45.5, 17.9, 52.9, 22.5),
    "finish": (9.0, 7.0, 21.0, 21.0),
    "finish from depth 10": (20.2, 15.8, 84.8, 82.4),
    "condition false 20 times": (15.0, 8.7, 23.1, 20.95),
    "stop at a breakpoint 20 times": (17.0, 11.05, 35.0, 32.0),
    "software watchpoint, 50 instructions": (9.9, 4.82),
    "stepi 20, 1 breakpoints": (8.25, 3.3, 6.55, 3.55),
    "stepi 20, 100 breakpoints": (18.1, 8.25, 20.55, 18.4),
    "stepi 20, 1000 breakpoints": (115.2, 61.5, 155.55, 153.4),
    "stepi 20, 1 vCPUs": (8.1, 3.25, 5.55, 3.4),
    "stepi 20, 2 vCPUs": (8.15, 3.3, 6.55, 3.55),
}


@pytest.fixture(autouse=True)
def _same_gdb() -> None:
    version, _ = gdb_version()
    if version != COUNTED_WITH:
        pytest.skip(f"the numbers are those of gdb {COUNTED_WITH}, and this is {version}")


def count(guest: Guest, elf: Path, cases: Sequence[Case], folder: Path, results: Results) -> None:
    """Count what each case takes at each door, and add it to `results`."""
    for door in OURS:
        log = folder / f"{door}.log"
        with Relay(guest.connect) as relay, Side(door, relay.target, elf, log) as side:
            for case in cases:
                if door in case.ours:
                    results.count(case.name, door, counted(case, side, relay), case.per)


def rows(results: Results) -> dict[str, Row]:
    """The counts as a table."""
    table = {}
    for case, by_door in results.counted.items():
        numbers = [*by_door["wire"]]
        if "commands" in by_door:
            numbers += by_door["commands"]
        table[case] = tuple(round(number, 2) for number in numbers)
    return table


def same(name: str, one: Row, other: Row) -> bool:
    """Whether two rows agree: exactly in the wire door's packets, else within one of the case.

    If all processors are busy gdb may send a case's last packet so late that it counts as the next
    case's (seen at the commands door, one of 140).
    """
    few = 1 / PER[name] + 0.006  # the numbers are rounded
    if len(one) != len(other) or one[:1] != other[:1]:
        return False
    return all(abs(a - b) <= few for a, b in zip(one, other))


def check(table: dict[str, Row], rounds: Iterator[dict[str, Row]]) -> None:
    """Fail unless the lowest counts of some rounds equal those of the table."""
    found: dict[str, Row] = {}
    names: list[str] = []
    for _, found in zip(range(TRIES), rounds):
        names = [
            name
            for name in {**table, **found}
            if not same(name, table.get(name, ()), found.get(name, ()))
        ]
        if not names:
            return
    differ = "".join(f"{name}: {table.get(name)} is now {found.get(name)}\n" for name in names)
    now = "".join(f'    "{name}": {row},\n' for name, row in found.items())
    pytest.fail(f"{differ}\nThe table as it is counted now:\n\n{now}", pytrace=False)


def counting(guest: Callable[[int], Guest], elf: Path, folder: Path) -> Iterator[dict[str, Row]]:
    """The table after each round of counting; guest(smp) starts a guest with so many vCPUs."""
    results, cases = Results(), bare(few=True)
    while True:
        for smp in sorted({case.smp for case in cases}):
            some = [case for case in cases if case.smp == smp]
            with guest(smp) as one:
                count(one, elf, some, folder, results)
        yield rows(results)


@pytest.mark.bare
def test_on_a_stub_that_ignores_steps(tmp_path: Path, programs: Callable[..., Program]) -> None:
    program = programs("bench", opt="O1")

    def guest(smp: int) -> Guest:
        return Qemu(["-bios", str(program.image)], steps=False, smp=smp)

    check(TCG, counting(guest, program.elf, tmp_path))


@pytest.mark.kvm
@pytest.mark.timeout(1200)
def test_under_kvm_hv(tmp_path: Path, programs: Callable[..., Program], host: AnyHost) -> None:
    program = programs("bench", opt="O1")

    def guest(smp: int) -> Guest:
        return host.bare(program.image, smp=smp)

    check(KVM_HV, counting(guest, program.elf, tmp_path))

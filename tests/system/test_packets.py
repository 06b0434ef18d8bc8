# SPDX-License-Identifier: MIT
"""How many packets the stub gets for a step or a stop: the cost that no noise touches.

The cases are those of tests/bench on bare metal, with fewer steps.  A number here is changed on
purpose only: a failure prints the table as it is counted then, to be pasted in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.kvm_hv import Host
from fixtures.qemu import Guest, Qemu
from tests.harness.benchmark import counted
from tests.harness.cases import OURS, Case, bare
from tests.harness.driver import gdb_version
from tests.harness.relay import Relay
from tests.harness.results import Results
from tests.harness.side import Side

Row = tuple[float, ...]
"""Of one step or stop: packets at the wire door, and in how many exchanges; packets at the commands
door, where each waits for its reply."""

COUNTED_WITH = 13  # gdb's version: another one asks the stub for other things

TRIES = 3
"""A machine so busy that gdb is silent for 20 ms has what is deferred sent early, which may be a
packet more: so where something differs it is counted again, and the lowest numbers count."""

TCG: dict[str, Row] = {
    "stepi": (17.3, 5.2, 52.9),
    "stepi 100": (15.2, 3.04, 5.64),
    "nexti 20": (15.25, 3.2, 8.0),
    "nexti 20 over 5 calls": (18.7, 6.4, 14.7),
    "next over 20 lines": (16.1, 6.1, 11.15),
    "next over a loop of 1000": (28.0, 14.0, 59.0),
    "next over a loop of 100000": (28.0, 14.0, 59.0),
    "step through 10 calls": (67.3, 32.8, 62.6),
    "finish": (13.0, 8.0, 69.0),
    "finish from depth 10": (35.4, 20.0, 111.8),
    "condition false 20 times": (27.95, 9.05, 32.25),
    "stop at a breakpoint 20 times": (35.0, 17.0, 40.0),
    "software watchpoint, 50 instructions": (19.1, 4.86),
    "stepi 20, 1 breakpoints": (15.4, 3.3, 8.8),
    "stepi 20, 100 breakpoints": (25.25, 13.15, 23.6),
    "stepi 20, 1000 breakpoints": (115.25, 103.15, 158.6),
    "stepi 20, 1 vCPUs": (15.25, 3.2, 8.0),
    "stepi 20, 2 vCPUs": (15.3, 3.25, 8.65),
}

KVM_HV: dict[str, Row] = {
    "stepi": (34.9, 26.9, 59.8),
    "stepi 100": (27.08, 19.07, 6.6),
    "nexti 20": (27.3, 19.25, 9.35),
    "nexti 20 over 5 calls": (30.9, 22.7, 18.1),
    "next over 20 lines": (25.5, 25.45, 19.1),
    "next over a loop of 1000": (50.0, 50.0, 68.0),
    "next over a loop of 100000": (50.0, 50.0, 68.0),
    "step through 10 calls": (125.2, 118.7, 75.6),
    "finish": (25.0, 25.0, 71.0),
    "finish from depth 10": (93.6, 86.4, 113.8),
    "condition false 20 times": (38.4, 28.95, 43.45),
    "stop at a breakpoint 20 times": (44.0, 35.0, 44.0),
    "software watchpoint, 50 instructions": (26.04, 16.58),
    "stepi 20, 1 breakpoints": (27.5, 19.45, 10.3),
    "stepi 20, 100 breakpoints": (47.3, 39.25, 25.15),
    "stepi 20, 1000 breakpoints": (227.3, 219.25, 160.15),
    "stepi 20, 1 vCPUs": (27.3, 19.25, 9.35),
    "stepi 20, 2 vCPUs": (27.3, 19.3, 10.15),
}


@pytest.fixture(autouse=True)
def _same_gdb() -> None:
    version, _ = gdb_version()
    if version != COUNTED_WITH:
        pytest.skip(f"the numbers are those of gdb {COUNTED_WITH}, and this is {version}")


def count(guest: Guest, elf: Path, cases: Sequence[Case], folder: Path, results: Results) -> None:
    """Add what each case takes at each door."""
    for door in OURS:
        log = folder / f"{door}.log"
        with Relay(guest.connect) as relay, Side(door, relay.target, elf, log) as side:
            for case in cases:
                if door in case.ours:
                    results.count(case.name, door, counted(case, side, relay), case.per)


def rows(results: Results) -> dict[str, Row]:
    """The table."""
    table = {}
    for case, by_door in results.counted.items():
        numbers = [*by_door["wire"]]
        if "commands" in by_door:
            numbers.append(by_door["commands"].packets)
        table[case] = tuple(round(number, 2) for number in numbers)
    return table


def check(table: dict[str, Row], rounds: Iterator[dict[str, Row]]) -> None:
    """The lowest numbers of some rounds are those of the table."""
    found: dict[str, Row] = {}
    for _, found in zip(range(TRIES), rounds):
        if found == table:
            return
    names = [name for name in {**table, **found} if table.get(name) != found.get(name)]
    differ = "".join(f"{name}: {table.get(name)} is now {found.get(name)}\n" for name in names)
    now = "".join(f'    "{name}": {row},\n' for name, row in found.items())
    pytest.fail(f"{differ}\nThe table as it is counted now:\n\n{now}", pytrace=False)


def counting(guest: Callable[[int], Guest], elf: Path, folder: Path) -> Iterator[dict[str, Row]]:
    """The table after each round; guest(smp) gives one with so many vCPUs."""
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
def test_under_kvm_hv(tmp_path: Path, programs: Callable[..., Program], host: Host) -> None:
    program = programs("bench", opt="O1")

    def guest(smp: int) -> Guest:
        return host.bare(program.image, smp=smp)

    check(KVM_HV, counting(guest, program.elf, tmp_path))

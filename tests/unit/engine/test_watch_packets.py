# SPDX-License-Identifier: MIT
"""What a hit costs: packets of ours and resumes, with gdb's step over the access."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.temporary import Undo

from .watchers import Kind, Watcher

# By guest: packets to the stub and resumes of one hit, of the continue and of the step over it.
PACKETS = {
    "B, vCPU 1": (Kind("B"), (17, 2), (15, 1)),
    "B, vCPU 1, problem state": (Kind("B", user=True), (29, 2), (26, 1)),
    "B, vCPU 2": (Kind("B", n=1), (57, 3), (62, 2)),
    "B, vCPU 2, all SPRs": (Kind("B", n=1, sprs_everywhere=True), (24, 2), (17, 1)),
    "A, vCPU 1": (Kind("A"), (28, 1), (16, 1)),
    "A, vCPU 2": (Kind("A", n=1), (99, 4), (65, 2)),
    "bare metal": (Kind("bare"), (25, 1), (16, 1)),
}


@pytest.mark.parametrize(("kind", "hit", "past"), PACKETS.values(), ids=PACKETS)
def test_packets_of_a_hit(kind: Kind, hit: tuple[int, int], past: tuple[int, int]) -> None:
    """As the layer does it, where what can wait waits; the third hit, as all behind it."""
    machine, n, data, _, _ = kind.guest()
    on = Watcher(machine, undo=Undo.DEFER)
    on.watch(data)
    counted: list[tuple[int, int]] = []
    for _ in range(4):
        counted.clear()
        for do in (on.hit, lambda: on.past(b"p1.%d" % (n + 1))):
            packets, resumes = len(machine.packets), len(machine.resumes)
            do()
            on.engine.quiesce()
            counted.append((len(machine.packets) - packets, len(machine.resumes) - resumes))
    assert counted == [hit, past]


def test_packets_of_a_fault_that_passes() -> None:
    """Where every Data Storage interrupt stops."""
    needed = []
    for faults in (0, 1):
        machine, _, data, _, _ = Kind("A").guest()
        on = Watcher(machine, undo=Undo.DEFER)
        on.watch(data)
        on.hit()
        on.past()
        machine.faults = {data} if faults else set()
        packets = len(machine.packets)
        on.hit()
        needed.append(len(machine.packets) - packets)
    assert needed[1] - needed[0] == 8

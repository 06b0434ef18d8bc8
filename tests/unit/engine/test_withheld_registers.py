# SPDX-License-Identifier: MIT
"""vCPUs whose SRR0 and SRR1 the stub withholds: all but the first, with QEMU 7.2.

The guest's own code may contain the instructions that read and write them (`lending`).
"""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, TEXT, USER, VIRTUAL
from .bench import CONTINUE, CTRL_C, DSI, OVER, STEP, STEP_2, Bench, bench, program, unchanged


@pytest.mark.parametrize(
    ("word", "lands"),
    [
        (m.NOP, b"Z0,c000000000010004,4"),
        (m.SC, b"Z0,c000000000004c00,4"),
        (m.TRAP, b"Z0,c000000000004700,4"),
        (m.mfmsr(7), b"Z0,c000000000010004,4"),
        (m.mtspr("srr0", 5), b"Z0,c000000000010004,4"),
    ],
)
def test_vcpu_without_srrs_lands_on_the_successors(word: int, lands: bytes) -> None:
    machine = program(word, vcpus=2)
    machine.put(TEXT + 0x40, m.SELF)
    machine.put(TEXT + 0x80, m.SELF)
    machine.first_only = True
    machine.vcpus[1]["lr"] = TEXT + 0x80
    machine.frozen = {0}
    native = machine.native(1)
    on = bench(machine)
    stop = on.step(STEP_2)
    assert stop.thread == b"p1.2"
    assert machine.changed(native) == {}
    assert lands in machine.packets
    assert machine.resumes == [b"vCont;c:p1.2;c:p1.-1"]
    assert machine.selected == 1, "the thread that gdb counts on"
    on.clean()


def test_vcpu_without_srrs_cannot_step_rfid_and_says_so() -> None:
    machine = program(m.RFID, vcpus=2)
    machine.first_only = True
    assert "srr0" in unchanged(bench(machine), STEP_2)


LENDING = 0xC000000000000000  # where Linux has the code of its real-mode vectors

RFSCV = 0x4C0000A4


def lending(*words: int) -> Bench:
    """The second vCPU's SRRs are to be had by instructions of the guest's only."""
    machine = program(*words, vcpus=2)
    machine.first_only = True
    for place in range(LENDING, LENDING + 0x1000, 4):
        machine.put(place, m.NOP)
    machine.put(LENDING + 0x190, m.mfspr(11, "srr0"), m.mfspr(12, "srr1"), m.mtspr("srr1", 12))
    machine.put(VIRTUAL | 0x500, m.addi(20, 20, 1), m.RFID)
    machine.vcpus[1].update(r6=0x1234, r20=0)
    return bench(machine)


def test_rfid_on_another_vcpu() -> None:
    on = lending(m.RFID)
    on.machine.vcpus[1].update(srr0=0x10000000, srr1=USER)
    native = on.machine.native(1)
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    on.clean()


def test_rfscv_on_another_vcpu() -> None:
    """The PVR, which tells whether there is one, is that of the first vCPU."""
    on = lending(RFSCV)
    on.machine.vcpus[1].update(lr=0x10000000, ctr=USER)
    on.step(STEP_2)
    cpu = on.machine.vcpus[1]
    assert (cpu["pc"], cpu["msr"]) == (0x10000000, USER)
    on.clean()


def test_rfid_on_another_vcpu_with_gdbs_breakpoint_at_what_is_lent() -> None:
    on = lending(m.RFID)
    native = on.machine.native(1)
    on.machine.breakpoints[LENDING + 0x190] = 1
    on.gdb_plants(LENDING + 0x190)
    on.machine.stop_at[1, LENDING + 0x194] = CTRL_C
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    on.clean([LENDING + 0x190])


def test_what_is_lent_is_looked_for_again_when_the_code_has_changed() -> None:
    on = lending(m.RFID)
    on.step(STEP_2)
    on.machine.put(LENDING + 0x190, m.NOP)
    on.machine.put(LENDING + 0x800, m.mfspr(5, "srr0"))
    on.machine.vcpus[1].update(pc=TEXT, srr0=TEXT + 0x40, srr1=KERNEL)
    native = on.machine.native(1)
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    on.clean()


def test_what_is_not_found_is_not_looked_for_at_each_step() -> None:
    on = lending(*[m.lbz(5, 6)] * 3)
    on.machine.put(LENDING + 0x198, m.NOP)  # no mtspr
    on.machine.frozen = {0}
    searched = []
    for _ in range(3):
        on.machine.packets.clear()
        on.step(STEP_2)
        searched.append(len(on.machine.packets) > 60)
    assert searched == [True, False, False]
    on.clean()


@pytest.mark.parametrize("word", [m.NOP, m.lbz(5, 6), m.b(8)])
def test_interrupts_wait_on_another_vcpu(word: int) -> None:
    on = lending(word)
    native = on.machine.native(1)
    on.machine.pending[1] = 0x500
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    assert on.machine.pending == {1: 0x500}
    on.clean()


def test_fault_on_another_vcpu_shows_the_guests_own_ee() -> None:
    on = lending(m.lbz(5, 6))
    on.machine.faults.add(0x1234)
    native = on.machine.native(1)
    on.machine.faults.add(0x1234)
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    assert (on.machine.vcpus[1]["pc"], on.machine.vcpus[1]["srr1"]) == (DSI, KERNEL)
    on.clean()


def test_step_that_comes_home_on_a_vcpu_without_srrs() -> None:
    """A preempted step: the guest's scheduler has taken the task to the second vCPU."""
    on = lending(m.lbz(5, 6), m.NOP)
    machine = on.machine
    on.set(interrupts=OVER)
    machine.cpu["r6"] = 0x1234
    machine.faults.add(0x1234)
    machine.put(DSI, m.NOP, m.NOP)
    machine.stop_at[0, DSI + 4] = CTRL_C
    assert on.resume(STEP).signal == 2
    task = machine.cpu["srr1"]
    machine.vcpus[1].update(pc=TEXT, msr=task, r1=machine.cpu["r1"])
    machine.cpu.update(pc=TEXT + 0x100)
    machine.put(TEXT + 0x100, m.SELF)
    machine.frozen = {0}
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    machine.put(TEXT + 4, m.NOP, m.NOP, m.NOP)
    on.gdb_plants(TEXT + 8)
    stop = on.resume(CONTINUE)
    assert (stop.thread, machine.vcpus[1]["pc"]) == (b"p1.2", TEXT + 8)
    assert machine.vcpus[1]["msr"] == KERNEL
    on.clean([TEXT + 8])

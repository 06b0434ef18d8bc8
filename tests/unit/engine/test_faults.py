# SPDX-License-Identifier: MIT
"""Steps into a fault: the vectors that a step watches."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import TEXT, VIRTUAL
from .bench import DSI, MODES, STEP, bench, faulting, program


@pytest.mark.parametrize(("state", "lpcr"), MODES.values(), ids=MODES)
def test_step_into_a_fault_ends_at_its_vector(state: int, lpcr: int) -> None:
    """As native stepping; the handler does not see our MSR[SE] in SRR1."""
    machine = program(m.lbz(5, 6), state=state, lpcr=lpcr)
    machine.cpu.update(r6=0x1234)
    machine.faults.add(0x1234)
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["pc"] & 0xFFF == 0x300
    assert on.engine.steps == 1
    on.clean()


def test_step_into_a_fault_of_the_fetch() -> None:
    """The stub can read what the guest may not execute."""
    machine = program(m.NOP)
    machine.interrupt_at[0, TEXT] = 0x400
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_fetch_is_watched_once_a_page() -> None:
    machine = program(m.NOP, m.NOP, m.b(0x2000))
    machine.put(TEXT + 0x2008, m.NOP)
    on = bench(machine)
    watched = []
    for _ in range(4):
        machine.packets.clear()
        on.step()
        watched.append(b"Z0,c000000000004400,4" in machine.packets)
    assert watched == [True, False, False, True]


def test_another_vcpu_passes_a_vector_that_is_watched() -> None:
    """It is let through there, and gdb hears of the step only."""
    machine = faulting(vcpus=2)
    machine.faults.clear()
    machine.vcpus[1]["pc"] = TEXT + 8
    machine.put(TEXT + 8, m.NOP, m.SELF)
    machine.interrupt_at[1, TEXT + 8] = 0x300
    machine.vcpus[1].update(r20=0)
    machine.turns = [1, 1, 1, 1, 1, 1, 0]
    on = bench(machine)
    assert on.step().thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 4
    assert machine.vcpus[1]["r20"] == 1, "its handler ran"
    assert b"vCont;c:p1.2" in machine.resumes
    assert machine.selected == 0
    on.clean()


def test_a_fault_within_an_interrupt_from_outside_is_passed() -> None:
    """The vCPU that is stepped takes an interrupt first, whose handler faults for itself."""
    machine = program(m.lbz(5, 6), m.NOP)
    machine.interrupt_at[0, TEXT] = 0x500
    machine.put(VIRTUAL | 0x500, m.mfspr(25, "srr0"), m.mfspr(26, "srr1"), m.lbz(7, 8), m.NOP)
    machine.put(VIRTUAL | 0x510, m.mtspr("srr0", 25), m.mtspr("srr1", 26), m.RFID)
    machine.put(DSI, m.addi(20, 20, 1), m.RFID)
    machine.faults.add(0x5678)
    machine.cpu.update(r6=0x1234, r8=0x5678, r20=0)
    srrs = machine.cpu["srr0"], machine.cpu["srr1"]
    on = bench(machine)
    on.step()
    assert (machine.cpu["pc"], machine.cpu["r5"], machine.cpu["r20"]) == (TEXT + 4, 0x5A, 1)
    assert (machine.cpu["srr0"], machine.cpu["srr1"]) == srrs
    on.clean()


def test_gdbs_breakpoint_at_a_vector_that_is_watched_is_reported() -> None:
    machine = faulting(vcpus=2)
    machine.faults.clear()
    machine.interrupt_at[1, TEXT] = 0x300
    machine.turns = [1, 1, 1, 0]
    machine.breakpoints[DSI] = 1
    on = bench(machine)
    on.gdb_plants(DSI)
    assert on.resume(STEP).thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == DSI
    on.clean([DSI])

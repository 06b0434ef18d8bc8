# SPDX-License-Identifier: MIT
"""Interrupts from outside wait until a step is done: MSR[EE] is 0 meanwhile."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import Unsettled
from gdb_ppc_sstep.options import Interrupts

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE, USER, VIRTUAL
from .bench import CTRL_C, DSI, STEP, STEP_2, Bench, bench, program


def pending(*words: int, vcpus: int = 1) -> Bench:
    """An interrupt waits; its handler counts in r20 and returns."""
    machine = program(*words, vcpus=vcpus)
    machine.put(VIRTUAL | 0x500, m.addi(20, 20, 1), m.RFID)
    for n, cpu in enumerate(machine.vcpus):
        machine.pending[n] = 0x500
        cpu.update(r3=KERNEL & ~m.EE, r6=0x1234, r20=0)
    return bench(machine)


@pytest.mark.parametrize(
    "word",
    [
        *(m.NOP, m.lbz(5, 6), m.b(8), m.TRAP, m.hint(1), m.mfmsr(7), m.mtmsrd(3), m.mtmsrd(3, 1)),
        *(m.mtspr("srr1", 5), m.mfspr(7, "srr1")),
    ],
)
def test_interrupt_from_outside_waits_for_a_step(word: int) -> None:
    on = pending(word)
    waiting, on.machine.pending = on.machine.pending, {}
    native = on.machine.native()
    on.machine.pending = waiting
    on.step()
    assert on.machine.changed(native) == {}
    assert on.machine.pending == {0: 0x500}
    on.clean()


def test_interrupt_from_outside_comes_first_when_it_is_not_masked() -> None:
    on = pending(m.NOP)
    on.set(mask_interrupts=False)
    on.step()
    assert (on.machine.cpu["pc"], on.machine.cpu["r20"]) == (TEXT + 4, 1)
    on.clean()


@pytest.mark.parametrize(
    ("payload", "breakpoint_"), [(b"vCont;s:p1.1", False), (STEP, True)], ids=["asked", "lifted"]
)
def test_what_is_stepped_alone_takes_no_interrupt_from_outside(
    payload: bytes, breakpoint_: bool
) -> None:
    """Masked or not: its handler may wait for a lock that a vCPU has which stands still."""
    on = pending(m.NOP, vcpus=2)
    on.set(mask_interrupts=False)
    if breakpoint_:
        on.machine.breakpoints[TEXT] = 1
        on.gdb_plants(TEXT)
    on.step(payload)
    assert (on.machine.cpu["pc"], on.machine.cpu["r20"]) == (TEXT + 4, 0)
    on.clean([TEXT] * breakpoint_)


@pytest.mark.parametrize("state", [KERNEL & ~m.EE, USER], ids=["EE=0", "problem state"])
def test_what_cannot_be_masked_is_left_alone(state: int) -> None:
    on = bench(program(m.NOP, state=state))
    on.step()
    (armed,) = {line for line in on.machine.packets if line.startswith(b"P41=")} - {
        b"P41=" + state.to_bytes(8, "little").hex().encode()
    }
    assert armed == b"P41=" + (state | SE).to_bytes(8, "little").hex().encode()


@pytest.mark.parametrize("over", [False, True], ids=["into", "over"])
def test_handler_of_a_fault_sees_the_guests_own_ee(over: bool) -> None:
    on = pending(m.lbz(5, 6), m.NOP)
    on.machine.faults.add(0x1234)
    on.machine.put(DSI, m.mfspr(25, "srr1"), m.mtspr("srr1", 25), m.RFID)
    on.set(interrupts=Interrupts.OVER if over else Interrupts.INTO)
    on.step()
    if over:
        assert on.machine.cpu["r25"] & ~SE == KERNEL
        assert (on.machine.cpu["pc"], on.machine.cpu["r5"]) == (TEXT + 4, 0x5A)
        assert on.machine.cpu["msr"] == KERNEL
    else:
        assert (on.machine.cpu["pc"], on.machine.cpu["srr1"]) == (DSI, KERNEL)
        assert on.machine.pending
    on.clean()


def test_fault_within_an_atomic_sequence_is_passed_with_the_guests_own_ee() -> None:
    on = pending(m.LWARX, m.lbz(5, 6), m.STWCX, m.NOP)
    on.machine.faults.add(0x1234)
    on.machine.put(DSI, m.mfspr(25, "srr1"), m.RFID)
    on.step()
    assert (on.machine.cpu["r25"], on.machine.cpu["msr"]) == (KERNEL, KERNEL)
    assert (on.machine.cpu["pc"], on.machine.cpu["r5"]) == (TEXT + 12, 0x5A)
    on.clean()


def test_vector_that_cannot_be_watched_leaves_interrupts_as_they_are() -> None:
    on = pending(m.lbz(5, 6), m.NOP)
    on.machine.reply[b"Z0,c000000000004300"] = b"E22"
    on.step()
    assert (on.machine.cpu["pc"], on.machine.cpu["r20"]) == (TEXT + 4, 1)
    on.clean()


@pytest.mark.parametrize("place", [TEXT, TRACE], ids=["before", "after"])
def test_ctrl_c_gives_ee_back(place: int) -> None:
    on = pending(m.NOP)
    on.machine.stop_at[0, place] = CTRL_C
    assert on.resume(STEP).signal == 2
    assert on.machine.cpu["msr"] == KERNEL
    assert on.machine.cpu["pc"] == (TEXT if place == TEXT else TEXT + 4)
    on.clean()


@pytest.mark.parametrize("place", [TEXT, TEXT + 4], ids=["before", "within"])
def test_ctrl_c_in_an_atomic_sequence_gives_ee_back(place: int) -> None:
    on = pending(m.LWARX, m.NOP, m.STWCX, m.NOP)
    on.machine.stop_at[0, place] = CTRL_C
    assert on.resume(STEP).signal == 2
    assert (on.machine.cpu["pc"], on.machine.cpu["msr"]) == (place, KERNEL)
    on.clean()


def test_vcpu_without_srr1_masks_what_cannot_fault() -> None:
    on = pending(m.NOP, m.lbz(5, 6), m.NOP, vcpus=2)
    on.machine.first_only = True
    results = []
    for _ in range(3):  # the first fetch of a page may fault
        on.step(STEP_2)
        results.append(on.machine.vcpus[1]["r20"])
        on.machine.pending[1] = 0x500
        on.machine.vcpus[1]["msr"] |= m.EE
    assert results == [1, 2, 2]
    on.clean()


def test_interrupt_from_outside_waits_for_what_somebody_else_resumes() -> None:
    """gdb has a vCPU stop where it stands, to see it; the handler may wait for the other vCPU."""
    on = pending(m.NOP, vcpus=2)
    machine = on.machine
    machine.breakpoints[TEXT] = 1
    before = machine.state()
    on.engine.hold_interrupts()
    assert machine.cpu["msr"] == KERNEL & ~m.EE
    assert on.records[-1]
    assert on.link.resume(b"vCont;c:p1.1") == b"T05thread:p01.01;"
    on.stub.changed(None)
    assert on.engine.let_interrupts_come(b"p1.1")
    assert machine.changed(before) == {}
    assert not on.engine.let_interrupts_come(b"p1.1")
    on.clean([TEXT])


@pytest.mark.parametrize("state", [KERNEL & ~m.EE, USER], ids=["EE=0", "problem state"])
def test_what_cannot_be_held_is_left_alone(state: int) -> None:
    on = bench(program(m.NOP, state=state))
    on.engine.hold_interrupts()
    assert on.machine.cpu["msr"] == state
    assert not on.engine.let_interrupts_come(b"p1.1")
    on.clean()


def test_refused_msr_after_interrupts_were_held_is_written_again() -> None:
    on = pending(m.NOP)
    on.engine.hold_interrupts()
    on.machine.reply[b"P41"] = b"E22"
    with pytest.raises(Unsettled):
        on.engine.let_interrupts_come(b"p1.1")
    del on.machine.reply[b"P41"]
    on.step()
    assert (on.machine.cpu["pc"], on.machine.cpu["msr"]) == (TEXT + 4, KERNEL)
    on.clean()

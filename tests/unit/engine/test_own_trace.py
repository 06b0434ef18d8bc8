# SPDX-License-Identifier: MIT
"""Trace interrupts that the guest itself has asked for are delivered to it."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE, USER
from .bench import (
    CONTINUE,
    CTRL_C,
    DSI,
    OTHER,
    bench,
    faulting,
    interrupted_in_handler,
    own_trace,
    trace_handler,
    two_vcpus,
)


@pytest.mark.parametrize("state", [USER, KERNEL], ids=["ptrace", "kprobe"])
def test_guests_own_trace_interrupt_at_a_guarded_vector_is_delivered(state: int) -> None:
    """Invariant 3.  An earlier step is outstanding on the first vCPU, which gets nowhere; the
    second one takes a Trace interrupt that the guest asked for."""
    machine = faulting(vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    trace_handler(machine)
    machine.vcpus[1]["pc"] = OTHER
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = {0}
    own_trace(machine, 1, state)
    machine.stop_at[1, TRACE + 8] = b"T02thread:p01.02;"
    stop = on.resume(CONTINUE)
    two = machine.vcpus[1]
    assert stop.payload == b"T02thread:p01.02;"
    assert two["pc"] == TRACE + 8
    assert two["r22"] == 1, "the guest's handler ran"
    assert (two["srr0"], two["srr1"]) == (OTHER + 4, state | SE | 0x40000000)
    assert len(on.engine.outstanding) == 1, "the step on the first vCPU is still to come"
    assert machine.planted == {}


@pytest.mark.parametrize("where", [OTHER, TEXT], ids=["elsewhere", "the same address"])
@pytest.mark.parametrize("register", ["r1", "pid"])
def test_guests_own_trace_interrupt_of_another_task_on_the_same_vcpu(
    register: str, where: int
) -> None:
    """The handler that a step was left in schedules to a task that the guest itself traces."""
    machine = faulting()
    machine.cpu.update(msr=USER, pid=5)
    trace_handler(machine)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    on = interrupted_in_handler(machine)
    machine.faults.clear()
    machine.put(DSI + 0x40, m.RFID)
    machine.cpu.update({"pc": DSI + 0x40, "srr0": where, "srr1": USER | SE, register: 6})
    machine.stop_at[0, TRACE + 8] = CTRL_C
    assert on.resume(CONTINUE).payload == CTRL_C
    assert (machine.cpu["pc"], machine.cpu["r22"]) == (TRACE + 8, 1), "the guest's handler ran"
    assert (machine.cpu["srr0"], machine.cpu["srr1"] & SE) == (where + 4, SE)
    assert len(on.engine.outstanding) == 1, "our step is still to come"


def test_guests_own_trace_interrupts_go_on_and_on_at_a_guarded_vector() -> None:
    machine = faulting(vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    trace_handler(machine)
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = {0}
    own_trace(machine, 1, USER)
    machine.breakpoints[TEXT + 0x500] = 1
    machine.put(TEXT + 0x500, m.SELF)

    def hook(payload: bytes) -> None:
        if machine.vcpus[1]["r22"] == 5:
            machine.stop_at[1, OTHER] = machine.stop_at[1, OTHER + 4] = b"T02thread:p01.02;"

    on.link.hook = hook
    assert on.resume(CONTINUE).signal == 2
    assert machine.vcpus[1]["r22"] == 5
    assert machine.vcpus[1]["msr"] == USER | SE
    assert machine.planted == {TEXT + 0x500: 1}


@pytest.mark.parametrize("state", [USER, KERNEL], ids=["ptrace", "kprobe"])
def test_guests_own_trace_interrupt_on_another_vcpu_does_not_end_or_lose_a_step(
    state: int,
) -> None:
    """The second vCPU arrives at the Trace vector before the first has run its instruction."""
    machine = two_vcpus(m.addi(4, 4, 1), m.addi(4, 4, 1), m.addi(4, 4, 1))
    machine.cpu["r4"] = 0
    trace_handler(machine)
    own_trace(machine, 1, state)
    machine.turns = [1, 1, 1, 1, 1, 0]
    on = bench(machine)
    stop = on.step()
    assert stop.thread == b"p1.1"
    assert (machine.cpu["pc"], machine.cpu["r4"]) == (TEXT + 4, 1)
    assert machine.cpu["msr"] == KERNEL
    two = machine.vcpus[1]
    assert two["r22"] >= 1, "the guest's handler ran"
    assert (two["msr"] | two["srr1"]) & SE, "as the guest set it"
    assert machine.planted == {}
    assert on.engine.outstanding == []


def test_both_at_the_vector_at_once_each_gets_its_own() -> None:
    """vCPU 1 reports the end of its step while vCPU 2 has just taken the guest's own."""
    machine = two_vcpus(m.addi(4, 4, 1))
    trace_handler(machine)
    own_trace(machine, 1, USER)
    machine.turns = [0, 1, 1, 0]  # rfid, addi with SE: then both stand at the vector
    machine.stop_at[0, TRACE] = b"T05thread:p01.01;"
    on = bench(machine)
    stop = on.step()
    assert stop.thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 4
    assert machine.cpu["msr"] == KERNEL
    two = machine.vcpus[1]
    assert two["pc"] == TRACE
    assert (two["srr0"], two["srr1"]) == (OTHER + 4, USER | SE | 0x40000000)
    assert machine.planted == {}

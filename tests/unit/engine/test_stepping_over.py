# SPDX-License-Identifier: MIT
"""Steps over an interrupt's handler, until it returns to the code being stepped."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, TEXT, USER, VIRTUAL
from .bench import OVER, STEP, bench, faulting, program


@pytest.mark.parametrize(
    ("word", "vector", "skips"),
    [(m.SC, 0xC00, False), (m.TRAP, 0x700, True), (m.TRAP, 0x700, False)],
    ids=["sc", "trap, skipped", "trap, tried again"],
)
def test_step_over_an_interrupt_ends_where_its_handler_returns(
    word: int, vector: int, skips: bool
) -> None:
    machine = program(word, m.NOP)
    handler = [m.addi(20, 20, 1)]
    if skips:
        handler += [m.mfspr(3, "srr0"), m.addi(3, 3, 4), m.mtspr("srr0", 3)]
    machine.put(VIRTUAL | vector, *handler, m.RFID)
    machine.cpu.update(r20=0)
    on = bench(machine)
    on.set(interrupts=OVER)
    on.step()
    assert machine.cpu["pc"] == (TEXT + 4 if skips or word == m.SC else TEXT)
    assert (machine.cpu["msr"], machine.cpu["r20"]) == (KERNEL, 1)
    assert on.engine.steps == 1
    on.clean()


def test_step_over_an_interrupt_passes_another_task() -> None:
    """It comes by first where the handler will return to, and is known by its stack."""
    machine = program(m.SC, m.addi(21, 21, 1), m.b(0x100 - 8))
    machine.put(TEXT + 0x100, m.addi(1, 1, -64), m.b(4 - 0x104))  # ends: the first task goes on
    handler = VIRTUAL | 0xC00
    machine.put(handler, m.addi(1, 1, 64), m.RFID)  # switches to the other task
    machine.cpu.update(r21=0, r1=0x7000)
    on = bench(machine)
    on.set(interrupts=OVER)
    on.step()
    assert (machine.cpu["pc"], machine.cpu["r1"], machine.cpu["r21"]) == (TEXT + 4, 0x7000, 1)
    on.clean()


def test_step_over_an_interrupt_ends_on_the_vcpu_that_the_task_has_gone_to() -> None:
    """Others that come by there are passed: they have other registers."""
    machine = program(m.SC, m.addi(14, 14, 1), m.b(-4), vcpus=2)
    machine.put(VIRTUAL | 0xC00, m.SELF)
    machine.vcpus[1].update(machine.cpu, pc=TEXT + 4, r14=machine.cpu["r14"] - 3)
    on = bench(machine)
    on.set(interrupts=OVER)
    assert on.step().thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == TEXT + 4
    assert machine.vcpus[1]["r14"] == machine.cpu["r14"]
    on.clean()


def test_step_over_an_interrupt_ends_when_the_guest_does() -> None:
    on = bench(program(m.SC))
    on.set(interrupts=OVER)
    on.machine.stop_at[0, TEXT] = b"W00"

    def gone(packet: bytes) -> None:
        """From the resume on there is nothing to be read."""
        if packet.startswith(b"vCont"):
            on.machine.reply[b"p"] = b"E01"

    on.link.hook = gone
    assert on.resume(STEP).payload == b"W00"


def test_step_over_a_system_call_of_a_task_that_is_moved_before_it_makes_it() -> None:
    machine = program(m.SC, m.NOP, vcpus=2, state=USER)
    machine.put(VIRTUAL | 0xC00, m.addi(20, 20, 1), m.RFID)
    machine.frozen = {0}
    machine.vcpus[1].update(r1=machine.cpu["r1"], r20=0)
    on = bench(machine)
    on.set(interrupts=OVER)
    assert on.step().thread == b"p1.2"
    assert (machine.vcpus[1]["pc"], machine.vcpus[1]["r20"]) == (TEXT + 4, 1)
    on.clean()


def test_step_over_a_fault_ends_behind_the_instruction() -> None:
    machine = faulting()
    before = machine.state()[0]
    on = bench(machine)
    on.set(interrupts=OVER)
    on.step()
    assert machine.cpu == before | {"pc": TEXT + 4, "r5": 0x5A, "r20": 1}
    on.clean()

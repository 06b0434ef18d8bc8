# SPDX-License-Identifier: MIT
"""What gdb's resume packets become when they are sent to the stub."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, TEXT, USER
from .bench import STEP_2, bench, program


def test_ordinary_step_resumes_as_gdb_asked() -> None:
    """The other vCPUs run meanwhile, as with a stub that steps."""
    on = bench(program(m.NOP, vcpus=2))
    on.machine.frozen = {1}
    on.step()
    assert on.machine.resumes == [b"vCont;c:p1.1;c:p1.-1"]


@pytest.mark.parametrize(
    ("word", "state", "alone"),
    [
        (m.SC, KERNEL, False),
        (m.TRAP, KERNEL, False),
        (m.mtmsrd(3), KERNEL, True),
        (m.mtmsrd(3), KERNEL & ~m.EE, False),
    ],
    ids=["sc", "trap", "mtmsrd", "mtmsrd with EE=0"],
)
def test_step_with_breakpoints_in_code_resumes_only_its_vcpu_if_it_can_wait_for_nobody(
    word: int, state: int, alone: bool
) -> None:
    machine = program(word, vcpus=2, state=state)
    machine.cpu["r3"] = KERNEL
    machine.frozen = {1}
    on = bench(machine)
    on.step()
    assert machine.resumes == [b"vCont;c:p1.1" if alone else b"vCont;c:p1.1;c:p1.-1"]


def test_another_vcpu_passes_where_a_step_lands() -> None:
    machine = program(m.NOP, m.addi(20, 20, 1), m.b(-4), vcpus=2, state=USER)
    machine.first_only = True
    machine.cpu.update(pc=TEXT + 4, r20=0)
    machine.turns = [0] * 7 + [1]
    on = bench(machine)
    assert on.step(STEP_2).thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == TEXT + 4
    assert machine.cpu["r20"] >= 3
    assert b"vCont;c:p1.1" in machine.resumes
    on.clean()


def test_a_step_lands_on_the_vcpu_that_the_task_has_gone_to() -> None:
    machine = program(m.NOP, m.addi(20, 20, 1), m.b(-4), vcpus=2, state=USER)
    machine.first_only = True
    machine.frozen = {1}
    machine.cpu.update(pc=TEXT + 4, r1=machine.vcpus[1]["r1"])
    on = bench(machine)
    assert on.step(STEP_2).thread == b"p1.1"
    on.clean()


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (b"s", b"c"),
        (b"S05", b"C05"),
        (b"vCont;s", b"vCont;c"),
        (b"vCont;S0b:p1.1;c:p1.-1", b"vCont;C0b:p1.1;c:p1.-1"),
        (b"vCont;s:p1.-1", b"vCont;c:p1.-1"),
        (b"vCont;rc000000000010000,c000000000010004:p1.1", b"vCont;c:p1.1"),
    ],
)
def test_every_form_of_step_is_one_step(payload: bytes, sent: bytes) -> None:
    machine = program(m.addi(4, 4, 1))
    native = machine.native()
    on = bench(machine)
    on.step(payload)
    assert machine.changed(native) == {}
    assert machine.resumes == [sent]


def test_continue_is_sent_as_it_is_and_plants_nothing() -> None:
    machine = program(m.NOP, m.NOP)
    machine.breakpoints[TEXT + 8] = 1
    on = bench(machine)
    machine.packets.clear()
    stop = on.resume(b"vCont;C05:p1.1;c")
    assert stop.payload == b"T05thread:p01.01;"
    assert machine.packets == [b"vCont;C05:p1.1;c"]
    assert on.engine.steps == 0


def test_step_of_the_second_vcpu() -> None:
    machine = program(m.addi(4, 4, 1), vcpus=2)
    machine.frozen = {0}
    native = machine.native(1)
    on = bench(machine)
    assert on.step(STEP_2).thread == b"p1.2"
    assert machine.changed(native) == {}
    on.clean()

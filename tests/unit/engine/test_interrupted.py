# SPDX-License-Identifier: MIT
"""The user interrupts a step, before or after its instruction."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.temporary import Undo

from .. import machine as m
from ..machine import KERNEL, REAL, TEXT, TRACE, VIRTUAL
from .bench import CONTINUE, CTRL_C, OTHER, STEP, bench, program, two_vcpus


def test_ctrl_c_before_the_instruction_takes_se_back() -> None:
    machine = program(m.NOP)
    before = machine.state()
    machine.stop_at[0, TEXT] = CTRL_C
    on = bench(machine)
    assert on.resume(STEP).payload == CTRL_C
    assert machine.changed(before) == {}
    on.clean()


def test_ctrl_c_after_the_instruction_is_collected() -> None:
    """The vCPU stands at the Trace vector already when the stub stops it for something else."""
    machine = program(m.addi(4, 4, 1))
    native = machine.native()
    machine.stop_at[0, TRACE] = CTRL_C
    on = bench(machine)
    assert on.resume(STEP).signal == 2
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize(("offset", "word"), [(0x300, m.lbz(5, 6)), (0x500, m.NOP)])
@pytest.mark.parametrize(
    ("state", "base"), [(KERNEL, VIRTUAL), (REAL, 0), (KERNEL & ~m.LE, VIRTUAL)]
)
def test_ctrl_c_at_the_first_instruction_of_a_handler_disarms_srr1(
    state: int, base: int, offset: int, word: int
) -> None:
    machine = program(word, state=state)
    machine.put(base | offset, m.NOP, m.RFID)
    machine.interrupt_at[0, TEXT] = offset
    native = machine.native()
    machine.stop_at[0, base | offset] = CTRL_C
    on = bench(machine)
    assert on.resume(STEP).signal == 2
    assert machine.changed(native) == {}
    assert machine.cpu["srr1"] == state
    on.clean()


def test_ctrl_c_is_told_of_a_thread_that_was_resumed() -> None:
    """QEMU's stop reply names the first vCPU; gdb ends with an internal error then."""
    machine = program(m.SELF, vcpus=2)
    machine.stop_at[1, TEXT] = CTRL_C
    on = bench(machine)
    stop = on.resume(b"vCont;c:p1.2")
    assert (stop.signal, stop.thread) == (2, b"p1.2")
    machine.stop_at[1, TEXT] = CTRL_C
    assert on.resume(CONTINUE).thread == b"p1.1"
    on.clean()


@pytest.mark.parametrize("word", [m.NOP, m.SC, m.RFID], ids=["trace", "land", "emulate"])
def test_interrupt_during_a_step_that_ends_is_left_to_the_door(word: int) -> None:
    machine = program(word)
    native = machine.native()
    on = bench(machine)
    on.link.asked = True
    assert on.step().thread == b"p1.1"
    assert on.link.asked
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
@pytest.mark.parametrize("ahead", [False, True], ids=["", "ahead"])
def test_srrs_are_put_back_if_the_next_step_comes_to_nothing(ahead: bool, kvm: bool) -> None:
    """It would have overwritten them, so they still are as the step before has left them."""
    machine = program(*[m.NOP] * 40)
    machine.kvm = kvm
    native = machine.native()
    on = bench(machine)
    on.set(undo=Undo.DEFER)
    on.step()
    on.ahead(ahead)
    machine.stop_at[0, TEXT + 4] = CTRL_C
    assert on.resume(STEP).payload == CTRL_C
    on.engine.quiesce()
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
def test_srrs_are_put_back_if_another_vcpu_stops_first(kvm: bool) -> None:
    machine = two_vcpus(*[m.NOP] * 40)
    machine.kvm = kvm
    native = machine.native()
    on = bench(machine)
    on.set(undo=Undo.DEFER)
    on.step()
    on.ahead(True)
    machine.frozen = {0}
    machine.breakpoints[OTHER + 4] = 1  # gdb's
    on.gdb_plants(OTHER + 4)
    on.resume(STEP)
    assert on.stub.thread == b"p1.2"
    on.engine.quiesce()
    assert machine.vcpus[0] == native[0]
    on.clean([OTHER + 4])

# SPDX-License-Identifier: MIT
"""Each packet of a step is refused once, one after another."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import StubRefused

from .. import machine as m
from ..machine import KERNEL, REAL, TEXT, USER
from .bench import CTRL_C, DSI, OTHER, STEP, bench, faulting, program
from .failures import COMPLETING, FAILING, at_home, failing_at, reached, refused, two_steps


@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
@pytest.mark.parametrize("breakpoint_", [False, True], ids=["", "at a breakpoint of gdb's"])
@pytest.mark.parametrize("state", [KERNEL, REAL, USER], ids=["kernel", "real mode", "user"])
@pytest.mark.parametrize("words", FAILING.values(), ids=FAILING)
def test_one_packet_of_a_step_is_refused(
    words: tuple[int, ...], state: int, breakpoint_: bool, kvm: bool
) -> None:
    """Whichever: an error or none, and what can be done later is done before the next step."""
    for number in range(1, 100):
        machine = program(*words, state=state)
        start = at_home(machine, kvm)
        native = machine.native()
        on = bench(machine)
        if breakpoint_:
            machine.breakpoints[start] = 1
            on.gdb_plants(start)
        failed = failing_at(machine, number, refused)
        with suppress(StubRefused):
            on.step()
        if not failed:
            break
        on.engine.recover()
        if failed[0] == b"Z0,%x,4" % start:
            machine.breakpoints[start] = 1  # the error says that it is not there
        if machine.cpu["pc"] == start:
            on.step()
        assert machine.changed(native) == {}, (number, failed)
        on.clean([start] * breakpoint_)
    assert number > 12


@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
@pytest.mark.parametrize("ahead", [False, True], ids=["", "ahead"])
@pytest.mark.parametrize(("words", "state"), COMPLETING)
def test_one_packet_of_steps_that_are_undone_later_is_refused(
    words: tuple[int, ...], state: int, ahead: bool, kvm: bool
) -> None:
    """Whichever: of the first, of the second, which also undoes the first, or of what is left."""
    for number in range(1, 100):
        machine = program(*words, *words, m.NOP, state=state)
        at_home(machine, kvm)
        after = [machine.native(steps=count) for count in range(3)]
        on = bench(machine)
        failed = failing_at(machine, number, refused)
        done = two_steps(on, ahead)
        for _ in range(2):
            with suppress(StubRefused):
                on.engine.quiesce()
        if not failed:
            break
        on.engine.recover()
        assert reached(machine, after) >= done
        while machine.cpu["pc"] != after[2][0]["pc"]:
            on.step()
            on.engine.quiesce()
        assert machine.changed(after[2]) == {}, (number, failed)
        on.clean()
        assert on.engine.steps == 2
    assert number > 12


@pytest.mark.parametrize("register", [b"Pb2", b"Pb3"])
def test_srr_that_is_refused_where_a_step_ahead_is_taken_back(register: bytes) -> None:
    """The other of SRR0 and SRR1 has been put back by then."""
    machine = program(*[m.addi(4, 4, 1)] * 40)
    native = machine.native(steps=2)
    on = bench(machine)
    on.set(undo=Undo.DEFER)
    for _ in range(2):
        on.step()
        on.ahead(True)
    machine.reply[register] = b"E22"
    with pytest.raises(StubRefused):
        on.engine.quiesce()
    machine.reply.clear()
    on.engine.recover()
    on.engine.quiesce()
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
@pytest.mark.parametrize("ahead", [False, True], ids=["", "ahead"])
def test_one_packet_is_refused_where_a_step_is_disarmed(ahead: bool, kvm: bool) -> None:
    """Whichever: the second step is interrupted before its instruction, with SRR0 and SRR1 not put
    back by the first.  What is done again finds the step by the MSR, even if only SRR0 was refused.
    """
    for number in range(1, 100):
        machine = program(*[m.addi(4, 4, 1)] * 40)
        machine.kvm = kvm
        native = machine.native()
        on = bench(machine)
        on.set(undo=Undo.DEFER)
        on.step()
        on.ahead(ahead)
        machine.stop_at[0, TEXT + 4] = CTRL_C
        failed = failing_at(machine, number, refused)
        with suppress(StubRefused):
            on.resume(STEP)
        for _ in range(2):
            with suppress(StubRefused):
                on.engine.quiesce()
        if not failed:
            break
        on.engine.recover()
        on.engine.quiesce()
        assert machine.changed(native) == {}, (number, failed)
        on.clean()
    assert number > 5


def test_one_packet_is_refused_where_another_vcpu_passes_a_vector() -> None:
    """Whichever: gdb is told of an error, so the step is at its end though nobody has stopped."""
    for number in range(1, 100):
        machine = faulting(2)
        machine.put(OTHER, m.lbz(5, 6), m.NOP)
        machine.vcpus[1].update(pc=OTHER, r6=machine.cpu["r6"])
        machine.turns = [1] * 40 + [0]
        machine.stop_at[1, DSI + 8] = b"T02thread:p01.02;"
        before = machine.state()[0]
        on = bench(machine)
        failed = failing_at(machine, number, refused)
        with suppress(StubRefused):
            on.resume(STEP)
        if not failed:
            break
        on.engine.recover()
        if machine.cpu["pc"] == TEXT:
            assert machine.cpu == before, (number, failed)
        on.clean()
    assert number > 20


def test_nothing_is_planned_while_a_step_is_half_undone() -> None:
    """Its MSR was refused, as it may be when a breakpoint of gdb's is put back behind it."""
    machine = program(*[m.addi(4, 4, 1)] * 40)
    native = machine.native(steps=2)
    on = bench(machine)
    on.set(undo=Undo.DEFER)
    on.step()
    machine.reply[b"P41="] = b"E22"
    with pytest.raises(StubRefused):
        on.engine.quiesce()
    machine.reply.clear()
    on.ahead(True)
    on.step()
    on.engine.quiesce()
    assert machine.changed(native) == {}
    on.clean()

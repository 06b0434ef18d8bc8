# SPDX-License-Identifier: MIT
"""Each packet of a step is refused once, one after another."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import StubRefused

from .. import machine as m
from ..machine import KERNEL, REAL, USER
from .bench import bench, program
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

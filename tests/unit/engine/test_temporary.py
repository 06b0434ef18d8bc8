# SPDX-License-Identifier: MIT
"""Temporary breakpoints that stay planted from one step to the next."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.temporary import TemporaryBreakpoints, Undo
from gdb_ppc_sstep.errors import StubRefused

from .. import machine as m
from ..machine import TEXT, TRACE, Machine
from .bench import CONTINUE, DSI, Bench, bench, faulting, program


def after_4_steps(machine: Machine) -> Bench:
    """Which were as they are natively."""
    native = machine.native(steps=4)
    on = bench(machine)
    on.set(undo=Undo.KEEP_PLANTED)
    for _ in range(4):
        on.step()
    assert machine.changed(native) == {}
    return on


def test_temporary_breakpoints_stay_planted_until_rest() -> None:
    machine = program(m.NOP, m.lbz(5, 6), m.NOP, m.lbz(5, 6))
    on = after_4_steps(machine)
    planted = [packet for packet in machine.packets if packet[:1] in (b"Z", b"z")]
    assert len(planted) == len(set(planted)), "each once"
    assert machine.planted[TRACE] == 1
    on.engine.quiesce()
    on.clean()


@pytest.mark.parametrize("place", [DSI, TRACE])
def test_instruction_at_a_vector_that_is_planted(place: int) -> None:
    machine = program(m.lbz(5, 6), m.b(place - TEXT - 4))
    machine.put(place, m.NOP, m.lbz(5, 6), m.SELF)
    on = after_4_steps(machine)
    on.engine.quiesce()
    on.clean()


def test_fault_at_a_vector_that_an_earlier_step_has_planted() -> None:
    machine = faulting()
    on = bench(machine)
    on.set(undo=Undo.KEEP_PLANTED)
    machine.cpu["pc"] = TEXT
    native = machine.native()
    on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["pc"] == DSI
    on.engine.quiesce()
    on.clean()


def test_error_leaves_nothing_planted() -> None:
    machine = program(m.NOP, m.NOP)
    on = bench(machine)
    on.set(undo=Undo.KEEP_PLANTED)
    on.step()
    machine.reply[b"P41="] = b"E22"
    with pytest.raises(StubRefused):
        on.step()
    on.clean()


def test_other_resumes_see_no_temporary_breakpoints() -> None:
    machine = program(m.NOP, m.NOP)
    machine.breakpoints[TEXT + 8] = 1
    on = bench(machine)
    on.set(undo=Undo.KEEP_PLANTED)
    on.step()
    on.resume(CONTINUE)
    on.clean([TEXT + 8])


def test_temporary_breakpoints_cannot_be_nested() -> None:
    """The inner ones would take the outer ones out of a guest that is to be resumed."""
    machine = program(m.NOP)
    on = bench(machine)
    temporary = TemporaryBreakpoints(on.stub, lambda *values: None, Undo.AT_ONCE)
    inner = temporary.planted((TEXT + 8,))
    with pytest.raises(AssertionError, match="within"), temporary.planted((TEXT + 4,)), inner:
        pass
    assert machine.planted == {}
    with temporary.planted((TEXT + 4,)):
        on.stub.send_queued()
        assert machine.planted == {TEXT + 4: 1}
    on.stub.send_queued()
    assert machine.planted == {}

# SPDX-License-Identifier: MIT
"""Stops that end everything, and a client that lets go of the guest."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import StubGone

from .. import machine as m
from ..machine import TEXT
from .bench import CONTINUE, CTRL_C, DSI, STEP, bench, faulting, interrupted_in_handler, program


@pytest.mark.parametrize("payload", [b"W00", b"X09", b"W00;process:1"])
def test_exit_during_a_step_is_passed_on(payload: bytes) -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = payload
    on = bench(machine)
    assert on.resume(STEP).payload == payload
    assert on.engine.outstanding == []


def test_exit_of_a_stub_that_then_goes_away_is_passed_on() -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = b"W00"
    on = bench(machine)

    def hook(payload: bytes) -> None:
        if machine.resumes and payload != STEP:
            raise StubGone("gone")

    on.link.hook = hook
    assert on.resume(STEP).payload == b"W00"


def test_exit_with_a_step_outstanding_forgets_it() -> None:
    on = interrupted_in_handler(faulting())
    on.machine.stop_at[0, DSI + 8] = b"X09"
    assert on.resume(CONTINUE).payload == b"X09"
    assert on.engine.outstanding == []


def test_watchpoint_during_a_step_is_reported() -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = b"T05thread:p01.01;watch:1000;"
    on = bench(machine)
    assert on.resume(STEP).payload == b"T05thread:p01.01;watch:1000;"
    on.clean()


def test_release_with_nothing_outstanding_does_nothing() -> None:
    on = bench(program(m.NOP))
    on.machine.packets.clear()
    assert on.engine.release(lambda: True)
    assert on.machine.packets == []


def test_release_stops_as_soon_as_the_step_is_home() -> None:
    """The guest was stopped, and runs on no further than its step has to."""
    machine = faulting()
    before = machine.state()[0]
    on = interrupted_in_handler(machine)
    assert on.engine.release(lambda: True)
    assert machine.cpu == before | {"pc": TEXT + 4, "r5": 0x5A, "r20": 1}
    on.clean()


def test_release_gives_up_when_told_to() -> None:
    on = interrupted_in_handler(faulting())
    resumes = len(on.machine.resumes)
    assert not on.engine.release(lambda: False)
    assert len(on.machine.resumes) == resumes
    assert len(on.engine.outstanding) == 1


def test_release_that_is_interrupted_tries_again() -> None:
    machine = faulting(handler=(m.NOP, m.NOP))
    on = interrupted_in_handler(machine)
    machine.stop_at[0, DSI + 8] = CTRL_C
    machine.stop_at[0, TEXT + 8] = CTRL_C
    assert on.engine.release(lambda: True)
    on.clean()

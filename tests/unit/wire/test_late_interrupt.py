# SPDX-License-Identifier: MIT
"""Ctrl-C that comes when no resume is under way."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.wire import late as late_module

from .. import machine as m
from ..machine import TEXT
from .rig import CONTINUE, STEP, Start, framed, number, program, two_vcpus


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt that came too late counts for long enough for the slowest machine."""
    monkeypatch.setattr(late_module, "LATE_INTERRUPT", 60.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("word", [m.NOP, m.SC, m.RFID], ids=["trace", "land", "emulate"])
@pytest.mark.parametrize("following", [STEP, CONTINUE])
def test_ctrl_c_that_came_while_a_step_ended_stops_the_next_resume(
    start: Start, following: bytes, word: int
) -> None:
    """gdb sees the step end first, and goes on with the command that the user interrupted."""
    machine = program(word)
    native = machine.native()
    rig = start(machine)
    rig.gdb.sock.sendall(framed(STEP) + b"\x03")
    assert rig.gdb.raw(1) == b"+"
    assert rig.gdb.receive()[:3] == b"T05"
    assert machine.changed(native) == {}
    resumes = list(machine.resumes)
    assert rig.gdb.stop(following) == b"T02thread:p1.1;"
    assert machine.changed(native) == {}
    assert machine.resumes == resumes, "the guest did not run"


@pytest.mark.usefixtures("patient")
def test_ctrl_c_that_came_between_two_resumes_stops_the_second_once(start: Start) -> None:
    machine = program(m.NOP, m.NOP)
    rig = start(machine)
    rig.gdb.ask(b"Hgp1.1")
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop(STEP) == b"T02thread:p1.1;"
    assert machine.cpu["pc"] == TEXT
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert machine.cpu["pc"] == TEXT + 4


@pytest.mark.usefixtures("patient")
def test_ctrl_c_that_was_answered_stops_nothing_else(start: Start) -> None:
    machine = program(m.NOP)
    rig = start(machine)
    rig.step_until_it_hangs(CONTINUE)
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    assert rig.gdb.ask(STEP)[:3] == b"T05"


def test_ctrl_c_of_long_ago_stops_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_module, "LATE_INTERRUPT", 0.0)
    rig = start(program(m.NOP))
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert rig.machine.cpu["pc"] == TEXT + 4


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("payload", [b"vCont;s:p1.2;c:p1.-1", CONTINUE])
def test_thread_that_a_late_ctrl_c_reports_is_selected(start: Start, payload: bytes) -> None:
    """gdb takes the thread of a stop reply for selected (remote.c record_currthread)."""
    machine = two_vcpus()
    rig = start(machine)
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"
    rig.gdb.sock.sendall(b"\x03")
    stop = rig.gdb.ask(payload)
    assert stop in (b"T02thread:p1.1;", b"T02thread:p1.2;")
    assert number(rig.gdb.ask(b"p9")) == 0x1000 + int(stop[-2:-1])

# SPDX-License-Identifier: MIT
"""gdb goes away."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import SE, TEXT, TRACE
from .rig import CHUNK, CONTINUE, HANDLER, STEP, TIMEOUT, Start, framed, in_handler, program


def test_gdb_gone_in_mid_step_leaves_the_guest_stopped_and_clean(start: Start) -> None:
    machine = program(m.NOP)
    machine.frozen.add(0)
    before = machine.state()
    rig = start(machine)
    assert rig.gdb.ask(b"Z0,c000000000020000,4") == b"OK"
    rig.step_until_it_hangs()
    fetch = {m.VIRTUAL | 0x400: 1, m.VIRTUAL | 0x480: 1}
    assert machine.planted == {TRACE: 1, 0xC000000000020000: 1} | fetch
    assert machine.cpu["msr"] & SE
    rig.gdb.close()
    rig.ended()
    assert rig.server.interrupts == 1
    assert machine.changed(before) == {}
    assert machine.planted == {}
    assert len(machine.resumes) == 1, "it was stopped, and stays so"
    assert rig.log == ""


def test_gdb_gone_with_a_step_outstanding_brings_it_home(start: Start) -> None:
    """It is given RELEASE_TIME, so it is not interrupted at once; and then the guest stays
    stopped, as it was."""
    machine = in_handler((m.NOP, m.bdnz(0), m.RFID))
    machine.cpu["ctr"] = 5 * CHUNK
    machine.stop_at[0, HANDLER + 4] = b"T02thread:p01.01;"
    rig = start(machine)
    assert rig.gdb.ask(b"Z0,c000000000020000,4") == b"OK"
    assert rig.gdb.ask(STEP)[:3] == b"T02"
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert not machine.cpu["msr"] & SE
    assert machine.cpu["r5"] == 0x5A
    assert machine.cpu["pc"] == TEXT + 4
    assert len(machine.resumes) == 2
    assert rig.server.interrupts == 0


def test_gdb_gone_with_a_step_that_does_not_come_home_says_so(start: Start) -> None:
    """Design, invariant 2: "deal with it first, or say plainly that they could not"."""
    machine = in_handler()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert "has not come back" in rig.log


def test_gdb_gone_while_stopped_does_not_resume_the_guest(start: Start) -> None:
    machine = program(m.NOP)
    before = machine.state()
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.gdb.ask(b"Z0,c000000000020010,4")
    rig.gdb.ask(b"z0,c000000000020010,4")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert machine.resumes == []
    assert rig.server.interrupts == 0
    assert machine.changed(before) == {}
    assert rig.server.packets.count(b"z0,c000000000020010,4") == 1


@pytest.mark.parametrize("payload", [CONTINUE, b"c", b"vCont;C05:p1.1;c"])
def test_gdb_gone_while_the_guest_runs_lets_it_run_on_clean(start: Start, payload: bytes) -> None:
    machine = program(m.NOP)
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.step_until_it_hangs(payload)
    rig.gdb.close()
    rig.thread.join(TIMEOUT)
    rig.ended()
    assert rig.server.interrupts == 1
    assert machine.planted == {}
    assert rig.server.packets[-1] == b"c"
    assert len(machine.resumes) == 2


def test_gdb_gone_with_output_of_the_guest_on_its_way(start: Start) -> None:
    """The stub's console output cannot be delivered any more; the guest is put right all the
    same, and runs on as it did."""
    machine = program(m.NOP)
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.step_until_it_hangs(CONTINUE)
    rig.server.before_stop = framed(b"O6869")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert rig.server.packets[-1] == b"c"


def test_gdb_gone_in_mid_step_with_output_of_the_guest_on_its_way(start: Start) -> None:
    machine = program(m.NOP)
    machine.frozen.add(0)
    before = machine.state()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.server.before_stop = framed(b"O6869")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert machine.changed(before) == {}
    assert len(machine.resumes) == 1, "it was stopped, and stays so"


def test_gdb_gone_while_it_waits_for_a_reply(start: Start) -> None:
    """That reply must not be taken for one to what the layer asks to put the guest right."""
    machine = in_handler((m.NOP, m.NOP, m.RFID))
    before = machine.state()[0]
    machine.stop_at[0, HANDLER + 4] = b"T02thread:p01.01;"
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    assert rig.gdb.ask(STEP)[:3] == b"T02"
    rig.server.extra[b"qSlow"] = b"slow"
    rig.server.slow.add(b"qSlow")
    rig.gdb.send(b"qSlow")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert machine.cpu == before | {"r5": 0x5A, "pc": TEXT + 4}, "the step came home"

# SPDX-License-Identifier: MIT
"""Steps by packets, answered as by a stub that steps."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, SE, TEXT
from .rig import CONTINUE, PC, STEP, Start, framed, number, program


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
def test_step_is_answered_as_by_a_stub_that_steps(start: Start, acks: bool) -> None:
    machine = program(m.addi(4, 4, 1))
    native = machine.native()
    rig = start(machine, acks=acks)
    assert rig.gdb.stop(STEP) in (b"T05thread:p01.01;", b"T05thread:p1.1;")
    assert machine.changed(native) == {}
    assert machine.planted == {}


def test_switched_off_layer_forwards_steps(start: Start) -> None:
    rig = start(program(m.NOP))
    assert rig.gdb.ask(b"Qppc-sstep.active=off") == b"OK"
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    assert rig.server.packets == [STEP]


def test_refused_breakpoint_is_an_error_reply_with_its_reason(start: Start) -> None:
    machine = program(m.NOP)
    machine.reply[b"Z0"] = b"E22"
    before = machine.state()
    rig = start(machine)
    reply = rig.gdb.ask(STEP)
    assert reply.startswith(b"E.ppc-sstep: ")
    assert b"0xc000000000004d00" in reply
    assert machine.changed(before) == {}
    assert machine.resumes == []
    assert number(rig.gdb.ask(PC)) == TEXT, "and the session goes on"


def test_missing_lpcr_is_an_error_until_the_user_sets_ail(start: Start) -> None:
    machine = program(m.NOP)
    machine.absent.add("lpcr")
    rig = start(machine)
    assert b"set ppc-sstep ail" in rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"Qppc-sstep.ail=3") == b"OK"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert machine.cpu["pc"] == TEXT + 4
    assert rig.gdb.ask(b"Qppc-sstep.ail=auto") == b"OK"
    assert rig.gdb.ask(STEP).startswith(b"E.")


def test_ctrl_c_reaches_a_running_guest(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.step_until_it_hangs(CONTINUE)
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop() == b"T02thread:p01.01;"
    assert rig.server.interrupts == 1


def test_ctrl_c_in_a_step_that_hangs_takes_it_back(start: Start) -> None:
    machine = program(m.NOP)
    machine.frozen.add(0)
    before = machine.state()
    rig = start(machine)
    rig.step_until_it_hangs()
    assert machine.cpu["msr"] & SE
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop() == b"T02thread:p01.01;"
    assert machine.changed(before) == {}
    assert machine.planted == {}


def test_ctrl_c_while_stopped_is_ignored(start: Start) -> None:
    rig = start(program(m.NOP))
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.server.interrupts == 0


def test_console_output_of_the_guest_passes_in_a_step(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.server.before_stop = framed(b"O6869")
    rig.gdb.send(STEP)
    assert rig.gdb.receive() == b"O6869"
    assert rig.gdb.receive()[:3] == b"T05"


def test_registers_written_by_gdb_count_in_the_next_step(start: Start) -> None:
    """gdb may have changed the byte order of the packets by writing the MSR."""
    machine = program(m.NOP)
    machine.put(TEXT, m.addi(4, 0, 5), m.SELF, order="big")
    rig = start(machine)
    state = (KERNEL & ~m.LE).to_bytes(8, "little").hex().encode()
    assert rig.gdb.ask(b"P41=" + state) == b"OK"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert (machine.cpu["pc"], machine.cpu["r4"]) == (TEXT + 4, 5)
    assert machine.cpu["msr"] == KERNEL & ~m.LE


def test_range_stepping_is_announced_and_done_without_asking_the_stub_for_it(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP, m.NOP, m.NOP))
    rig.server.extra[b"vCont?"] = b"vCont;c;C;s;S"
    assert rig.gdb.ask(b"vCont?") == b"vCont;c;C;s;S;r"
    step = b"vCont;r%x,%x:p1.1;c:p1.-1" % (TEXT, TEXT + 12)
    assert rig.gdb.ask(step)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 12
    assert rig.machine.resumes == [CONTINUE.replace(b"c:p1.-1", b"c:p1.1;c:p1.-1")]

# SPDX-License-Identifier: MIT
"""What undoes a step is left for later."""

from __future__ import annotations

import time

import pytest

from .. import machine as m
from ..machine import EE, KERNEL, SE, TEXT, TRACE, Machine
from .rig import CONTINUE, MSR, NOPS, PC, STEP, TIMEOUT, Start, number, program


@pytest.mark.parametrize("ends", [True, False], ids=["", "the next is begun"])
def test_a_step_is_undone_when_gdb_asks_for_nothing(start: Start, ends: bool) -> None:
    """ends: gdb asks for all registers, as where a command ends."""
    machine = program(*NOPS)
    native = machine.native(steps=3)
    rig = start(machine)
    for count in (1, 2, 3):
        assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
        if ends:
            assert rig.gdb.ask(b"g") == rig.gdb.ask(b"g")
            assert machine.cpu["pc"] == TRACE
        assert number(rig.gdb.ask(PC)) == TEXT + 4 * count
        assert number(rig.gdb.ask(MSR)) == KERNEL
    if not ends:
        rig.gdb.ask(b"m1000,4")  # the replies to what was sent ahead come first
        assert (machine.cpu["pc"], machine.cpu["msr"] & SE) == (TEXT + 12, SE)
    assert machine.planted[TRACE] == 1
    assert machine.packets.count(b"Z0,%x,4" % TRACE) == 1
    end = time.monotonic() + TIMEOUT
    while machine.planted:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert machine.changed(native) == {}


@pytest.mark.parametrize("steps", [1, 3], ids=["", "the next is begun"])
@pytest.mark.parametrize("asked", [b"M0,0:", b"qppc-sstep.status", b"Hgp1.2", b"vCont?", b"D"])
def test_a_step_is_undone_before_what_might_see_it(start: Start, asked: bytes, steps: int) -> None:
    machine = program(*NOPS, vcpus=2)
    native = machine.native(steps=steps)
    rig = start(machine)
    rig.server.extra[b"vCont?"] = b"vCont;c;s"
    machine.frozen = {1}
    for _ in range(steps):
        rig.gdb.ask(STEP)
    rig.gdb.ask(b"m1000,4")
    assert machine.cpu["pc"] == (TRACE if steps == 1 else TEXT + 4 * steps)
    rig.gdb.ask(asked)
    assert machine.planted == {}
    assert machine.changed(native) == {}


def test_srrs_are_put_back_when_steps_have_come_to_an_end(start: Start) -> None:
    """Each step's Trace interrupt overwrites them: what the step before has left is not seen."""
    machine = program(*NOPS)
    native = machine.native(steps=3)
    rig = start(machine)
    for _ in range(3):
        rig.gdb.ask(STEP)
        assert number(rig.gdb.ask(b"pb2")) == native[0]["srr0"]
    assert not any(packet[:4] in (b"Pb2=", b"Pb3=") for packet in rig.server.packets)
    rig.settle()
    assert machine.changed(native) == {}


@pytest.mark.parametrize("asked", [b"qfThreadInfo", b"m1000,4", b"p5"])
def test_a_step_need_not_be_undone_before_what_does_not_see_it(start: Start, asked: bytes) -> None:
    machine = program(*NOPS)
    rig = start(machine)
    rig.gdb.ask(STEP)
    replied = rig.gdb.ask(asked)
    assert machine.cpu["pc"] == TRACE
    rig.settle()
    assert machine.cpu["pc"] == TEXT + 4
    assert replied == machine.call(asked)


def test_a_step_that_was_begun_is_another_if_gdb_has_a_breakpoint_there(start: Start) -> None:
    machine = program(*NOPS)
    rig = start(machine)
    for _ in range(3):
        rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 12)) == b"OK"
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 16
    rig.settle()
    assert machine.planted == {TEXT + 12: 1}
    assert not machine.cpu["msr"] & SE


@pytest.mark.parametrize(
    ("packet", "then"),
    [
        (packet, then)
        for packet in (b"P41=", b"P40=", b"Pb2=", b"Pb3=")
        for then in (b"", b"M0,0:", STEP, CONTINUE, b"qppc-sstep.status", b"D")
        if then != STEP or packet in (b"P41=", b"P40=")  # the next step need not write the others
    ],
)
def test_a_step_that_cannot_be_undone_later_is_told_of_and_tried_again(
    start: Start, packet: bytes, then: bytes
) -> None:
    machine = program(*NOPS)
    native = machine.native()
    rig = start(machine)
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    machine.reply[packet] = b"E22"
    count = len(rig.server.packets)
    if then:
        assert rig.gdb.ask(then).startswith(b"E.ppc-sstep: the stub refused to write")
    else:
        end = time.monotonic() + TIMEOUT
        while not any(one.startswith(packet) for one in rig.server.packets[count:]):
            assert time.monotonic() < end
            time.sleep(0.001)
        assert rig.gdb.ask(b"g").startswith(b"E.ppc-sstep: the stub refused to write")
    assert machine.resumes == [b"vCont;c:p1.1;c:p1.-1"], "the guest did not run on"
    del machine.reply[packet]
    rig.settle()
    assert machine.planted == {}
    assert machine.changed(native) == {}
    assert number(rig.gdb.ask(PC)) == TEXT + 4


@pytest.mark.parametrize("state", [KERNEL, KERNEL & ~EE], ids=["EE", "no EE"])
@pytest.mark.parametrize("then", [b"vCont;r%x,%x:p1.1;c:p1.-1", b"vCont;s:p1.1;c:p1.-1"])
def test_no_instruction_is_executed_twice_when_a_write_is_refused(
    start: Start, then: bytes, state: int
) -> None:
    """Each packet of a step and of what follows is refused once: gdb is told, or nothing is lost.

    Registers tell how often an instruction was executed.
    """
    then = then.replace(b"%x,%x", b"%x,%x" % (TEXT, TEXT + 16))
    refusals = 0
    for count in range(60):
        machine = program(*[m.addi(3, 3, 1)] * 64)
        machine.cpu["msr"] = state
        rig = start(machine)
        first = machine.cpu["r3"]
        place = len(machine.packets) + 1 + count

        def refuses(packet: bytes, machine: Machine = machine, place: int = place) -> bool:
            return len(machine.packets) == place and packet[:1] in b"PZz"

        machine.refuses = refuses
        for _ in range(2):
            rig.gdb.ask(STEP)
            rig.gdb.ask(then)
        rig.settle()
        if len(machine.packets) < place:
            break
        refused = machine.packets[place - 1]
        for _ in range(3):  # what was refused is done again with the next packets
            pc = number(rig.gdb.ask(PC))
        assert number(rig.gdb.ask(MSR)) == state, refused
        assert machine.cpu["r3"] - first == (pc - TEXT) // 4, refused
        assert b'"outstanding": []' in bytes.fromhex(rig.gdb.ask(b"qppc-sstep.status").decode())
        rig.settle()
        assert machine.planted == {}, refused
        refusals += refused[:1] in b"PZz"
        rig.gdb.ask(b"D")
    assert refusals > 15

# SPDX-License-Identifier: MIT
"""The lines that gdb's side has told: a step at one of them is that of a range."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.rsp.private import Stretch, lines_text

from .. import machine as m
from ..machine import KERNEL, SE, TEXT
from .rig import CONTINUE, PC, STEP, Rig, Start, number, program

LOOP = (TEXT, TEXT + 12)
ROUNDS = 200


def counting() -> m.Machine:
    """Counts r4 up to ROUNDS in a loop that is a line, then has a line of two instructions."""
    machine = program(m.addi(4, 4, 1), m.NOP, m.bdnz(-8), m.NOP, m.NOP)
    machine.cpu["r4"], machine.cpu["ctr"] = 0, ROUNDS
    return machine


def tell(rig: Rig, *stretches: Stretch, thread: bytes = b"p1.1") -> None:
    assert rig.gdb.ask(b"Qppc-sstep.lines=" + lines_text(thread, stretches).encode()) == b"OK"


def pc(rig: Rig) -> int:
    return number(rig.gdb.ask(PC))


def test_a_step_in_a_line_that_was_told_is_run_to_its_end(start: Start) -> None:
    rig = start(counting())
    tell(rig, LOOP, (TEXT + 12, TEXT + 20))
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert pc(rig) == TEXT + 12
    assert rig.machine.cpu["r4"] == ROUNDS
    rig.gdb.ask(STEP)
    assert pc(rig) == TEXT + 20, "the next line as well, with nothing said in between"
    assert rig.machine.planted == {}
    assert rig.machine.cpu["msr"] == KERNEL


def test_without_lines_a_step_is_one_instruction(start: Start) -> None:
    rig = start(counting())
    tell(rig, LOOP)
    assert rig.gdb.ask(b"Qppc-sstep.lines=") == b"OK"
    rig.gdb.ask(STEP)
    assert pc(rig) == TEXT + 4


@pytest.mark.parametrize(
    ("thread", "stretch", "step"),
    [
        (b"p1.2", LOOP, STEP),
        (b"p1.1", (TEXT + 4, TEXT + 12), STEP),
        (b"p1.1", (TEXT - 4, TEXT), STEP),
        (b"p1.1", LOOP, b"vCont;s:p1.1"),
        (b"p1.1", LOOP, b"vCont;S05:p1.1;c:p1.-1"),
        (b"p1.1", LOOP, b"s"),
    ],
    ids=["another thread", "before", "behind", "alone", "with a signal", "old packet"],
)
def test_other_steps_are_as_they_were(
    thread: bytes, stretch: Stretch, step: bytes, start: Start
) -> None:
    """gdb resumes a thread alone where it has lifted a breakpoint, which must be back in time."""
    rig = start(counting())
    tell(rig, stretch, thread=thread)
    rig.gdb.ask(step)
    assert pc(rig) == TEXT + 4
    assert not rig.machine.cpu["msr"] & SE


def test_breakpoints_of_gdb_end_it(start: Start) -> None:
    rig = start(counting())
    tell(rig, LOOP)
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 8)) == b"OK"
    rig.gdb.ask(STEP)
    assert pc(rig) == TEXT + 8
    assert rig.machine.cpu["r4"] == 1


def test_an_error_ends_it(start: Start) -> None:
    """gdb ends its command then, and the next may want to see each instruction."""
    machine = counting()
    rig = start(machine)
    tell(rig, LOOP)
    machine.reply[b"Z0"] = b"E22"
    assert rig.gdb.ask(STEP).startswith(b"E.")
    del machine.reply[b"Z0"]
    rig.gdb.ask(STEP)
    assert pc(rig) == TEXT + 4


def test_a_layer_that_is_switched_off_forwards_the_step(start: Start) -> None:
    rig = start(counting())
    tell(rig, LOOP)
    assert rig.gdb.ask(b"Qppc-sstep.active=off") == b"OK"
    rig.server.packets.clear()
    rig.step_until_it_hangs()
    assert rig.server.packets == [STEP]
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"


def test_telling_costs_no_packet_and_forgets_nothing(start: Start) -> None:
    rig = start(counting())
    rig.gdb.ask(STEP)
    tell(rig, LOOP)
    rig.server.packets.clear()
    assert pc(rig) == TEXT + 4
    assert rig.server.packets == []


def test_continue_is_no_step(start: Start) -> None:
    machine = counting()
    rig = start(machine)
    tell(rig, LOOP)
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 16)) == b"OK"
    assert rig.gdb.stop(CONTINUE)[:3] == b"T05"
    assert pc(rig) == TEXT + 16

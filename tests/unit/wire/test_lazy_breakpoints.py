# SPDX-License-Identifier: MIT
"""gdb takes its breakpoints out at each stop: the stub is told when something could see it."""

from __future__ import annotations

import time

import pytest

from ..machine import TEXT, Machine
from .rig import CONTINUE, NOPS, PC, STEP, TIMEOUT, Rig, Start, number, program

PLACES = [TEXT + 4 * n for n in range(16, 48)]


def ask_all(rig: Rig, kind: bytes, places: list[int]) -> None:
    for place in places:
        assert rig.gdb.ask(b"%s0,%x,4" % (kind, place)) == b"OK"


def test_breakpoints_that_come_back_have_not_gone(start: Start) -> None:
    """Round by round, with steps in between."""
    machine = program(*NOPS)
    native = machine.native(steps=3)
    rig = start(machine)
    for round_ in range(3):
        ask_all(rig, b"Z", PLACES)
        rig.gdb.ask(STEP)
        ask_all(rig, b"z", PLACES)
        assert number(rig.gdb.ask(PC)) == TEXT + 4 * round_ + 4
    sent = [packet for packet in rig.server.packets if packet[1:3] == b"0," and packet[:1] in b"zZ"]
    assert sum(int(packet.split(b",")[1], 16) in PLACES for packet in sent) == len(PLACES)
    end = time.monotonic() + TIMEOUT
    while machine.planted:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert machine.changed(native) == {}


@pytest.mark.parametrize("asked", [b"M0,0:", b"qppc-sstep.status", b"Hgp1.1", b"vCont?", b"D"])
def test_they_are_gone_before_what_might_see_them(start: Start, asked: bytes) -> None:
    machine = program(*NOPS)
    rig = start(machine)
    rig.server.extra[b"vCont?"] = b"vCont;c;s"
    ask_all(rig, b"Z", PLACES)
    ask_all(rig, b"z", PLACES)
    rig.gdb.ask(asked)
    assert machine.planted == {}


def test_they_are_gone_before_the_guest_runs(start: Start) -> None:
    """As one that gdb steps off, or has deleted."""
    machine = program(*NOPS)
    rig = start(machine)
    ask_all(rig, b"Z", [TEXT, TEXT + 8, TEXT + 16])
    ask_all(rig, b"z", [TEXT, TEXT + 8])
    assert rig.gdb.stop(CONTINUE) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 16
    assert machine.planted == {TEXT + 16: 1}


def test_of_very_many_only_some_wait(start: Start) -> None:
    """gdb waits two seconds for a reply, and a slow stub takes 6 ms for each of them."""
    machine = program(*NOPS)
    rig = start(machine)
    places = [TEXT + 4 * n for n in range(16, 1016)]
    ask_all(rig, b"Z", places)
    rig.gdb.ask(STEP)
    for count, place in enumerate(places, 1):
        assert rig.gdb.ask(b"z0,%x,4" % place) == b"OK"
        waiting_or_in_flight = len(machine.planted) - (1000 - count)
        assert waiting_or_in_flight <= 2 * 256 + 1  # and one of ours


def test_one_of_ours_at_the_same_place_is_another(start: Start) -> None:
    """A stub counts: both have to go."""
    machine = program(*NOPS)
    rig = start(machine)
    ask_all(rig, b"Z", [TEXT + 8])
    through = b"vCont;r%x,%x:p1.1;c:p1.-1" % (TEXT, TEXT + 8)
    assert rig.gdb.stop(through) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 8
    ask_all(rig, b"z", [TEXT + 8])
    rig.settle()
    assert machine.planted == {}


def test_one_that_is_not_there_is_the_stubs_to_refuse(start: Start) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(b"z0,%x,4" % TEXT) == b"E22"


def test_one_whose_removal_is_refused_once_is_removed(start: Start) -> None:
    """gdb steps off it, and it is hit no more often than it should be."""
    machine = program(*NOPS)
    removal = b"z0,%x,4" % TEXT
    rig = start(machine)
    ask_all(rig, b"Z", [TEXT])
    machine.refuses = lambda packet: packet == removal and machine.packets.count(removal) == 1
    ask_all(rig, b"z", [TEXT])
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert TEXT not in machine.planted and machine.packets.count(removal) == 2


def one_that_stays(start: Start) -> tuple[Rig, Machine, bytes]:
    """A breakpoint behind the steps, whose removal the stub refuses: that packet."""
    machine = program(*NOPS)
    removal = b"z0,%x,4" % (TEXT + 16)
    rig = start(machine)
    ask_all(rig, b"Z", [TEXT + 16])
    machine.reply[removal] = b"E22"
    return rig, machine, removal


def test_one_that_stays_is_not_planted_again(start: Start) -> None:
    """A stub counts: as natively, it goes once the stub removes it."""
    rig, machine, removal = one_that_stays(start)
    for _ in range(3):
        ask_all(rig, b"z", [TEXT + 16])
        rig.gdb.ask(STEP)
        ask_all(rig, b"Z", [TEXT + 16])
    assert machine.planted[TEXT + 16] == 1
    del machine.reply[removal]
    ask_all(rig, b"z", [TEXT + 16])
    rig.settle()
    assert machine.planted == {}


def test_one_that_stayed_and_was_removed_is_planted_again(start: Start) -> None:
    """By a client that asks once more for the removal, as it may."""
    rig, machine, removal = one_that_stays(start)
    ask_all(rig, b"z", [TEXT + 16])
    rig.gdb.ask(STEP)
    del machine.reply[removal]
    ask_all(rig, b"z", [TEXT + 16])
    assert TEXT + 16 not in machine.planted
    ask_all(rig, b"Z", [TEXT + 16])
    assert machine.planted[TEXT + 16] == 1


def test_one_that_the_stub_does_not_remove_ends_nothing(start: Start) -> None:
    """gdb has been told that it is gone.  The guest may have overwritten it."""
    machine = program(*NOPS)
    rig = start(machine)
    ask_all(rig, b"Z", [TEXT + 16])
    machine.reply[b"z0,%x" % (TEXT + 16)] = b"E22"
    ask_all(rig, b"z", [TEXT + 16])
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 4

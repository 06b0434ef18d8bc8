# SPDX-License-Identifier: MIT
"""What is known since the last stop is not asked again."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import TEXT
from .rig import CONTINUE, MSR, NOPS, PC, STEP, Start, number, program

CODE = b"m%x,4" % (TEXT + 4)


@pytest.mark.parametrize("asked", [b"g", b"p40", b"p41", b"pb2", b"pb3", CODE, b"m%x,8" % TEXT])
def test_what_gdb_asks_after_a_step_is_known(start: Start, asked: bytes) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    count = len(rig.server.packets)
    replies = {rig.gdb.ask(asked), rig.gdb.ask(asked)}
    assert rig.server.packets[count:] == []
    rig.settle()
    assert replies == {rig.machine.call(asked)}


@pytest.mark.parametrize(
    "payload",
    [
        *(b"P9=0000000000000000", b"Pb2=0000000000000000", b"M%x,4:00000060" % TEXT, b"X0,0:"),
        *(b"G00", b"qRcmd,00", b"Hgp1.1", b"Qother", b"vOther"),
    ],
)
def test_nothing_is_known_after_what_may_change_it(start: Start, payload: bytes) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    rig.server.extra = {begin: b"OK" for begin in (b"P", b"M", b"G", b"X", b"q", b"Q", b"vO")}
    rig.gdb.ask(payload)
    for asked in (CODE, PC, b"g"):
        count = len(rig.server.packets)
        rig.gdb.ask(asked)
        assert rig.server.packets[count:] == [asked]


def test_what_was_known_is_of_the_last_stop(start: Start) -> None:
    rig = start(program(m.addi(4, 0, 1), m.addi(4, 0, 2), m.NOP, *NOPS))
    rig.machine.stop_at[0, TEXT + 8] = b"T05thread:p01.01;"
    rig.gdb.ask(STEP)
    assert rig.gdb.stop(b"vCont;c") == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 8
    assert rig.gdb.ask(b"g") == rig.machine.call(b"g")
    assert number(rig.gdb.ask(b"p4")) == 2


def test_breakpoints_of_gdbs_change_nothing_that_is_known(start: Start) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 4)) == b"OK"
    count = len(rig.server.packets)
    rig.gdb.ask(CODE)
    rig.gdb.ask(b"g")
    assert rig.server.packets[count:] == []


def test_refusals_are_not_remembered(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP))
    rig.machine.reply[PC] = b"E22"
    assert rig.gdb.ask(STEP).startswith(b"E.ppc-sstep")
    rig.machine.reply.clear()
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 4


@pytest.mark.parametrize("asked", [b"g", PC, MSR, CODE, STEP])
def test_what_was_refused_when_asked_ahead_is_asked_again_for_gdb(
    start: Start, asked: bytes
) -> None:
    rig = start(program(*NOPS))
    rig.machine.stop_at[0, TEXT + 4] = b"T05thread:p01.01;"
    rig.machine.reply[b"p41" if asked == STEP else asked] = b"E22"
    rig.machine.reply[b"m%x," % (TEXT + 4 - 32)] = b"E22"
    assert rig.gdb.stop(CONTINUE) == b"T05thread:p01.01;"
    rig.machine.reply.clear()
    if asked == STEP:
        assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
        rig.settle()
        assert rig.machine.cpu["pc"] == TEXT + 8
    else:
        assert rig.gdb.ask(asked) == rig.machine.call(asked)


def test_memory_elsewhere_is_asked_for_each_time(start: Start) -> None:
    """It may be a device."""
    rig = start(program(*NOPS))
    rig.machine.put(TEXT + 0x1000, 1)
    rig.gdb.ask(STEP)
    count = len(rig.server.packets)
    for _ in range(2):
        rig.gdb.ask(b"m%x,4" % (TEXT + 0x1000))
    assert len(rig.server.packets) == count + 2


def test_other_threads_are_asked_for_themselves(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP, vcpus=2))
    rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"Hgp1.2") == b"OK"
    assert rig.gdb.ask(b"g") != rig.gdb.ask(b"Hgp1.1")
    assert number(rig.gdb.ask(PC)) == rig.machine.cpu["pc"]

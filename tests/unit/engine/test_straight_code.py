# SPDX-License-Identifier: MIT
"""Straight code is run as so many steps at once."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from gdb_ppc_sstep.rsp.resume import parse_resume

from .. import machine as m
from ..machine import TEXT, USER
from .bench import DSI, Bench, bench, guest, resumes


def going(*words: int) -> Bench:
    """Where one instruction has been stepped."""
    on = bench(guest(m.NOP, *words, *[m.SELF] * 16))
    on.step()
    on.machine.resumes.clear()
    return on


def straight(on: Bench, limit: int, stops: Collection[int] = ()) -> int | None:
    resume = parse_resume(b"vCont;c:p1.1")
    assert resume is not None
    done = on.engine.straight(resume, limit, stops)
    return None if done is None else done[1]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((m.NOP, m.addi(4, 4, 1), m.lbz(5, 6), m.b(0x40)), 3),
        ((m.NOP, m.addi(4, 4, 1), m.addi(1, 1, -32), m.NOP), 2),
        ((m.NOP, m.NOP, m.bdnz(-4)), 2),
        ((m.NOP,) * 40, 12),
        ((m.NOP, m.mtmsrd(3), m.NOP), None),
        ((m.BLR, m.NOP, m.NOP), None),
    ],
)
def test_straight_code_is_one_resume(words: tuple[int, ...], count: int | None) -> None:
    on = going(*words)
    native = on.machine.native(steps=count or 0)
    assert straight(on, 12) == count
    assert resumes(on) == (count is not None)
    assert on.machine.changed(native) == {}
    on.clean()


def test_straight_code_up_to_a_breakpoint() -> None:
    on = going(*[m.NOP] * 8)
    assert straight(on, 8, [TEXT + 16]) == 3
    assert on.machine.cpu["pc"] == TEXT + 16
    assert straight(on, 8, [TEXT + 16]) is None, "whoever is at one is to be stepped off"
    on.clean()


def test_straight_code_up_to_a_fault() -> None:
    """To its vector is a step, as natively."""
    on = going(m.NOP, m.NOP, m.lbz(5, 6), m.NOP)
    on.machine.faults = {on.machine.cpu["r6"]}
    native = on.machine.native(steps=3)
    assert straight(on, 8) == 3
    assert on.machine.cpu["pc"] == DSI
    assert on.machine.changed(native) == {}
    on.clean()


def test_straight_code_in_problem_state_is_stepped() -> None:
    on = bench(guest(m.NOP, m.NOP, m.NOP, state=USER))
    on.step()
    assert straight(on, 2) is None
    on.clean()

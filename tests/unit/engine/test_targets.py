# SPDX-License-Identifier: MIT
"""Whose hit of a temporary breakpoint it is: judged, and nothing done about it."""

from __future__ import annotations

from typing import cast

import pytest

from gdb_ppc_sstep.engine.steps import Armed, Frame
from gdb_ppc_sstep.engine.targets import (
    HandlerTarget,
    Hit,
    PlacesTarget,
    RangeTarget,
    StepTarget,
    Target,
    Verdict,
)
from gdb_ppc_sstep.engine.vcpu import Vcpu
from gdb_ppc_sstep.ppc.isa import decode

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE, VIRTUAL

DSI, SYSTEM_CALL = VIRTUAL | 0x300, VIRTUAL | 0xC00
STACK = 0xC000000000F00000
ONE, TWO = b"p1.1", b"p1.2"
OURS, FOREIGN, RETURNS = Verdict.OURS, Verdict.FOREIGN, Verdict.RETURNS
TRACED = Armed(
    ONE, decode(m.lbz(5, 6)), TEXT, KERNEL, KERNEL & ~m.EE | SE, 1, 2, TRACE, (TEXT + 4,)
)


class Seen:
    """What a target asks of a vCPU: its r1, r14 and MSR, and what an interrupt has saved."""

    def __init__(
        self,
        *,
        stack: int = STACK,
        saved: tuple[int, int] | None = None,
        state: int = KERNEL,
        kept: int = 0,
    ) -> None:
        self.stack = stack
        self.saved = saved
        self.state = state
        self.kept = kept

    def read(self, name: str) -> int:
        assert name == "r1"
        return self.stack

    def saved_by(self, _vector: int) -> tuple[int, int] | None:
        return self.saved

    def frame(self, *, whole: bool) -> Frame:
        return Frame(self.stack, self.state, (self.kept,) if whole else ())


def judged(target: Target, thread: bytes, pc: int, seen: Seen) -> Verdict:
    return target.judge(Hit(thread, pc), cast("Vcpu", seen))


LOAD = StepTarget(ONE, TEXT, (TRACE,), TRACED, faults=(DSI,))
OVER = StepTarget(ONE, TEXT, (TRACE,), TRACED, transient=(DSI,))
LANDING = StepTarget(ONE, TEXT, (TEXT + 4,), stack=STACK)
CALL = StepTarget(ONE, TEXT, (SYSTEM_CALL,), taken=(SYSTEM_CALL,), stack=STACK)
OUR_STATE = TRACED.written


@pytest.mark.parametrize(
    ("target", "thread", "pc", "seen", "verdict"),
    [
        # the load faults
        (LOAD, ONE, DSI, Seen(saved=(TEXT, OUR_STATE)), OURS),
        # a fault of a handler that came in between: it has not our MSR
        (LOAD, ONE, DSI, Seen(saved=(TEXT + 0x400, KERNEL)), FOREIGN),
        (LOAD, ONE, DSI, Seen(saved=(TEXT, KERNEL)), FOREIGN),
        (LOAD, TWO, DSI, Seen(saved=(TEXT, OUR_STATE)), FOREIGN),
        # the stub does not say: shown rather than lost
        (LOAD, ONE, DSI, Seen(saved=None), OURS),
        # the fault's handler comes back to the load
        (OVER, ONE, DSI, Seen(saved=(TEXT, OUR_STATE)), RETURNS),
        (OVER, ONE, DSI, Seen(saved=(TEXT + 0x400, KERNEL)), FOREIGN),
        # where it lands
        (LANDING, ONE, TEXT + 4, Seen(), OURS),
        (LANDING, TWO, TEXT + 4, Seen(stack=STACK - 0x1000), FOREIGN),
        (LANDING, TWO, TEXT + 4, Seen(), OURS),  # the guest has moved the task
        # a system call, and another task's
        (CALL, ONE, SYSTEM_CALL, Seen(saved=(TEXT + 4, KERNEL)), OURS),
        (CALL, ONE, SYSTEM_CALL, Seen(saved=(TEXT + 0x100, KERNEL)), FOREIGN),
        (CALL, ONE, SYSTEM_CALL, Seen(stack=1, saved=(TEXT + 4, KERNEL)), FOREIGN),
        (CALL, ONE, SYSTEM_CALL, Seen(saved=None), OURS),
    ],
)
def test_a_step(target: StepTarget, thread: bytes, pc: int, seen: Seen, verdict: Verdict) -> None:
    assert target.shared
    assert judged(target, thread, pc, seen) is verdict


def test_a_step_that_is_only_traced_is_shared_with_nobody() -> None:
    assert not StepTarget(ONE, TEXT, (TRACE,), TRACED).shared


@pytest.mark.parametrize(
    ("thread", "seen", "verdict"),
    [
        (ONE, Seen(), OURS),
        (ONE, Seen(kept=1), OURS),  # its handler has done a load into r14
        (ONE, Seen(stack=1), FOREIGN),
        (ONE, Seen(state=KERNEL | m.PR), FOREIGN),
        (TWO, Seen(kept=7), OURS),
        (TWO, Seen(kept=1), FOREIGN),
    ],
)
def test_the_return_of_a_handler(thread: bytes, seen: Seen, verdict: Verdict) -> None:
    target = HandlerTarget(ONE, (TEXT + 4, TEXT), Frame(STACK, KERNEL, (7,)))
    assert (target.must, target.may, target.armed) == ((TEXT + 4,), (TEXT,), None)
    assert judged(target, thread, TEXT + 4, seen) is verdict


MASKED = TRACED._replace(written=KERNEL & ~m.EE, vector=None)
RANGE = RangeTarget(ONE, TEXT, TEXT + 0x40, (TEXT + 0x40,), Frame(STACK, KERNEL, ()), MASKED)


@pytest.mark.parametrize(
    ("target", "thread", "pc", "seen", "verdict"),
    [
        (RANGE, ONE, TEXT + 0x40, Seen(), OURS),
        (RANGE, TWO, TEXT + 0x40, Seen(), OURS),  # moved
        (RANGE, TWO, TEXT + 0x40, Seen(stack=1), FOREIGN),
        (RANGE._replace(faults=(DSI,)), ONE, DSI, Seen(saved=(TEXT + 8, KERNEL)), OURS),
        (RANGE._replace(faults=(DSI,)), ONE, DSI, Seen(saved=(TEXT + 0x80, KERNEL)), FOREIGN),
        (RANGE._replace(faults=(DSI,)), ONE, DSI, Seen(saved=None), OURS),
        (RANGE._replace(faults=(DSI,)), TWO, DSI, Seen(saved=None), FOREIGN),
        (RANGE._replace(transient=(DSI,)), ONE, DSI, Seen(saved=(TEXT + 8, KERNEL)), RETURNS),
        (RANGE._replace(transient=(DSI,)), TWO, DSI, Seen(saved=(TEXT + 8, KERNEL)), FOREIGN),
    ],
)
def test_a_range(target: RangeTarget, thread: bytes, pc: int, seen: Seen, verdict: Verdict) -> None:
    assert judged(target, thread, pc, seen) is verdict


def test_at_a_place_everybody_is_meant() -> None:
    target = PlacesTarget((TEXT, TEXT + 8))
    assert not target.shared
    assert target.must == (TEXT, TEXT + 8)
    assert judged(target, TWO, TEXT, Seen(stack=1)) is OURS

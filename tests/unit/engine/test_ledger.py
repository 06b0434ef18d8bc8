# SPDX-License-Identifier: MIT
"""The ledger: its moves, what it tells the journal and when, and what is to be redone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gdb_ppc_sstep.engine.ledger import (
    Change,
    Ledger,
    Phase,
    Settle,
    Snapshot,
    Unarm,
    Watched,
    steps_of,
)
from gdb_ppc_sstep.engine.steps import Armed, Found, Lent
from gdb_ppc_sstep.ppc.dawr import Window
from gdb_ppc_sstep.ppc.isa import decode
from gdb_ppc_sstep.rsp.resume import stopped

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE

STOP = Settle(stopped(b"p1.1"), None)
FOUND = Found(b"p1.1", TEXT + 4, KERNEL | SE)


def armed(*, vector: int | None = TRACE) -> Armed:
    """A step of a nop; a new object each time, with equal values."""
    word = decode(m.NOP)
    return Armed(b"p1.1", word, TEXT, KERNEL, KERNEL | SE, 1, 2, vector, (TEXT + 4,))


def ledger() -> tuple[Ledger, list[Snapshot]]:
    told: list[Snapshot] = []
    return Ledger(told.append), told


def in_phase(phase: Phase | None, step: Armed) -> tuple[Ledger, list[Snapshot]]:
    """A ledger that has come to a phase by legal moves."""
    one, told = ledger()
    if phase is Phase.AHEAD:
        one.arm_ahead(step)
    elif phase is not None:
        one.arm(step)
    if phase in (Phase.COLLECTING, Phase.QUEUED):
        one.found(step, FOUND)
    if phase is Phase.QUEUED:
        one.queued(step)
    return one, told


MOVES: dict[str, tuple[Callable[[Ledger, Armed], None], set[Phase | None]]] = {
    "arm_ahead": (Ledger.arm_ahead, {None}),
    "arm": (Ledger.arm, {None, Phase.AHEAD}),
    "found": (lambda one, step: one.found(step, FOUND), {Phase.ARMED, Phase.COLLECTING}),
    "queued": (Ledger.queued, {Phase.COLLECTING}),
    "disarm": (Ledger.disarm, {Phase.AHEAD, Phase.ARMED, Phase.QUEUED}),
}


@pytest.mark.parametrize("phase", [None, *Phase])
@pytest.mark.parametrize("name", MOVES)
def test_a_move_that_is_not_in_the_table_is_refused(name: str, phase: Phase | None) -> None:
    move, legal = MOVES[name]
    step = armed()
    one, _ = in_phase(phase, step)
    if phase in legal:
        move(one, step)
    else:
        with pytest.raises(AssertionError):
            move(one, step)


def test_the_life_of_a_step_and_what_the_journal_hears() -> None:
    """Before the change is sent, and after its undoing is answered; never in between nothing."""
    step = armed()
    one, told = ledger()
    one.arm(step)
    assert told == [(Change(step, Phase.ARMED),)]
    assert one.outstanding == [step]
    assert one.guarded == (TRACE,)
    one.found(step, FOUND)
    assert told[-1] == (Change(step, Phase.COLLECTING, FOUND),)
    assert one.collecting == told[-1][0]
    one.queued(step)
    assert one.outstanding == []
    assert one.snapshot == (Change(step, Phase.QUEUED, FOUND),)
    one.sent(step, True)
    assert not told[-1]
    assert not one.snapshot


def test_a_step_that_is_armed_over_one_that_is_queued_is_told_when_that_is_done() -> None:
    """Until then the record of the first is enough: it writes the same MSR."""
    first, second = armed(), armed()
    one, told = in_phase(Phase.QUEUED, first)
    before = len(told)
    one.arm(second)
    assert len(told) == before
    one.sent(first, True)
    assert told[-1] == (Change(second, Phase.ARMED),)


def test_equal_steps_are_told_apart() -> None:
    """Two steps of `b .` have equal values."""
    first, second = armed(), armed()
    assert first == second
    one, _ = in_phase(Phase.QUEUED, first)
    one.arm_ahead(second)
    one.sent(second, True)
    assert [change.phase for change in steps_of(one.snapshot)] == [Phase.QUEUED]


def test_what_is_refused_of_a_deferred_undoing_is_redone_and_not_counted_twice() -> None:
    step = armed()
    one, told = in_phase(Phase.QUEUED, step)
    one.defer(STOP)
    one.sent(step, False)
    assert one.redo == [STOP._replace(counted=True)]
    assert one.outstanding == [step]
    assert told[-1] == (Change(step, Phase.COLLECTING, FOUND),)


def test_what_is_refused_at_once_is_redone_by_who_asked() -> None:
    step = armed()
    one, _ = in_phase(Phase.QUEUED, step)
    one.sent(step, False)
    assert one.redo == []
    assert one.outstanding == [step]


@pytest.mark.parametrize("done", [True, False])
def test_a_step_ahead_is_taken_back(done: bool) -> None:
    step = armed()
    one, told = in_phase(Phase.AHEAD, step)
    assert one.outstanding == []
    one.sent(step, done)
    assert one.redo == ([] if done else [Unarm(step)])
    assert told[-1] == (() if done else (Change(step, Phase.ARMED),))


@pytest.mark.parametrize("done", [True, False])
def test_a_step_ahead_that_gdb_asked_for_is_not_taken_back(done: bool) -> None:
    step = armed()
    one, _ = in_phase(Phase.AHEAD, step)
    one.arm(step)
    one.sent(step, done)
    assert one.snapshot == (Change(step, Phase.ARMED),)
    assert one.redo == []


def test_what_is_left_of_masking_is_dropped_at_a_stop() -> None:
    traced, masked = armed(), armed(vector=None)
    one, told = ledger()
    one.arm(traced)
    one.arm(masked)
    assert one.guarded == (TRACE,)
    one.drop_masked()
    assert one.outstanding == [traced]
    assert told[-1] == (Change(traced, Phase.ARMED),)


def test_a_step_that_is_changed_less_than_planned() -> None:
    step = armed()
    one, told = in_phase(Phase.ARMED, step)
    other = step._replace(written=KERNEL | m.EE | SE)
    one.replace(step, other)
    assert told[-1] == (Change(other, Phase.ARMED),)
    one.replace(other, None)
    assert not told[-1]


def test_a_guest_that_is_gone_leaves_nothing() -> None:
    step = armed()
    one, told = in_phase(Phase.QUEUED, step)
    one.defer(STOP)
    one.redo.append(STOP)
    one.gone()
    assert (one.snapshot, one.outstanding, one.redo, told[-1]) == ((), [], [], ())
    one.sent(step, False)
    assert one.redo == []


def test_changes_of_a_killed_session_are_adopted() -> None:
    here, away = armed(), armed()
    one, told = ledger()
    one.adopt((Change(here, Phase.ARMED, FOUND), Change(away, Phase.ARMED)))
    assert one.outstanding == [here, away]
    assert one.collecting == Change(here, Phase.COLLECTING, FOUND)
    assert told[-1] == one.snapshot


def test_windows_and_lent_threads_are_told_before_and_after() -> None:
    one, told = ledger()
    window = Watched(b"p1.1", Window(0x1000, 0x4B))
    lent = Lent(b"p1.2", (("pc", 4),), (8, 12))

    def last() -> list[object]:
        return [*told[-1]]

    one.watch(*window)
    assert last() == [window]
    one.lend(lent)
    assert last() == [window, lent]
    one.given_back(lent, False)
    assert last() == [window, lent]
    assert one.redo == [lent]
    one.given_back(lent, True)
    one.watch(b"p1.1", Window(0x1000, 0))
    assert last() == []
    one.lend(lent)
    one.gone()
    assert last() == []

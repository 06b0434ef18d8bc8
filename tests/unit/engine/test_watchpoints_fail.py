# SPDX-License-Identifier: MIT
"""Each packet of watching is refused once, one after another; or the session is killed there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import SstepError, StubGone
from gdb_ppc_sstep.options import Watchpoints

from .failures import dead_from, failing_at, refused
from .watchers import LOST, SRRS, Guest, Kind, Native, Watcher

GUESTS = [
    Kind("B"),
    Kind("B", little=False, user=True),
    Kind("B", n=1),
    Kind("B", n=1, sprs_everywhere=True),
    Kind("A"),
    Kind("A", n=1),
    Kind("bare"),
    Kind("bare", ail=0, user=True),
    Kind("bare", honours=False),
]
STRIDE = 17
"""All packets take long: of each guest others are tried."""


def thread(guest: Guest) -> bytes:
    return b"p1.%d" % (guest.n + 1)


def step(on: Watcher, guest: Guest) -> None:
    on.steps(b"vCont;s:%s" % thread(guest))


def once_round(on: Watcher, guest: Guest) -> bool:
    """The loop once round; whether its store was told."""
    cpu, end = guest.machine.vcpus[guest.n], guest.code + 12
    if cpu["pc"] == end:
        step(on, guest)
        on.engine.quiesce()
    hit = on.to(end).payload.startswith(b"T05watch")
    on.engine.quiesce()
    if hit:
        assert cpu["pc"] == guest.code + 8
        on.past(thread(guest))
        on.engine.quiesce()
    assert cpu["pc"] == end
    return hit


def begin(kind: Kind, undo: Undo, option: Watchpoints = Watchpoints.AUTO) -> tuple[Watcher, Guest]:
    guest = kind.guest()
    guest.machine.patience = 1500
    on = Watcher(guest.machine, undo=undo, watchpoints=option)
    return on, guest


def watch_for_a_while(on: Watcher, guest: Guest) -> None:
    """Two hits, and gdb goes."""
    on.watch(guest.data)
    for _ in range(2):
        once_round(on, guest)
    for one in on.breakpoints.watched:
        on.unwatch(one)
    on.engine.release(lambda: True)


def in_each_guest(*, deferred: Callable[[Kind], bool]) -> pytest.MarkDecorator:
    """With a step undone at once, and where `deferred` says so later."""
    return pytest.mark.parametrize(
        ("kind", "undo"),
        [
            pytest.param(kind, undo, id=f"{kind.name}, {undo.name}")
            for kind in GUESTS
            for undo in (Undo.AT_ONCE, Undo.DEFER)
            if undo is Undo.AT_ONCE or deferred(kind)
        ],
    )


@in_each_guest(deferred=lambda kind: not kind.n and kind != Kind("A"))
def test_one_packet_is_refused(kind: Kind, undo: Undo) -> None:
    """An error or none; and then the watchpoint works, and all is as without a debugger."""
    refuse(kind, undo, range(1 + 2 * GUESTS.index(kind), 400, STRIDE))


def test_an_msr_is_put_back_later() -> None:
    """It is not the guest's own while a breakpoint at a real address is removed."""
    refuse(Kind("A"), Undo.DEFER, range(180, 200))


def refuse(kind: Kind, undo: Undo, numbers: range) -> None:
    number = 0
    for number in numbers:
        on, guest = begin(kind, undo)
        machine, n, data, _, spared = guest
        native = Native(machine, n)
        failed = failing_at(machine, number, refused)
        with suppress(SstepError):
            watch_for_a_while(on, guest)
        if not failed:
            break
        del machine.call
        on.engine.recover()
        if not on.breakpoints.watched:
            on.watch(data)
        value = machine.value(data, order=kind.order)
        if once_round(on, guest):
            value += 1
        else:  # it stood behind the store
            value = machine.value(data, order=kind.order)
        for _ in range(2):
            assert once_round(on, guest), (number, failed, on.told, on.log)
            value += 1
            assert machine.value(data, order=kind.order) == value, (number, failed)
        for _ in range(value):
            native.step()
            native.until(guest.code + 12)
        native.equals(machine, but=LOST | SRRS, spared=spared, why=(number, failed))
        on.let_go()
    assert number > 30


@in_each_guest(deferred=lambda kind: True)
def test_a_session_is_killed(kind: Kind, undo: Undo) -> None:
    """After whichever packet: the next one finds in the record and in the guest what is to be
    undone, and the guest runs on as without a debugger."""
    for number in range(1 + 2 * GUESTS.index(kind), 400, STRIDE):
        killed, guest = begin(kind, undo)
        machine, n, data, _, spared = guest
        native = Native(machine, n)
        failed = dead_from(killed.link, number)
        with suppress(StubGone, SstepError):
            watch_for_a_while(killed, guest)
        if not failed:
            break
        machine.breakpoints.clear()  # as QEMU does when the next gdb asks `?`
        known = record.read(killed.records[-1])
        later = Watcher(machine)
        later.engine.clean(known)
        assert later.engine.leftovers() == [], (number, failed)
        assert later.engine.release(lambda: True)
        later.nothing_left()
        end = guest.code + 12
        for _ in range(2000):
            if machine.vcpus[n]["pc"] == end:
                break
            machine.execute(n)
        assert machine.vcpus[n]["pc"] == end, (number, failed, killed.log)
        for _ in range(machine.value(data, order=kind.order)):
            native.step()
            native.until(end)
        native.equals(machine, but=LOST | SRRS, spared=spared, why=(number, failed))
    assert number > 30

# SPDX-License-Identifier: MIT
"""Whose DAWR it is, whether the host honours it, and what is done where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from gdb_ppc_sstep.errors import SstepError
from gdb_ppc_sstep.options import Watchpoints
from gdb_ppc_sstep.rsp.breakpoints import Breakpoint

from .. import linux
from .. import machine as m
from .. import words as w
from ..dawr_machine import DawrMachine
from ..machine import TEXT
from .bench import CONTINUE, CTRL_C
from .watchers import (
    AWATCH,
    COUNT,
    DATA,
    LOST,
    RWATCH,
    SRRS,
    WATCH,
    Guest,
    Kind,
    Native,
    Watcher,
    named,
)

OTHER = 0xC000000000C40000
STORES_OF_THE_GUEST = 0x40 | 8 | 3


def hits(on: Watcher, guest: Guest, kind: int = WATCH, *, exact: bool = False) -> None:
    """Three hits, each as in the same guest without a debugger."""
    machine, n, data, code, spared = guest
    native = Native(machine, n)
    places = {WATCH: [code + 8], RWATCH: [code], AWATCH: [code, code + 8]}[kind]
    on.watch(data, 8, kind)
    for place in places * 3:
        assert on.hit().payload == named(kind, data, n + 1)
        native.until(place)
        native.equals(machine, but=set() if exact else LOST | SRRS, spared=spared)
        on.past(b"p1.%d" % (n + 1))
        native.step()
        native.equals(machine, but=set() if exact else LOST | SRRS, spared=spared)


# -- the host


@pytest.mark.parametrize("kind", [WATCH, RWATCH, AWATCH])
@pytest.mark.parametrize(
    "guest",
    [
        Kind("B", honours=False),
        Kind("B", little=False, honours=False),
        Kind("bare", honours=False),
        Kind("bare", ail=0, honours=False),
        Kind("B", user=True, honours=False),
        Kind("B", n=1, sprs_everywhere=True, honours=False),
    ],
    ids=lambda kind: kind.name,
)
def test_a_host_that_ignores_dawr(guest: Kind, kind: int) -> None:
    """By steps, and each access is seen; to try DAWR has left nothing."""
    one = guest.guest()
    on = Watcher(one.machine)
    if guest.n:
        one.machine.turns = [1]
        on.stub.select(b"p1.2")
    hits(on, one, kind, exact=True)
    assert on.told == [
        "this host does not honour a DAWR of 8 bytes: watching by steps, which is slow"
    ]
    on.let_go()


def test_a_host_that_ignores_dawr_and_dawr_alone_is_wanted() -> None:
    machine = Kind("B", honours=False).guest().machine
    on = Watcher(machine, watchpoints=Watchpoints.DAWR)
    before = machine.state()
    on.watch()
    with pytest.raises(
        SstepError, match=r"does not honour .*; use `set ppc-sstep watchpoints auto"
    ):
        on.resume(CONTINUE)
    assert machine.changed(before) == {}
    on.clean()


@pytest.mark.parametrize("option", [Watchpoints.AUTO, Watchpoints.DAWR])
def test_dawr_is_used_where_it_works(option: Watchpoints) -> None:
    guest = Kind("B").guest()
    on = Watcher(guest.machine, watchpoints=option)
    hits(on, guest)
    assert guest.machine.matches >= 3
    assert on.told == []
    assert on.engine.watchpoints.startswith("by DAWR, 8 bytes at")
    on.let_go()


@pytest.mark.parametrize("kind", [WATCH, RWATCH, AWATCH])
def test_by_steps_because_the_user_wants_it(kind: int) -> None:
    """Though DAWR would do; it is not touched, and nothing need be told."""
    guest = Kind("B").guest()
    on = Watcher(guest.machine, watchpoints=Watchpoints.STEP)
    hits(on, guest, kind, exact=True)
    assert guest.machine.matches == 0
    assert on.told == []
    assert on.engine.watchpoints.startswith("by steps")
    on.let_go()


def test_off() -> None:
    """What the stub says is what gdb is told."""
    machine = Kind("B").guest().machine
    on = Watcher(machine, watchpoints=Watchpoints.OFF)
    one = Breakpoint(WATCH, DATA, 8)
    assert on.asked(one, inserts=True) == b"E22"
    assert on.asked(one, inserts=False) == b"E22"
    machine.stop_at[0, TEXT + 12] = CTRL_C
    assert on.resume(CONTINUE).payload == CTRL_C
    assert machine.matches == 0


def test_a_stub_that_has_watchpoints_keeps_them() -> None:
    machine = Kind("B").guest().machine
    machine.reply[b"Z2"] = machine.reply[b"z2"] = b"OK"
    on = Watcher(machine)
    on.watch()
    machine.stop_at[0, TEXT + 12] = b"T05watch:c000000000c00100;thread:p01.01;"
    assert on.resume(CONTINUE).payload.startswith(b"T05watch:c000000000c00100;")
    assert [packet for packet in machine.packets if packet[:2] in (b"Z2", b"z2")] == [
        b"Z2,c000000000c00100,8"
    ]
    assert machine.cpu["dawrx0"] == 0
    assert machine.matches == 0


class CutShort(DawrMachine):
    """A host whose windows are one doubleword, as with QEMU's TCG (10.0)."""

    def window(self, n: int = 0) -> range:
        """See `DawrMachine`."""
        start = super().window(n).start
        return range(start, start + 8)


def test_a_host_that_cuts_windows_short() -> None:
    """One of 8 bytes works, and of a longer one each access is seen by steps."""
    guest = Kind("B").guest(w.std(5, 6, 24), w.std(5, 6, 8), w.std(5, 6, 0), m.b(-12))
    machine = guest.machine
    machine.__class__ = CutShort
    for place in range(0, 32, 8):
        machine.put_value(DATA + place, 0)
    on = Watcher(machine)
    long = on.watch(DATA, 16)
    for place in (8, 0, 8, 0):
        assert on.hit().payload == named(WATCH, DATA + place)
        on.past()
    assert on.told == [
        "this host does not honour a DAWR of 16 bytes: watching by steps, which is slow"
    ]
    on.unwatch(long)
    on.watch(DATA, 8)
    assert on.hit().payload == named(WATCH, DATA)
    assert on.engine.watchpoints.startswith("by DAWR")
    assert len(on.told) == 1
    on.past()
    on.let_go()


@pytest.mark.parametrize("pvr", [0x004D0200, 0x004E1202, 0x00800200, 0x00820100])
@pytest.mark.parametrize(("start", "length"), [(508, 8), (504, 16), (256, 512), (0, 520)])
def test_watchpoints_that_may_not_fit(start: int, length: int, pvr: int) -> None:
    """A window is 512 bytes, and before POWER10 within one block of as many."""
    first = (DATA & ~511) + start
    guest = Kind("B").guest(w.stb(5, 6, length - 1), w.stb(5, 6, 0), m.b(-8))
    machine = guest.machine
    for cpu in machine.vcpus:
        cpu.update(pvr=pvr, r6=first)
    for place in range(0, length + 8, 8):
        machine.put_value(first + place & ~7, 0)
    on = Watcher(machine)
    on.watch(first, length)
    for place in (length - 1, 0):
        assert on.hit().payload == named(WATCH, first + place)
        on.past()
    fits = length <= 512 and pvr >> 16 >= 0x80 and (first & ~7) + 512 >= first + length
    line = (
        "the watchpoints do not fit into the one window of 512 bytes that the CPU has: "
        "watching by steps, which is slow"
    )
    assert on.told == [line] * (not fits)
    assert bool(machine.matches) == fits
    on.let_go()


def test_watchpoints_that_are_too_far_from_each_other() -> None:
    guest = Kind("B").guest(w.std(5, 7), w.std(5, 6), m.b(-8))
    machine = guest.machine
    machine.cpu["r7"] = OTHER
    machine.put_value(OTHER, 0)
    on = Watcher(machine)
    on.watch(DATA)
    far = on.watch(OTHER)
    for place in (OTHER, DATA, OTHER):
        assert on.hit().payload == named(WATCH, place)
        on.past()
    assert len(on.told) == 1
    on.unwatch(far)
    assert on.hit().payload == named(WATCH, DATA)
    assert on.engine.watchpoints.startswith("by DAWR"), "those that are left fit"
    assert len(on.told) == 1
    on.let_go()


NO_LOAD = "there is no load near pc by which DAWR could be tried"
FAULTS = "the load by which DAWR is tried takes another interrupt"
SLOW = ": watching by steps, which is slow"


def without_a_load(machine: DawrMachine) -> None:
    machine.put(TEXT + 0xFF8, m.NOP)


def with_a_fault(machine: DawrMachine) -> None:
    machine.faults = {TEXT + 0xFF8}


def without_dawr(machine: DawrMachine) -> None:
    machine.absent |= {"dawr0", "dawrx0"}
    machine.honours = False


@pytest.mark.parametrize(
    ("what", "spoiled", "line"),
    [
        ("B", without_a_load, NO_LOAD),
        ("bare", without_a_load, NO_LOAD),
        ("B", with_a_fault, FAULTS),
        ("B", without_dawr, "the hypervisor has no DAWR: it answers -55"),
        ("bare", without_dawr, "the guest's kernel has no `sc 1` that could be found"),
    ],
)
def test_dawr_that_cannot_be_tried(what: str, spoiled: Any, line: str) -> None:
    guest = Kind(what).guest(m.addi(5, 5, 1), m.NOP, w.std(5, 6), m.b(-12))
    machine = guest.machine
    machine.cpu["r5"] = 0
    spoiled(machine)
    native = Native(machine)
    if spoiled is with_a_fault:
        native.machine.faults.clear()
    on = Watcher(machine)
    on.watch()
    for _ in range(3):
        assert on.hit().payload == named(WATCH, DATA)
        native.until(guest.code + 8)
        lost = {without_dawr: SRRS, with_a_fault: LOST | SRRS}.get(spoiled, set())
        native.equals(machine, but=lost, spared=guest.spared)
        on.past()
        native.step()
    assert on.told == [line + SLOW]
    on.let_go()


def test_dawr_by_hypercall_alone() -> None:
    """A stub that gives it of no vCPU."""
    guest = Kind("B").guest()
    guest.machine.absent |= {"dawr0", "dawrx0", "dawr1"}
    on = Watcher(guest.machine)
    hits(on, guest)
    assert on.told == []
    on.let_go()


# -- the guest's own


def own(*more: int) -> tuple[Watcher, DawrMachine]:
    """A kernel that sets its own watchpoint for OTHER, then stores there, then to DATA."""
    words = (m.b(linux.OWN_WATCH - TEXT, link=True), *more, w.std(18, 17), w.std(18, 16), m.NOP)
    machine = linux.booted(*words)
    machine.cpu.update(r16=DATA, r17=OTHER, r6=OTHER, r7=STORES_OF_THE_GUEST, r18=7)
    for place in (DATA, DATA + 0x40, OTHER):
        machine.put_value(place, 0)
    return Watcher(machine), machine


def test_the_guests_own_match_is_the_guests() -> None:
    """It has set DAWR while it ran; its handler has its match, and takes its watchpoint away."""
    on, machine = own()
    machine.cpu["r16"] = OTHER + 0x1000
    machine.put_value(OTHER + 0x1000, 0)
    on.watch()
    on.to(TEXT + 12)
    assert linux.breaks(machine) == 1
    assert machine.value(OTHER) == 7
    assert on.told == []
    on.resume_briefly()
    assert on.told == ["the guest has cleared the DAWR of p1.1; it is armed again"]
    assert machine.cpu["dawr0"] == DATA
    on.let_go()


def test_the_guests_own_match_near_ours_is_the_guests() -> None:
    on, machine = own()
    machine.cpu.update(r6=DATA + 0x40, r17=DATA + 0x40, r16=OTHER)
    on.watch()
    on.to(TEXT + 12)
    assert linux.breaks(machine) == 1
    assert machine.value(DATA + 0x40) == 7


def test_the_guest_uses_dawr_for_itself() -> None:
    """Told in one line; it keeps it, and its match; free again, the vCPU is armed again."""
    on, machine = own(m.NOP, m.NOP, m.NOP)
    on.watch()
    on.to(TEXT + 4)
    assert machine.cpu["dawr0"] == OTHER
    for place in (8, 12):
        on.to(TEXT + place)
    assert on.told == [
        "the guest has set the DAWR of p1.1 for itself; "
        "the watchpoints do not see this vCPU until it is free again"
    ]
    assert (machine.cpu["dawr0"], machine.cpu["dawrx0"]) == (OTHER, STORES_OF_THE_GUEST)
    machine.cpu["r17"] = OTHER
    on.to(TEXT + 20)
    assert linux.breaks(machine) == 1
    assert machine.value(OTHER) == 7
    assert on.hit().payload == named(WATCH, DATA)
    assert machine.cpu["pc"] == TEXT + 20
    assert linux.breaks(machine) == 1
    on.past()
    on.let_go()


def test_the_guests_own_is_left_when_gdb_goes() -> None:
    on, machine = own(m.NOP, m.NOP)
    on.watch()
    on.to(TEXT + 4)
    on.to(TEXT + 8)
    for one in on.breakpoints.watched:
        on.unwatch(one)
    assert on.engine.release(lambda: True)
    assert (machine.cpu["dawr0"], machine.cpu["dawrx0"]) == (OTHER, STORES_OF_THE_GUEST)
    on.clean()


def test_the_guest_has_its_own_before_we_come() -> None:
    machine = linux.booted(*COUNT)
    machine.cpu.update(r6=DATA, dawr0=OTHER, dawrx0=STORES_OF_THE_GUEST)
    machine.put_value(DATA, 0)
    on = Watcher(machine)
    on.watch()
    on.to(TEXT + 12)
    assert (machine.cpu["dawr0"], machine.cpu["dawrx0"]) == (OTHER, STORES_OF_THE_GUEST)
    assert len(on.told) == 1
    machine.cpu["dawrx0"] = 0
    assert on.hit().payload == named(WATCH, DATA)
    on.past()
    on.let_go()


def test_a_dawr_that_the_guest_has_cleared() -> None:
    machine = linux.booted(*COUNT)
    machine.cpu["r6"] = DATA
    machine.put_value(DATA, 0)
    on = Watcher(machine)
    on.watch()
    on.hit()
    on.past()
    for _ in range(2):
        on.to(TEXT)
        machine.cpu.update(dawr0=0, dawrx0=63 << 10)  # Linux's null watchpoint
        on.hit()
        on.past()
    assert on.told == ["the guest has cleared the DAWR of p1.1; it is armed again"]
    on.let_go()

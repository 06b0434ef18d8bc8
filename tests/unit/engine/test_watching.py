# SPDX-License-Identifier: MIT
"""Watchpoints by DAWR: each access is told before it is made, and nothing else of it is seen."""

from __future__ import annotations

import pytest

from .. import linux
from .. import machine as m
from .. import words as w
from ..machine import TEXT
from .watchers import (
    AWATCH,
    COUNT,
    DATA,
    KINDS,
    LOST,
    RWATCH,
    SRRS,
    WATCH,
    Kind,
    Native,
    Watcher,
    named,
)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_watch(kind: Kind) -> None:
    """As gdb drives it: continue to the hit; without watchpoints, a step of the thread alone."""
    machine, n, data, code, spared = kind.guest()
    native = Native(machine, n)
    on = Watcher(machine)
    on.watch(data)
    for count in range(4):
        assert on.hit().payload == named(WATCH, data, n + 1)
        assert machine.value(data, order=kind.order) == count
        native.until(code + 8)
        native.equals(machine, but=LOST | SRRS, spared=spared)
        on.past(b"p1.%d" % (n + 1))
        native.step()
        native.equals(machine, but=LOST | SRRS, spared=spared)
    assert on.told == []
    on.let_go()


@pytest.mark.parametrize("what", ["B", "A", "bare"])
@pytest.mark.parametrize("kind", [WATCH, RWATCH, AWATCH])
def test_loads_and_stores_are_told_apart(kind: int, what: str) -> None:
    machine, _, _, code, spared = Kind(what).guest()
    native = Native(machine)
    on = Watcher(machine)
    on.watch(kind=kind)
    places = {WATCH: [code + 8], RWATCH: [code], AWATCH: [code, code + 8]}[kind]
    for place in places * 3:
        assert on.hit().payload == named(kind, DATA)
        assert machine.cpu["pc"] == place
        native.until(place)
        native.equals(machine, but=LOST | SRRS, spared=spared)
        on.past()
        native.step()
    on.let_go()
    assert on.told == []


@pytest.mark.parametrize("little", [True, False], ids=["LE", "BE"])
@pytest.mark.parametrize("everywhere", [False, True], ids=["", "all SPRs"])
@pytest.mark.parametrize("what", ["B", "A"])
@pytest.mark.parametrize("n", [0, 1], ids=["", "vCPU 2"])
def test_the_kernel_accesses_it_for_a_program(
    what: str, n: int, everywhere: bool, little: bool
) -> None:
    """Its return from the system call relies on SRR0 and SRR1, which the match overwrites."""
    kind = Kind(what, little, n=n, sprs_everywhere=everywhere, user=True)
    machine, _, _, code, _ = kind.guest(m.SC, m.addi(20, 20, 1), m.b(-8))
    cpu = machine.vcpus[n]
    cpu["r20"] = 0
    on = Watcher(machine)
    on.watch(linux.COUNTER)
    for count in range(5):
        assert on.hit().payload == named(WATCH, linux.COUNTER, n + 1)
        assert cpu["pc"] == linux.STORE
        assert machine.value(linux.COUNTER, order=kind.order) == count == cpu["r20"]
        on.past(b"p1.%d" % (n + 1))
    on.to(code + 4)
    assert cpu["r20"] == 4
    assert linux.breaks(machine, n, kind.order) == 0
    assert on.told == []
    on.let_go()


def test_every_vcpu_is_watched() -> None:
    machine = linux.booted(*COUNT, vcpus=3)
    machine.put_value(DATA, 0)
    for cpu in machine.vcpus:
        cpu["r6"] = DATA
    on = Watcher(machine)
    on.watch()
    seen = []
    for _ in range(9):
        thread = on.hit().thread
        assert thread is not None
        seen.append(int(thread[-1:]))
        on.past(thread)
    assert sorted(seen) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert on.told == []
    on.let_go()


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_accesses_that_only_share_the_doubleword_pass(what: str) -> None:
    machine, _, _, code, spared = Kind(what).guest(
        w.stw(5, 6, 4), w.stb(5, 6, 3), w.ld(7, 6), w.lwz(7, 6), w.sth(5, 6, 2), w.stw(8, 6, 0)
    )
    machine.cpu.update(r5=0x12345678, r8=9)
    native = Native(machine)
    on = Watcher(machine)
    on.watch(DATA, 2)
    assert on.hit().payload == named(WATCH, DATA)
    native.until(code + 20)
    native.equals(machine, but=LOST | SRRS, spared=spared)
    on.past()
    native.step()
    native.equals(machine, but=LOST | SRRS, spared=spared)
    on.let_go()
    assert on.told == []


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_another_process_passes(what: str) -> None:
    """With the same address; the guest's kernel changes the PID register meanwhile."""
    machine, _, data, code, spared = Kind(what, user=True).guest(*COUNT[:3], m.NOP, m.b(-16))
    machine.cpu["pid"] = 7
    native = Native(machine)
    on = Watcher(machine)
    on.watch(data)
    on.hit()
    native.until(code + 8)
    on.past()
    machine.cpu["pid"] = native.machine.cpu["pid"] = 8
    for _ in range(3):
        native.step()
        on.to(code + 12)
        native.until(code + 12)
        native.equals(machine, but=LOST | SRRS, spared=spared)
        on.step()
    machine.cpu["pid"] = 7
    assert on.hit().payload == named(WATCH, data)
    assert machine.value(data) == 3
    on.let_go()


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("offset", range(8))
def test_sizes(length: int, offset: int) -> None:
    """A store of each byte around: those within are told, and no other one."""
    first = offset - 1
    words = [w.stb(5, 6, first + n) for n in range(length + 2)]
    machine = linux.booted(*words)
    machine.cpu["r6"] = DATA
    machine.put_value(DATA - 8, 0)
    on = Watcher(machine)
    on.watch(DATA + offset, length)
    for n in range(1, length + 1):
        assert on.hit().payload == named(WATCH, DATA + first + n)
        assert machine.cpu["pc"] == TEXT + 4 * n
        on.past()
    on.to(TEXT + 4 * len(words))
    on.let_go()
    assert on.told == []


@pytest.mark.parametrize("length", [16, 24, 256, 512])
def test_long_ones(length: int) -> None:
    start = DATA & ~511
    words = [w.stb(5, 6, place) for place in (-1, 0, 7, 8, length - 1, length)]
    machine = linux.booted(*words)
    machine.cpu["r6"] = start
    for place in (-8, 0, 8, length - 8, length):
        machine.put_value(start + place, 0)
    on = Watcher(machine)
    on.watch(start, length)
    for n, place in zip(range(1, 5), (0, 7, 8, length - 1)):
        assert on.hit().payload == named(WATCH, start + place)
        assert machine.cpu["pc"] == TEXT + 4 * n
        on.past()
    on.to(TEXT + 4 * len(words))
    on.let_go()
    assert on.told == []


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_accesses_that_begin_before_it(what: str) -> None:
    """Its address is told then, as gdb knows it by that."""
    words = (
        w.std(5, 6, -4),
        w.stq(8, 7, -8),
        w.dcbz(0, 6),
        w.std(5, 6, 4),
        w.stdu(5, 7, -4),
        w.std(5, 6, 8),
    )
    machine, _, data, code, spared = Kind(what).guest(*words)
    machine.cpu["r7"] = data
    for place in range(-128, 256, 8):
        machine.put_value(data + place, place & 0xFF)
    native = Native(machine)
    on = Watcher(machine)
    on.watch(data + 3, 3)
    for n, place in enumerate((3, 3, 3, 4, 3)):
        assert on.hit().payload == named(WATCH, data + place)
        native.until(code + 4 * n)
        native.equals(machine, but=LOST | SRRS, spared=spared)
        on.past()
    on.to(code + 4 * len(words))
    native.until(code + 4 * len(words))
    native.equals(machine, but=LOST | SRRS, spared=spared)
    on.let_go()
    assert on.told == []


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_quadword_load(what: str) -> None:
    machine, _, data, code, spared = Kind(what).guest(w.lq(8, 6, -16), w.lq(8, 6))
    machine.put_value(data + 8, 1)
    machine.put_value(data - 8, 1)
    native = Native(machine)
    on = Watcher(machine)
    on.watch(data + 8, 4, RWATCH)
    assert on.hit().payload == named(RWATCH, data + 8)
    on.past()
    native.until(code + 8)
    native.equals(machine, but=LOST | SRRS, spared=spared)
    on.let_go()


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_several_in_one_window(what: str) -> None:
    """Each is named, and what is between them passes."""
    words = (
        *(w.ld(5, 6), w.std(5, 6)),
        *(w.ld(5, 6, 8), w.std(5, 6, 8)),
        *(w.ld(5, 6, 16), w.std(5, 6, 16)),
        *(w.lwz(5, 6, 28), w.stw(5, 6, 28)),
    )
    machine, _, data, code, spared = Kind(what).guest(*words)
    for place in range(0, 32, 8):
        machine.put_value(data + place, place)
    native = Native(machine)
    on = Watcher(machine)
    on.watch(data, 8, RWATCH)
    on.watch(data + 16, 8, WATCH)
    on.watch(data + 28, 4, AWATCH)
    hits = ((0, RWATCH, 0), (5, WATCH, 16), (6, AWATCH, 28), (7, AWATCH, 28))
    for n, kind, place in hits:
        assert on.hit().payload == named(kind, data + place)
        native.until(code + 4 * n)
        native.equals(machine, but=LOST | SRRS, spared=spared)
        on.past()
    on.let_go()
    assert on.told == []


def test_an_access_of_several_tells_an_address_that_is_in_all_of_them() -> None:
    """gdb looks at those watchpoints that have the address which it is told."""
    machine, _, data, _, _ = Kind().guest()
    on = Watcher(machine)
    on.watch(data, 8, WATCH)
    on.watch(data + 4, 4, AWATCH)
    on.hit()  # the load, which only the second one is about
    on.past()
    assert on.hit().payload == named(WATCH, data + 4)


@pytest.mark.parametrize("kind", [WATCH, AWATCH])
@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_store_conditional(what: str, kind: int) -> None:
    """Stopped before it, the vCPU has lost its reservation: it must not be hit for ever."""
    loop = (w.ldarx(5, 0, 6), m.addi(5, 5, 1), w.stdcx(5, 0, 6), w.bne(-12), m.b(-16))
    machine, _, data, code, _ = Kind(what).guest(*loop)
    on = Watcher(machine)
    on.watch(data, 8, kind)
    for count in range(5):
        if kind == AWATCH:
            assert on.hit().payload == named(kind, data)
            assert machine.cpu["pc"] == code
            assert machine.value(data) == count
            on.past()  # the whole sequence
            assert machine.value(data) == count + 1
        else:
            assert on.hit().payload == named(kind, data)
            assert machine.cpu["pc"] == code + 8
            assert machine.value(data) == count
            on.past()
            assert machine.value(data) == count + 1
            assert machine.cpu["pc"] == code + 16
    on.let_go()
    assert on.told == []


def test_load_and_reserve() -> None:
    """A read watchpoint is hit there, and the sequence is one step, as ever."""
    loop = (w.ldarx(5, 0, 6), m.addi(5, 5, 1), w.stdcx(5, 0, 6), w.bne(-12), m.b(-16))
    machine, _, data, code, _ = Kind().guest(*loop)
    on = Watcher(machine)
    on.watch(data, 8, RWATCH)
    for count in range(5):
        assert on.hit().payload == named(RWATCH, data)
        assert machine.cpu["pc"] == code
        assert machine.value(data) == count
        on.past()
        assert machine.value(data) == count + 1


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_page_faults_are_the_guests(what: str) -> None:
    machine, _, data, code, _ = Kind(what).guest(w.std(5, 6, 0x40), w.ld(7, 6, 0x48), *COUNT)
    machine.cpu["r20"] = 0
    machine.put_value(data + 0x40, 0)
    machine.put_value(data + 0x48, 7)
    machine.faults = {data + 0x40, data + 0x48}
    on = Watcher(machine)
    on.watch(data)
    assert on.hit().payload == named(WATCH, data)
    assert machine.cpu["pc"] == code + 16
    assert machine.cpu["r7"] == 7
    faults = machine.cpu["r20"] if what == "bare" else linux.page_faults(machine)
    assert faults == 2
    assert on.told == []
    on.let_go()


def test_page_faults_do_not_stop_a_kernel_like_linux() -> None:
    faulting = [w.ld(7, 6, 0x40 + 8 * n) for n in range(20)]
    machine = linux.booted(*faulting, *COUNT)
    machine.cpu["r6"] = DATA
    for n in range(21):
        machine.put_value(DATA + 0x38 + 8 * n, n)
    machine.faults = {DATA + 0x40 + 8 * n for n in range(20)}
    machine.put_value(DATA, 0)
    on = Watcher(machine)
    on.watch()
    on.hit()
    assert linux.page_faults(machine) == 20
    assert len(machine.resumes) < 10


@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_srrs_that_were_needed_are_told(what: str) -> None:
    machine, *_ = Kind(what).guest()
    machine.cpu["msr"] &= ~m.RI
    on = Watcher(machine)
    on.watch()
    for _ in range(2):
        on.hit()
        on.past()
    (line,) = on.told
    assert (
        line == f"the guest needed SRR0 and SRR1 at {TEXT + 8:#x} (MSR[RI]=0), "
        "and they are lost by the watchpoint"
    )

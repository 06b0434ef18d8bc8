# SPDX-License-Identifier: MIT
"""The simulated machine's watchpoints: what was seen under KVM HV, and what silicon does."""

from __future__ import annotations

import pytest

from . import machine as m
from . import words as w
from .dawr_machine import (
    H_SET_MODE,
    HYP,
    KERNEL,
    LOADS,
    MATCH,
    POWER10,
    STORES,
    USER,
    WT,
    WTI,
    DawrMachine,
    bare,
)
from .engine.bench import CONTINUE
from .machine import NUMBERS, TEXT, VIRTUAL, Runaway

DATA = 0xC000000000C00100
ALWAYS = WTI | KERNEL | USER
VECTOR = VIRTUAL | 0x300


def armed(
    *code: int, dawr: int = DATA, dawrx: int = STORES | ALWAYS, state: int = m.KERNEL
) -> DawrMachine:
    """Code at TEXT that is about to run, with r6 at DATA, whose first doubleword is 0x1122...88."""
    machine = DawrMachine()
    order = "little" if state & m.LE else "big"
    machine.put(TEXT, *code, m.SELF, order=order)
    machine.put_value(DATA, 0x1122334455667788, order=order)  # type: ignore[arg-type]
    machine.cpu.update(msr=state, r6=DATA, r7=0x55, dawr0=dawr, dawrx0=dawrx)
    return machine


def hits(machine: DawrMachine) -> bool:
    """Whether its next instruction is a match."""
    before = machine.matches
    machine.execute(0)
    return machine.matches > before


def write(machine: DawrMachine, name: str, value: int) -> bytes:
    text = value.to_bytes(8, "little").hex().encode()
    return machine.call(b"P%x=" % NUMBERS[name] + text)


def read(machine: DawrMachine, name: str) -> int:
    reply = machine.call(b"p%x" % NUMBERS[name])
    return int.from_bytes(bytes.fromhex(reply.decode()), "little")


def test_match_is_an_interrupt_before_the_access() -> None:
    """Seen: DSISR 0x400000, DAR the address, SRR0 and SRR1 of the access, nothing done of it."""
    machine = armed(w.stdu(7, 6, 8), dawr=DATA + 8)
    assert hits(machine)
    cpu = machine.cpu
    assert (cpu["pc"], cpu["msr"]) == (VECTOR, m.KERNEL & ~(m.EE | m.RI))
    assert (cpu["srr0"], cpu["srr1"]) == (TEXT, m.KERNEL)
    assert (cpu["dar"], cpu["dsisr"]) == (DATA + 8, MATCH)
    assert cpu["r6"] == DATA
    assert machine.word_at(DATA + 8) is None
    cpu.update(pc=TEXT, msr=m.KERNEL, dawrx0=0)
    assert not hits(machine)
    assert (cpu["pc"], cpu["r6"], machine.value(DATA + 8)) == (TEXT + 4, DATA + 8, 0x55)


def test_match_replaces_the_trace_interrupt_of_a_step() -> None:
    machine = armed(w.std(7, 6), state=m.KERNEL | m.SE)
    assert hits(machine)
    assert machine.cpu["pc"] == VECTOR
    assert machine.cpu["srr1"] & m.SE and not machine.cpu["msr"] & m.SE


def test_ordinary_fault_comes_first_and_says_so() -> None:
    machine = armed(w.std(7, 6), w.ld(5, 6))
    machine.faults = {DATA}
    assert not hits(machine)
    assert (machine.cpu["pc"], machine.cpu["dsisr"]) == (VECTOR, 0x42000000)
    machine.cpu.update(pc=TEXT + 4, dawrx0=LOADS | ALWAYS, msr=m.KERNEL)
    assert hits(machine)
    machine.cpu.update(pc=TEXT, dawrx0=STORES | ALWAYS, msr=m.KERNEL)
    machine.tells_stores = True
    assert hits(machine)
    assert machine.cpu["dsisr"] == MATCH | 0x02000000


@pytest.mark.parametrize(
    ("state", "lpcr", "vector"),
    [
        (m.KERNEL, 3 << m.AIL_SHIFT | m.ILE, VECTOR),
        (m.KERNEL, m.ILE, 0x300),
        (m.REAL, 3 << m.AIL_SHIFT | m.ILE, 0x300),
        (m.USER, 3 << m.AIL_SHIFT | m.ILE, VECTOR),
    ],
    ids=["kernel", "AIL=0", "real mode", "user"],
)
def test_vector_of_a_match(state: int, lpcr: int, vector: int) -> None:
    machine = armed(w.ld(5, 6), dawrx=LOADS | ALWAYS, state=state)
    machine.cpu["lpcr"] = lpcr
    assert hits(machine)
    assert machine.cpu["pc"] == vector


@pytest.mark.parametrize(
    ("offset", "size", "first"),
    [(-8, 8, None), (-4, 8, 0), (7, 1, 7), (4, 4, 4), (15, 1, 15), (16, 8, None), (15, 8, 15)],
)
def test_window_is_doublewords(offset: int, size: int, first: int | None) -> None:
    """DAR is the first byte that matches, also where the access begins before the window."""
    word = {1: w.stb, 4: w.stw}.get(size, w.std)(7, 6)
    machine = armed(word, dawr=DATA | 5, dawrx=STORES | ALWAYS | 1 << 10)
    machine.cpu["r6"] += offset
    assert hits(machine) == (first is not None)
    if first is not None:
        assert machine.cpu["dar"] == DATA + first


def test_longest_window() -> None:
    machine = armed(w.stb(7, 6), dawrx=STORES | ALWAYS | 63 << 10)
    assert machine.window() == range(DATA, DATA + 512)
    machine.cpu["r6"] = DATA + 511
    assert hits(machine)
    before = armed(w.stb(7, 6), dawrx=STORES | ALWAYS | 63 << 10)
    before.cpu["pvr"] = POWER10 - 1
    with pytest.raises(AssertionError, match="not defined"):
        before.execute(0)


@pytest.mark.parametrize(
    ("dawrx", "state", "load", "store"),
    [
        (LOADS | ALWAYS, m.KERNEL, True, False),
        (STORES | ALWAYS, m.KERNEL, False, True),
        (LOADS | STORES | WTI | KERNEL, m.KERNEL, True, True),
        (LOADS | STORES | WTI | KERNEL, m.USER, False, False),
        (LOADS | STORES | WTI | USER, m.USER, True, True),
        (LOADS | STORES | WTI | USER, m.KERNEL, False, False),
        (LOADS | STORES | WTI, m.KERNEL, False, False),
        (LOADS | STORES | WT | KERNEL, m.KERNEL, True, True),
        (LOADS | STORES | WT | KERNEL, m.REAL, False, False),
        (LOADS | STORES | WTI | KERNEL, m.REAL, True, True),
    ],
)
def test_bits_of_dawrx(dawrx: int, state: int, load: bool, store: bool) -> None:
    assert hits(armed(w.lwz(5, 6), dawrx=dawrx, state=state)) == load
    assert hits(armed(w.stw(7, 6), dawrx=dawrx, state=state)) == store


@pytest.mark.parametrize("state", [m.KERNEL, m.KERNEL & ~m.LE], ids=["little", "big"])
def test_loads_and_stores(state: int) -> None:
    code = [
        w.lwz(8, 6),
        w.lhz(9, 6, 2),
        m.lbz(10, 6),
        w.sth(7, 6, 2),
        w.ldu(11, 6, 0),
        w.lq(12, 6),
        w.stq(12, 6, 16),
        w.ldx(14, 6, 15),
        w.dcbz(0, 6),
    ]
    machine = armed(*code, dawrx=0, state=state)
    order = "little" if state & m.LE else "big"
    machine.cpu["r15"] = 16
    machine.put_value(DATA + 8, 0x99AABBCCDDEEFF00, order=order)  # type: ignore[arg-type]
    for _ in code:
        machine.execute(0)
    cpu = machine.cpu
    little = order == "little"
    assert cpu["r8"] == (0x55667788 if little else 0x11223344)
    assert cpu["r9"] == (0x5566 if little else 0x3344)
    assert cpu["r10"] == (0x88 if little else 0x11)
    assert cpu["r11"] == (0x1122334400557788 if little else 0x1122005555667788)
    assert (cpu["r12"], cpu["r13"])[:: -1 if little else 1] == (cpu["r11"], 0x99AABBCCDDEEFF00)
    assert cpu["r14"] == cpu["r11"]
    assert machine.value(DATA & ~127, 8) == machine.value(DATA, 8) == 0


LOOP = (w.ldarx(5, 0, 6), m.addi(5, 5, 1), w.stdcx(5, 0, 6), w.bne(-12))


def test_reservation_is_lost_at_stops_and_interrupts() -> None:
    machine = armed(*LOOP, dawrx=0)
    machine.breakpoints[TEXT + 4] = 1
    assert machine.resume(CONTINUE)[:3] == b"T05"
    assert machine.reservations == {0: DATA}
    machine.breakpoints.clear()
    machine.breakpoints[TEXT + 12] = 1
    machine.resume(CONTINUE)
    assert not machine.cpu["cr"] & 0x20000000
    machine.breakpoints.clear()
    machine.breakpoints[TEXT + 16] = 1
    machine.resume(CONTINUE)
    assert machine.value(DATA) == 0x1122334455667789


def test_write_watch_of_an_atomic_word_is_hit_at_its_store_for_ever() -> None:
    """Seen: who undoes the match and steps over the stdcx. gets no further."""
    machine = armed(*LOOP)
    for _ in range(3):
        machine.breakpoints[VECTOR] = 1
        machine.resume(CONTINUE)
        assert machine.cpu["srr0"] == TEXT + 8
        machine.breakpoints.clear()
        machine.cpu.update(pc=TEXT + 8, msr=m.KERNEL)
        machine.breakpoints[TEXT + 12] = 1
        machine.resume(CONTINUE)
        machine.breakpoints.clear()
    assert machine.value(DATA) == 0x1122334455667788


def test_other_vcpus_store_takes_a_reservation() -> None:
    machine = DawrMachine(2)
    machine.put(TEXT, *LOOP)
    machine.put(TEXT + 0x1000, w.stb(7, 6, 64))
    machine.vcpus[1]["pc"] = TEXT + 0x1000
    for cpu in machine.vcpus:
        cpu["r6"] = DATA & ~127
    machine.execute(0)
    machine.execute(1)
    assert machine.reservations == {}


def test_host_without_dawr_keeps_what_is_written_and_never_matches() -> None:
    """Seen of POWER9 DD2.2: reading back proves nothing, H_SET_MODE's answer does."""
    machine = DawrMachine(honours=False)
    machine.put(TEXT, w.std(7, 6), w.SC1)
    machine.cpu.update(r6=DATA)
    machine.call(b"g")
    assert write(machine, "dawr0", DATA) == write(machine, "dawrx0", STORES | ALWAYS) == b"OK"
    machine.breakpoints[TEXT + 4] = 1
    machine.resume(CONTINUE)
    machine.call(b"g")
    assert (read(machine, "dawr0"), read(machine, "dawrx0")) == (DATA, STORES | ALWAYS)
    assert machine.value(DATA) == machine.cpu["r7"]
    machine.cpu.update(r3=H_SET_MODE, r4=0, r5=2, r6=0, r7=0)
    machine.execute(0)
    assert machine.cpu["r3"] == (1 << 64) - 55


def test_kvm_takes_the_bit_of_the_hypervisor_away_while_it_runs() -> None:
    """Seen: 0x4f is 0x4b afterwards."""
    machine = armed(m.NOP, dawrx=0)
    machine.call(b"g")
    write(machine, "dawrx0", 0x4F)
    assert read(machine, "dawrx0") == 0x4F
    machine.breakpoints[TEXT] = 1
    machine.resume(CONTINUE)
    machine.call(b"g")
    assert read(machine, "dawrx0") == 0x4B


@pytest.mark.parametrize("first_only", [True, False])
def test_registers_of_other_vcpus(first_only: bool) -> None:
    """Seen of QEMU 7.2: `p` is E14, and `P` is answered OK and ignored."""
    machine = DawrMachine(2)
    machine.first_only = first_only
    assert b"dawrx0" in machine.description().encode()
    machine.call(b"Hgp1.2")
    machine.call(b"g")
    for name in ("dawr0", "dawrx0", "dar", "dsisr", "srr0"):
        reply = machine.call(b"p%x" % NUMBERS[name])
        assert (reply == b"E14") == first_only, name
        assert write(machine, name, 0x40) == b"OK"
        assert (machine.vcpus[1][name] == 0x40) != first_only, name


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_stub_has_no_watchpoints(kind: int) -> None:
    machine = armed(m.NOP)
    assert machine.call(b"Z%d,%x,8" % (kind, DATA)) == b"E22"
    assert machine.call(b"z%d,%x,8" % (kind, DATA)) == b"E22"


@pytest.mark.parametrize(
    ("arguments", "result", "dawrx"),
    [
        ((0, 2, DATA, STORES | ALWAYS), 0, STORES | ALWAYS),
        ((0, 2, DATA, STORES | ALWAYS | HYP), -57, 0),
        ((0, 5, DATA, STORES | ALWAYS), -2, 0),
        ((1, 2, DATA, STORES | ALWAYS), -256, 0),
    ],
)
def test_h_set_mode(arguments: tuple[int, int, int, int], result: int, dawrx: int) -> None:
    """Seen: SRR0 and SRR1 are lost, CR and CTR change."""
    machine = armed(w.SC1, dawr=0, dawrx=0)
    cpu = machine.cpu
    cpu.update(zip(("r3", "r4", "r5", "r6", "r7"), (H_SET_MODE, *arguments)))
    cpu["r13"] = before = cpu["lr"]
    machine.execute(0)
    assert (cpu["r3"], cpu["dawrx0"]) == (result & (1 << 64) - 1, dawrx)
    assert (cpu["pc"], cpu["msr"], cpu["lr"], cpu["r13"]) == (
        TEXT + 4,
        m.KERNEL,
        before,
        before,
    )
    assert (cpu["srr0"], cpu["srr1"]) == (TEXT + 4, m.KERNEL)
    assert cpu["cr"] != 0x24000042


def test_user_may_not_call_the_hypervisor() -> None:
    machine = armed(w.SC1, state=m.USER)
    machine.execute(0)
    assert machine.cpu["pc"] == VIRTUAL | 0x700


def test_memory_by_the_stub() -> None:
    """Bytes at any address, and writes of them."""
    machine = armed(m.NOP)
    assert machine.call(b"m%x,1" % (DATA + 5)) == b"33"
    assert machine.call(b"m%x,8" % (DATA + 1)) == b"E14"
    assert machine.call(b"M%x,2:aabb" % (DATA + 3)) == b"OK"
    assert machine.call(b"m%x,8" % DATA) == b"887766aabb332211"
    assert machine.call(b"M%x,2:aabb" % (DATA + 7)) == b"E14"


@pytest.mark.parametrize("state", [m.KERNEL, m.REAL, m.KERNEL & ~m.LE])
def test_bare_machine(state: int) -> None:
    """Its handler returns to the access, which matches for ever; of a fault it gets on."""
    machine = bare(w.std(7, 6), vcpus=2, state=state)
    for cpu in machine.vcpus:
        cpu["r6"] = DATA
    machine.faults = {DATA}
    machine.turns = [0]
    machine.breakpoints[TEXT + 4] = 1
    machine.resume(CONTINUE)
    assert machine.cpu["r20"] == 1
    assert machine.cpu["msr"] == state
    machine.turns = [1]
    machine.patience = 90
    machine.vcpus[1].update(dawr0=DATA, dawrx0=STORES | ALWAYS)
    with pytest.raises(Runaway):
        machine.resume(CONTINUE)
    assert machine.vcpus[1]["r20"] == machine.matches == 30
    assert len(machine.call(b"m%x,1000" % TEXT)) == 0x2000

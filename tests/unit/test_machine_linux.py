# SPDX-License-Identifier: MIT
"""The small kernel of the simulated machine does with data storage interrupts what Linux does."""

from __future__ import annotations

import pytest

from . import linux
from . import machine as m
from . import words as w
from .dawr_machine import H_SET_MODE, KERNEL, MATCH, STORES, USER, WTI, DawrMachine
from .engine.bench import CONTINUE
from .machine import TEXT, VIRTUAL

DATA = 0xC000000000C00100
ALWAYS = WTI | KERNEL | USER
VECTOR = VIRTUAL | 0x300
ORDERS = [pytest.param("little", id="little"), pytest.param("big", id="big")]


def with_kernel(
    *code: int, order: linux.Order = "little", vcpus: int = 1, filters: bool = True
) -> DawrMachine:
    """The kernel, and code at TEXT, with r6 at DATA."""
    machine = linux.booted(*code, order=order, vcpus=vcpus, filters=filters)
    for cpu in machine.vcpus:
        cpu.update(r6=DATA, r7=0x55)
    return machine


def until(machine: DawrMachine, address: int, payload: bytes = CONTINUE) -> None:
    """Run to an address."""
    machine.breakpoints[address] += 1
    assert machine.resume(payload)[:3] == b"T05"
    machine.breakpoints[address] -= 1


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ail", [3, 0])
@pytest.mark.parametrize("state", [m.KERNEL, m.USER], ids=["kernel", "user"])
@pytest.mark.parametrize("filters", [True, False], ids=["filter", "none"])
def test_page_fault_changes_nothing_but_what_interrupts_change(
    order: linux.Order, ail: int, state: int, filters: bool
) -> None:
    machine = with_kernel(w.std(7, 6), order=order, filters=filters)
    machine.faults = {DATA}
    cpu = machine.cpu
    cpu["msr"] = state if order == "little" else state & ~m.LE
    cpu["lpcr"] = ail << m.AIL_SHIFT | cpu["lpcr"] & m.ILE
    before = machine.state()
    until(machine, TEXT + 4)
    assert machine.value(DATA, order=order) == 0x55
    assert linux.page_faults(machine, order=order) == 1
    assert linux.breaks(machine, order=order) == 0
    names = {name.partition(".")[2] for name in machine.changed(before)}
    assert names == {"pc", "srr0", "srr1", "sprg2", "dar", "dsisr"}
    assert (cpu["dar"], cpu["dsisr"]) == (DATA, 0x42000000)


def test_words_that_lead_to_do_break() -> None:
    """What was seen in Debian's 6.1: from the vector to the call, without a symbol."""
    machine = with_kernel()

    def word(address: int) -> int:
        return machine.value(address, 4)

    vector = [word(VECTOR + n) for n in range(0, 0x80, 4)]
    end = vector.index(0x4E800420)
    assert vector[0] == 0x7DB243A6  # mtsprg 2,r13
    assert vector[end - 1] == 0x7D4903A6  # mtctr r10
    assert vector[end - 2] >> 16 == 0x614A  # ori r10,r10,IMM
    common = linux.BASE | vector[end - 2] & 0xFFFF
    assert common == linux.COMMON
    at = next(at for at in range(common, common + 0x400, 4) if word(at) == 0x70800040 | 1 << 26)
    assert word(at - 4) == 0x38610070  # addi r3,r1,112
    assert word(at + 4) >> 16 == 0x4082  # bne
    assert at + 4 + (word(at + 4) & 0xFFFC) == linux.SITE
    assert word(linux.SITE) >> 26 == 18 and word(linux.SITE) & 1
    assert linux.SITE + (word(linux.SITE) & 0x03FFFFFC) == linux.DO_BREAK
    assert [word(linux.SC1 + n) for n in (0, 4, 8)] == [0x44000022, 0x38800000, 0x988D0931]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("lpcr", [3 << m.AIL_SHIFT, 0], ids=["AIL=3", "AIL=0"])
@pytest.mark.parametrize("state", [m.KERNEL, m.USER], ids=["kernel", "user"])
def test_call_of_do_break_is_skipped(order: linux.Order, lpcr: int, state: int) -> None:
    """The kernel's own return then undoes the interrupt, and the access is about to be done."""
    machine = with_kernel(w.std(7, 6), order=order)
    cpu = machine.cpu
    cpu["msr"] = state = state if order == "little" else state & ~m.LE
    cpu["lpcr"] = lpcr | cpu["lpcr"] & m.ILE
    cpu.update(dawr0=DATA, dawrx0=STORES | ALWAYS)
    before = machine.state()
    until(machine, linux.SITE)
    regs = cpu["r3"]
    values = [machine.value(regs + at, order=order) for at in (256, 264, 320, 328, 336, 8)]
    assert values == [TEXT, state, 0x300, DATA, MATCH, before[0]["r1"]]
    assert not cpu["msr"] & m.RI
    assert linux.srr_valid(machine) == 1
    cpu["pc"] += 4
    until(machine, TEXT)
    names = {name.partition(".")[2] for name in machine.changed(before)}
    assert names == {"srr0", "srr1", "sprg2", "dar", "dsisr"}
    assert linux.breaks(machine, order=order) == linux.srr_valid(machine) == 0


def system_call(machine: DawrMachine) -> None:
    """The first vCPU's program calls the kernel; it stops before the store to COUNTER."""
    linux.in_program(machine, m.SC)
    machine.cpu["dawr0"] = linux.COUNTER
    until(machine, linux.STORE)
    assert linux.srr_valid(machine) == 1
    machine.cpu["dawrx0"] = STORES | ALWAYS


def test_system_call_survives_a_match_of_which_the_kernel_returns() -> None:
    machine = with_kernel()
    system_call(machine)
    until(machine, linux.SITE)
    machine.cpu["pc"] += 4
    until(machine, linux.STORE)
    machine.cpu["dawrx0"] = 0
    until(machine, linux.PROGRAM + 4)
    assert (machine.cpu["msr"], machine.cpu["r13"]) == (m.USER, 0x7777)
    assert machine.value(linux.COUNTER) == 1


@pytest.mark.parametrize("told", [True, False])
def test_match_that_is_undone_by_pc_and_msr_alone_breaks_the_system_call(told: bool) -> None:
    """SRR0 and SRR1 were the program's, and srr_valid still says so unless it is cleared."""
    machine = with_kernel()
    system_call(machine)
    until(machine, VECTOR)
    cpu = machine.cpu
    cpu.update(pc=cpu["srr0"], msr=cpu["srr1"], dawrx0=0)
    if told:
        machine.call(b"g")
        assert machine.call(b"M%x,1:00" % (linux.paca() + linux.SRR_VALID)) == b"OK"
        until(machine, linux.PROGRAM + 4)
        return
    until(machine, linux.STORE + 4)
    until(machine, linux.STORE)  # the return from the system call has gone there
    assert cpu["r13"] == 0x7777


@pytest.mark.parametrize("filters", [True, False])
def test_guests_own_watchpoint(filters: bool) -> None:
    """The guest sets it by H_SET_MODE; its do_break sets Linux's null watchpoint."""
    own = DATA + 0x40
    machine = with_kernel(m.b(linux.OWN_WATCH - TEXT, link=True), w.std(7, 8), filters=filters)
    machine.cpu.update(r6=own, r7=STORES | ALWAYS, r8=own)
    until(machine, TEXT + 4)
    assert (machine.cpu["dawr0"], machine.cpu["dawrx0"]) == (own, STORES | ALWAYS)
    machine.cpu.update(r7=0x55, r8=own)
    until(machine, TEXT + 8)
    assert linux.breaks(machine) == 1
    assert (machine.cpu["dawr0"], machine.cpu["dawrx0"]) == (0, 0xFC00)
    assert machine.value(own) == 0x55


def test_watch_of_the_frame_hits_the_kernels_entry() -> None:
    """Seen: with RI=0 and SRR0 and SRR1 live, so it cannot be undone."""
    machine = with_kernel(w.std(7, 6))
    machine.faults = {DATA}
    frame = machine.cpu["r1"] - linux.FRAME + linux.PT
    machine.cpu.update(dawr0=frame + 256, dawrx0=STORES | ALWAYS)
    until(machine, VECTOR)
    until(machine, linux.COMMON)
    until(machine, VECTOR)
    assert not machine.cpu["srr1"] & m.RI
    assert linux.COMMON <= machine.cpu["srr0"] < linux.FILTER


def test_second_vcpu_arms_by_its_own_hypercall() -> None:
    """The way of the prototype: the kernel's sc 1, run to behind its store to srr_valid."""
    machine = with_kernel(w.std(7, 6), vcpus=2)
    machine.call(b"Hgp1.2")
    cpu = machine.vcpus[1]
    before = dict(cpu)
    cpu.update(r3=H_SET_MODE, r4=0, r5=2, r6=DATA, r7=STORES | ALWAYS)
    cpu.update(pc=linux.SC1, msr=0x8000000000001033)
    machine.put_value(linux.paca(1) + linux.SRR_VALID, 1, size=1)
    until(machine, linux.SC1 + 12, b"vCont;c:p1.2")
    assert cpu["r3"] == linux.srr_valid(machine, 1) == 0
    cpu.update({name: before[name] for name in before if name not in ("dawr0", "dawrx0")})
    until(machine, linux.SITE, b"vCont;c:p1.2")
    assert (cpu["dar"], machine.matches) == (DATA, 1)
    machine.turns = [0]
    until(machine, TEXT + 4, b"vCont;c:p1.1")  # the first has none
    assert machine.matches == 1

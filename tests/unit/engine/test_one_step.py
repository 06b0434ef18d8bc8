# SPDX-License-Identifier: MIT
"""One instruction leaves what it leaves natively, whatever it is and wherever it runs."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, REAL, SE, TEXT, TRACE, USER
from .bench import MODES, bench, program

WORDS = {
    "nop": m.NOP,
    "addi": m.addi(4, 5, -3),
    "lbz": m.lbz(5, 6),
    "b forward": m.b(0x40),
    "b backward": m.b(-0x40),
    "bl": m.b(0x40, link=True),
    "blr": m.BLR,
    "b .": m.SELF,
    "bdnz taken": m.bdnz(0x40),
    "mtsrr0": m.mtspr("srr0", 5),
    "mtsrr1": m.mtspr("srr1", 5),
    "mtlr": m.mtspr("lr", 5),
    "mfsrr0": m.mfspr(7, "srr0"),
    "mfsrr1": m.mfspr(7, "srr1"),
    "mflr": m.mfspr(7, "lr"),
    "mtsprg3": m.mtspr("sprg3", 5),
    "mfsprg3": m.mfspr(7, "sprg3"),
    "mfmsr": m.mfmsr(7),
    "mtmsrd 1": m.mtmsrd(5, 1),
    "mtmsrd": m.mtmsrd(3),
    "rfid": m.RFID,
    "sc": m.SC,
    "trap": m.TRAP,
    "or 1,1,1": m.hint(1),
}


@pytest.mark.parametrize(("state", "lpcr"), MODES.values(), ids=MODES)
@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_step_leaves_every_register_as_native(word: int, state: int, lpcr: int) -> None:
    machine = program(word, state=state, lpcr=lpcr)
    machine.cpu["r3"] = state ^ m.EE  # for mtmsrd
    native = machine.native()
    on = bench(machine)
    assert on.step().thread == b"p1.1"
    assert machine.changed(native) == {}
    assert on.engine.steps == 1
    on.clean()


@pytest.mark.parametrize(
    "value",
    [KERNEL, REAL, REAL | m.IR, USER, KERNEL & ~m.SF | m.EE, KERNEL | SE, REAL | SE],
    ids=["as it is", "real", "IR only", "user", "32-bit", "SE", "real with SE"],
)
@pytest.mark.parametrize("state", [KERNEL, REAL], ids=["kernel", "real mode"])
def test_step_over_mtmsrd_leaves_the_msr_that_it_wrote(state: int, value: int) -> None:
    """SE too, if it wrote that: then it is the guest's own."""
    machine = program(m.mtmsrd(3), state=state)
    machine.cpu["r3"] = value
    if not value & m.SF:
        machine.cpu["pc"] = TEXT & 0xFFFFFFFF
        machine.put(TEXT & 0xFFFFFFFF, m.mtmsrd(3), m.SELF)
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["msr"] & SE == value & SE
    assert machine.planted == {}
    assert on.engine.outstanding == []


def test_step_over_mtmsrd_where_the_new_se_decides() -> None:
    """A CPU may take the Trace interrupt by the new MSR[SE], here 0: it arrives without one."""
    machine = program(m.mtmsrd(3))
    machine.se_after = True
    machine.cpu["r3"] = REAL
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize(
    "srr1",
    [USER, KERNEL, KERNEL | 0x40000000, REAL, KERNEL & ~m.LE, USER & ~(m.IR | m.EE), KERNEL | m.HV],
)
def test_rfid_is_emulated_without_running_the_guest(srr1: int) -> None:
    machine = program(m.RFID)
    machine.cpu.update(srr0=0x10000403, srr1=srr1)
    native = machine.native()
    on = bench(machine)
    assert on.step().payload == b"T05thread:p1.1;"
    assert machine.changed(native) == {}
    assert machine.resumes == []
    assert on.engine.steps == 1


def test_rfid_sets_cfar_where_the_stub_has_it() -> None:
    """Power ISA 3.1B Book III: CFAR gets the address of the rfid."""
    machine = program(m.RFID)
    machine.absent.clear()
    machine.cpu.update(srr0=TEXT + 0x40, srr1=KERNEL, cfar=0x1234)
    on = bench(machine)
    on.step()
    assert machine.cpu["cfar"] == TEXT


def test_step_from_a_breakpoint_of_gdbs_lifts_it() -> None:
    """gdb does not lift it itself where pc was set to it, or another vCPU stands at it."""
    machine = program(m.addi(4, 4, 1), vcpus=2)
    native = machine.native()
    machine.breakpoints[TEXT] = 1
    on = bench(machine)
    on.gdb_plants(TEXT)
    on.step()
    assert machine.changed(native) == {}
    assert machine.resumes == [b"vCont;c:p1.1"], "the other vCPU does not get past it"
    on.clean([TEXT])


def test_rfid_into_a_context_that_traces_itself_keeps_the_guests_se() -> None:
    machine = program(m.RFID)
    machine.cpu.update(srr0=0x10000400, srr1=USER | SE)
    on = bench(machine)
    on.step()
    assert (machine.cpu["pc"], machine.cpu["msr"]) == (0x10000400, USER | SE)


def test_rfid_takes_tm_from_srr1() -> None:
    """A kernel with MSR[TM]=0 returns to a task with SRR1[TM]=1; QEMU do_rfi copies it."""
    machine = program(m.RFID)
    machine.cpu.update(srr0=0x10000400, srr1=USER | m.TM)
    on = bench(machine)
    on.step()
    assert machine.cpu["msr"] == USER | m.TM


def test_many_steps_follow_a_loop() -> None:
    machine = program(m.addi(4, 4, 1), m.bdnz(-4), m.addi(5, 0, 7))
    machine.cpu.update(r4=0, ctr=5)
    native = machine.native(steps=11)
    on = bench(machine)
    for _ in range(11):
        on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["r4"] == 5
    assert on.engine.steps == 11
    on.clean()


def test_step_at_the_trace_vector_itself() -> None:
    machine = program()
    machine.put(TRACE, m.addi(4, 4, 1), m.SELF)
    machine.cpu["pc"] = TRACE
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize("word", [m.NOP, m.b(0x20), m.bdnz(0x20), m.RFID, m.SC])
@pytest.mark.parametrize("pc", [0x100, 0x300, 0x304, 0xCFC, 0xD00, 0xD04, 0xEFC])
def test_step_in_the_real_mode_vectors(pc: int, word: int) -> None:
    machine = program(state=REAL)
    machine.put(pc, word, m.SELF)
    machine.cpu["pc"] = pc
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_step_of_a_guest_with_own_se_ends_at_its_trace_vector() -> None:
    machine = program(m.NOP, state=KERNEL | SE)
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["pc"] == TRACE
    assert machine.cpu["srr1"] & SE, "as the guest set it"
    assert machine.planted == {}
    assert on.engine.outstanding == []

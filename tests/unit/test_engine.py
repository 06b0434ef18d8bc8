# SPDX-License-Identifier: MIT
"""The engine on a simulated machine whose stub ignores step requests.

What a step has to leave is what `Machine.native` leaves: one instruction, executed without anything
of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple

import pytest

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.engine.engine import Engine
from gdb_ppc_sstep.errors import SstepError, StubGone, StubRefused
from gdb_ppc_sstep.options import Interrupts
from gdb_ppc_sstep.rsp.resume import StopReply, parse_resume
from gdb_ppc_sstep.stub.stub import Stub, introduce

from . import machine as m
from .machine import KERNEL, REAL, SE, TEXT, TRACE, USER, VIRTUAL, FakeLink, Machine, Runaway

STEP = b"vCont;s:p1.1;c:p1.-1"
STEP_2 = b"vCont;s:p1.2;c:p1.-1"
CONTINUE = b"vCont;c:p1.-1"
DSI = VIRTUAL | 0x300
CTRL_C = b"T02thread:p01.01;"


class Bench(NamedTuple):
    """An engine and what it works on."""

    machine: Machine
    link: FakeLink
    stub: Stub
    engine: Engine
    log: list[str]
    records: list[str]
    """Its records, one after another."""

    def resume(self, payload: bytes) -> StopReply:
        """What a resume packet from gdb ends with."""
        request = parse_resume(payload)
        assert request is not None
        try:
            return self.engine.resume(request)
        finally:
            assert self.records[-1] == record.written(self.engine)

    def step(self, payload: bytes = STEP) -> StopReply:
        """A step that ends as one does."""
        stop = self.resume(payload)
        assert stop.signal == 5
        return stop

    def ahead(self, arm: bool) -> None:
        """What comes before the next step."""
        request = parse_resume(STEP)
        assert request is not None
        self.engine.prepare(request, arm=arm)

    def clean(self, breakpoints: Collection[int] = ()) -> None:
        """Nothing of ours is left in the guest, and gdb's breakpoints are where they were."""
        assert self.machine.planted == dict.fromkeys(breakpoints, 1)
        assert self.engine.outstanding == []
        assert self.records[-1] == ""
        for cpu in self.machine.vcpus:
            assert not cpu["msr"] & SE
            assert not cpu["msr"] & m.PR or cpu["msr"] & m.EE


def bench(machine: Machine) -> Bench:
    """An engine on a machine, after what a door does first."""
    link = FakeLink(machine)
    stub = Stub(link, machine.registers(), kvm=machine.kvm)
    stub.select(b"p1.1")
    log: list[str] = []
    engine = Engine(stub, lambda line, *values: log.append(line.format(*values)))
    records = [""]
    engine.note = lambda: records.append(record.written(engine))
    return Bench(machine, link, stub, engine, log, records)


def program(*words: int, vcpus: int = 1, state: int = KERNEL, lpcr: int | None = None) -> Machine:
    """A machine with code at TEXT that ends in a loop, in the byte order of `state`."""
    machine = Machine(vcpus) if lpcr is None else Machine(vcpus, lpcr=lpcr)
    machine.put(TEXT, *words, m.SELF, order="little" if state & m.LE else "big")
    for cpu in machine.vcpus:
        cpu["msr"] = state
    return machine


# -- one instruction is what it is natively

AIL0, AIL2, AIL3 = 0, 2 << m.AIL_SHIFT, 3 << m.AIL_SHIFT

MODES = {
    "little-endian, AIL=3": (KERNEL, AIL3 | m.ILE),
    "little-endian, AIL=2": (KERNEL, AIL2 | m.ILE),
    "little-endian, AIL=0": (KERNEL, AIL0 | m.ILE),
    "big-endian, AIL=3": (KERNEL & ~m.LE, AIL3),
    "big-endian with little-endian interrupts": (KERNEL & ~m.LE, AIL3 | m.ILE),
    "little-endian with big-endian interrupts": (KERNEL, AIL3),
    "little-endian with big-endian interrupts, AIL=0": (KERNEL, AIL0),
    "real mode": (REAL, AIL3 | m.ILE),
    "real mode with big-endian interrupts": (REAL, AIL3),
    "IR=1 DR=0": (REAL | m.IR, AIL3 | m.ILE),
    "IR=0 DR=1": (REAL | m.DR, AIL3 | m.ILE),
    "problem state": (USER, AIL3 | m.ILE),
    "problem state, little-endian with big-endian interrupts": (USER, AIL3),
}
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
    on.engine.breakpoints = {b"0,%x,4" % TEXT: TEXT}
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


# -- what is sent to the stub


def test_ordinary_step_resumes_as_gdb_asked() -> None:
    """The other vCPUs run meanwhile, as with a stub that steps."""
    on = bench(program(m.NOP, vcpus=2))
    on.machine.frozen = {1}
    on.step()
    assert on.machine.resumes == [b"vCont;c:p1.1;c:p1.-1"]


@pytest.mark.parametrize(
    ("word", "state", "alone"),
    [
        (m.SC, KERNEL, False),
        (m.TRAP, KERNEL, False),
        (m.mtmsrd(3), KERNEL, True),
        (m.mtmsrd(3), KERNEL & ~m.EE, False),
    ],
    ids=["sc", "trap", "mtmsrd", "mtmsrd with EE=0"],
)
def test_step_with_breakpoints_in_code_resumes_only_its_vcpu_if_it_can_wait_for_nobody(
    word: int, state: int, alone: bool
) -> None:
    machine = program(word, vcpus=2, state=state)
    machine.cpu["r3"] = KERNEL
    machine.frozen = {1}
    on = bench(machine)
    on.step()
    assert machine.resumes == [b"vCont;c:p1.1" if alone else b"vCont;c:p1.1;c:p1.-1"]


def test_another_vcpu_passes_where_a_step_lands() -> None:
    machine = program(m.NOP, m.addi(20, 20, 1), m.b(-4), vcpus=2, state=USER)
    machine.first_only = True
    machine.cpu.update(pc=TEXT + 4, r20=0)
    machine.turns = [0] * 7 + [1]
    on = bench(machine)
    assert on.step(STEP_2).thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == TEXT + 4
    assert machine.cpu["r20"] >= 3
    assert b"vCont;c:p1.1" in machine.resumes
    on.clean()


def test_a_step_lands_on_the_vcpu_that_the_task_has_gone_to() -> None:
    machine = program(m.NOP, m.addi(20, 20, 1), m.b(-4), vcpus=2, state=USER)
    machine.first_only = True
    machine.frozen = {1}
    machine.cpu.update(pc=TEXT + 4, r1=machine.vcpus[1]["r1"])
    on = bench(machine)
    assert on.step(STEP_2).thread == b"p1.1"
    on.clean()


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (b"s", b"c"),
        (b"S05", b"C05"),
        (b"vCont;s", b"vCont;c"),
        (b"vCont;S0b:p1.1;c:p1.-1", b"vCont;C0b:p1.1;c:p1.-1"),
        (b"vCont;s:p1.-1", b"vCont;c:p1.-1"),
        (b"vCont;rc000000000010000,c000000000010004:p1.1", b"vCont;c:p1.1"),
    ],
)
def test_every_form_of_step_is_one_step(payload: bytes, sent: bytes) -> None:
    machine = program(m.addi(4, 4, 1))
    native = machine.native()
    on = bench(machine)
    on.step(payload)
    assert machine.changed(native) == {}
    assert machine.resumes == [sent]


def test_continue_is_sent_as_it_is_and_plants_nothing() -> None:
    machine = program(m.NOP, m.NOP)
    machine.breakpoints[TEXT + 8] = 1
    on = bench(machine)
    machine.packets.clear()
    stop = on.resume(b"vCont;C05:p1.1;c")
    assert stop.payload == b"T05thread:p01.01;"
    assert machine.packets == [b"vCont;C05:p1.1;c"]
    assert on.engine.steps == 0


def test_step_of_the_second_vcpu() -> None:
    machine = program(m.addi(4, 4, 1), vcpus=2)
    machine.frozen = {0}
    native = machine.native(1)
    on = bench(machine)
    assert on.step(STEP_2).thread == b"p1.2"
    assert machine.changed(native) == {}
    on.clean()


# -- what the stub refuses


def unchanged(on: Bench, payload: bytes = STEP, error: type[SstepError] = StubRefused) -> str:
    """The line of the error that a step ends with, which leaves the guest as it was."""
    before = on.machine.state()
    planted = on.machine.planted
    with pytest.raises(error) as raised:
        on.resume(payload)
    assert on.machine.changed(before) == {}
    assert on.machine.planted == planted
    assert on.machine.resumes == []
    assert on.engine.outstanding == []
    assert on.engine.steps == 0
    return str(raised.value)


def test_refused_breakpoint_is_an_error_that_names_it() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"Z0"] = b"E22"
    assert "0xc000000000004d00" in (line := unchanged(on))
    assert "E22" in line


def test_refused_landing_breakpoint_is_an_error() -> None:
    on = bench(program(m.SC))
    on.machine.reply[b"Z0"] = b"E22"
    assert "0xc000000000004c00" in unchanged(on)


def test_refused_breakpoint_that_is_only_for_safety_is_none() -> None:
    machine = program(m.mtmsrd(3))
    machine.cpu["r3"] = KERNEL
    machine.reply[b"Z0,%x," % (TEXT + 4)] = b"E22"
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_refused_msr_leaves_nothing_planted() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"P41=3314"] = b"E01"  # with SE=1 and EE=0
    assert "msr" in unchanged(on)
    assert b"Z0,c000000000004d00,4" in on.machine.packets
    assert on.machine.packets[-1] == b"z0,c000000000004d00,4"


def test_unreadable_instruction_is_an_error_that_names_it() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"m"] = b"E14"
    assert unchanged(on) == f"cannot read the instruction at {TEXT:#x}"
    assert not [packet for packet in on.machine.packets if packet[:1] == b"Z"]


def test_unreadable_pc_is_an_error() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"p40"] = b"E14"
    assert "pc" in unchanged(on)


@pytest.mark.parametrize("name", ["srr0", "srr1"])
def test_description_without_srr0_or_srr1_is_an_error(name: str) -> None:
    machine = program(m.NOP)
    machine.absent.add(name)
    assert name in unchanged(bench(machine))


def test_refused_thread_is_an_error() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"Hgp1.1"] = b"E22"
    on.stub.changed(None)
    assert "p1.1" in unchanged(on)


def test_refused_removal_does_not_hide_the_stop() -> None:
    machine = program(m.NOP)
    machine.reply[b"z0"] = b"E22"
    on = bench(machine)
    on.step()
    assert machine.cpu["pc"] == TEXT + 4
    assert [line for line in on.log if "to remove" in line and "0xc000000000004d00" in line]


@pytest.mark.parametrize("how", ["absent", "E14"])
def test_without_lpcr_the_error_names_the_setting(how: str) -> None:
    machine = program(m.NOP)
    if how == "absent":
        machine.absent.add("lpcr")
    else:
        machine.reply[b"p%x" % m.NUMBERS["lpcr"]] = b"E14"
    assert "set ppc-sstep ail" in unchanged(bench(machine), error=SstepError)


@pytest.mark.parametrize("ail", [0, 2, 3])
def test_without_lpcr_the_users_ail_is_taken(ail: int) -> None:
    machine = program(m.NOP, lpcr=ail << m.AIL_SHIFT | m.ILE)
    machine.absent.add("lpcr")
    native = machine.native()
    on = bench(machine)
    on.engine.ail = ail
    on.step()
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize("state", [REAL, REAL | m.IR, REAL | m.DR])
def test_lpcr_is_not_needed_without_translation(state: int) -> None:
    machine = program(m.NOP, state=state)
    machine.absent.add("lpcr")
    on = bench(machine)
    on.step()
    assert machine.cpu["pc"] == TEXT + 4


def test_lpcr_is_not_read_without_translation() -> None:
    on = bench(program(m.NOP, state=REAL))
    on.step()
    assert b"p%x" % m.NUMBERS["lpcr"] not in on.machine.packets


def test_stub_that_goes_away_in_a_step_is_not_hidden() -> None:
    on = bench(program(m.NOP))

    def hook(payload: bytes) -> None:
        if payload.startswith((b"vCont", b"z0")):
            raise StubGone("gone")

    on.link.hook = hook
    with pytest.raises(StubGone, match="gone"):
        on.resume(STEP)


# -- SPRs on the first vCPU only (QEMU 7.2)


@pytest.mark.parametrize(
    ("word", "lands"),
    [
        (m.NOP, b"Z0,c000000000010004,4"),
        (m.SC, b"Z0,c000000000004c00,4"),
        (m.TRAP, b"Z0,c000000000004700,4"),
        (m.mfmsr(7), b"Z0,c000000000010004,4"),
        (m.mtspr("srr0", 5), b"Z0,c000000000010004,4"),
    ],
)
def test_vcpu_without_srrs_lands_on_the_successors(word: int, lands: bytes) -> None:
    machine = program(word, vcpus=2)
    machine.put(TEXT + 0x40, m.SELF)
    machine.put(TEXT + 0x80, m.SELF)
    machine.first_only = True
    machine.vcpus[1]["lr"] = TEXT + 0x80
    machine.frozen = {0}
    native = machine.native(1)
    on = bench(machine)
    stop = on.step(STEP_2)
    assert stop.thread == b"p1.2"
    assert machine.changed(native) == {}
    assert lands in machine.packets
    assert machine.resumes == [b"vCont;c:p1.2;c:p1.-1"]
    assert machine.selected == 1, "the thread that gdb counts on"
    on.clean()


def test_vcpu_without_srrs_cannot_step_rfid_and_says_so() -> None:
    machine = program(m.RFID, vcpus=2)
    machine.first_only = True
    assert "srr0" in unchanged(bench(machine), STEP_2)


# -- the stub of a QEMU with KVM (FACTS, "QEMU's stub")


@pytest.mark.parametrize(
    ("state", "pc"),
    [(KERNEL, TEXT), (REAL, TEXT), (USER, 0x10000000)],
    ids=["kernel", "real mode", "user"],
)
def test_step_under_kvm(state: int, pc: int) -> None:
    """After each stop `p` tells the registers of the stop before until `g` or `m` is asked, and
    `P` is lost; the vector is found only with PR=0 in the MSR that was last written, and an
    address of problem state only with PR=1."""
    machine = program(m.NOP, state=state)
    machine.put(pc, *[m.addi(4, 4, 1)] * 3, m.SELF)
    machine.cpu["pc"] = pc
    machine.kvm = True
    native = machine.native(steps=3)
    on = bench(machine)
    for _ in range(3):
        on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_step_under_kvm_over_what_turns_translation_off() -> None:
    """Z0 and z0 at 0xd00 are refused while the MSR last written has IR=DR=1."""
    machine = program(m.mtmsrd(3))
    machine.cpu["r3"] = REAL
    machine.kvm = True
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_breakpoints_that_qemu_does_not_believe() -> None:
    """After a hypercall with a result other than 0, unless a step request resumes the vCPU."""
    machine = program(*[m.NOP] * 3)
    machine.kvm = True
    machine.deaf = {0}
    on = bench(machine)
    with pytest.raises(Runaway):
        on.step()
    machine = program(*[m.NOP] * 3)
    machine.kvm = True
    machine.deaf = {0}
    native = machine.native(steps=2)
    on = bench(machine)
    on.stub.hv = True
    on.step()
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    on.step(b"vCont;c:p1.-1")
    assert machine.changed(native) == {}
    assert all(packet.startswith(b"vCont;s") for packet in machine.resumes)


def test_instruction_under_a_breakpoint_with_kvm() -> None:
    """Its word is in memory; here it hides an instruction that is not traced as others are."""
    machine = program(m.RFID)
    machine.kvm = True
    machine.cpu.update(srr0=TEXT + 4, srr1=KERNEL)
    native = machine.native()
    machine.breakpoints[TEXT] = 1
    on = bench(machine)
    on.engine.breakpoints = {b"0,%x,4" % TEXT: TEXT}
    on.step()
    assert machine.changed(native) == {}
    on.clean([TEXT])


@pytest.mark.parametrize(
    ("kvm", "lpcr", "hv"), [(True, 3, True), (True, 0, False), (False, 3, False)]
)
def test_kvm_hv_is_told_from_kvm_pr_by_lpcr(kvm: bool, lpcr: int, hv: bool) -> None:
    """KVM PR steps, and tells no bit of LPCR but ILE."""
    machine = program(m.NOP, lpcr=lpcr << m.AIL_SHIFT | m.ILE)
    machine.kvm = kvm
    machine.reply[b"qXfer"] = b"l" + machine.description().encode()
    assert introduce(FakeLink(machine), kvm=kvm).hv == hv


# -- the step is interrupted


def test_ctrl_c_before_the_instruction_takes_se_back() -> None:
    machine = program(m.NOP)
    before = machine.state()
    machine.stop_at[0, TEXT] = CTRL_C
    on = bench(machine)
    assert on.resume(STEP).payload == CTRL_C
    assert machine.changed(before) == {}
    on.clean()


def test_ctrl_c_after_the_instruction_is_collected() -> None:
    """The vCPU stands at the Trace vector already when the stub stops it for something else."""
    machine = program(m.addi(4, 4, 1))
    native = machine.native()
    machine.stop_at[0, TRACE] = CTRL_C
    on = bench(machine)
    assert on.resume(STEP).signal == 2
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize(("offset", "word"), [(0x300, m.lbz(5, 6)), (0x500, m.NOP)])
@pytest.mark.parametrize(
    ("state", "base"), [(KERNEL, VIRTUAL), (REAL, 0), (KERNEL & ~m.LE, VIRTUAL)]
)
def test_ctrl_c_at_the_first_instruction_of_a_handler_disarms_srr1(
    state: int, base: int, offset: int, word: int
) -> None:
    machine = program(word, state=state)
    machine.put(base | offset, m.NOP, m.RFID)
    machine.interrupt_at[0, TEXT] = offset
    native = machine.native()
    machine.stop_at[0, base | offset] = CTRL_C
    on = bench(machine)
    assert on.resume(STEP).signal == 2
    assert machine.changed(native) == {}
    assert machine.cpu["srr1"] == state
    on.clean()


OVER = Interrupts.OVER


def faulting(vcpus: int = 1, *, handler: tuple[int, ...] = ()) -> Machine:
    """lbz at TEXT faults once; the handler counts in r20 and returns.  r21 counts behind TEXT."""
    machine = program(m.lbz(5, 6), m.addi(21, 21, 1), m.NOP, vcpus=vcpus)
    machine.put(DSI, m.addi(20, 20, 1), *handler, m.NOP, m.RFID)
    machine.cpu.update(r6=0x1234, r20=0, r21=0)
    machine.faults.add(0x1234)
    return machine


@pytest.mark.parametrize(("state", "lpcr"), MODES.values(), ids=MODES)
def test_step_into_a_fault_ends_at_its_vector(state: int, lpcr: int) -> None:
    """As native stepping; the handler does not see our MSR[SE] in SRR1."""
    machine = program(m.lbz(5, 6), state=state, lpcr=lpcr)
    machine.cpu.update(r6=0x1234)
    machine.faults.add(0x1234)
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["pc"] & 0xFFF == 0x300
    assert on.engine.steps == 1
    on.clean()


def test_step_into_a_fault_of_the_fetch() -> None:
    """The stub can read what the guest may not execute."""
    machine = program(m.NOP)
    machine.interrupt_at[0, TEXT] = 0x400
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_fetch_is_watched_once_a_page() -> None:
    machine = program(m.NOP, m.NOP, m.b(0x2000))
    machine.put(TEXT + 0x2008, m.NOP)
    on = bench(machine)
    watched = []
    for _ in range(4):
        machine.packets.clear()
        on.step()
        watched.append(b"Z0,c000000000004400,4" in machine.packets)
    assert watched == [True, False, False, True]


def test_another_vcpu_passes_a_vector_that_is_watched() -> None:
    """It is let through there, and gdb hears of the step only."""
    machine = faulting(vcpus=2)
    machine.faults.clear()
    machine.vcpus[1]["pc"] = TEXT + 8
    machine.put(TEXT + 8, m.NOP, m.SELF)
    machine.interrupt_at[1, TEXT + 8] = 0x300
    machine.vcpus[1].update(r20=0)
    machine.turns = [1, 1, 1, 1, 1, 1, 0]
    on = bench(machine)
    assert on.step().thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 4
    assert machine.vcpus[1]["r20"] == 1, "its handler ran"
    assert b"vCont;c:p1.2" in machine.resumes
    assert machine.selected == 0
    on.clean()


def test_a_fault_within_an_interrupt_from_outside_is_passed() -> None:
    """The vCPU that is stepped takes an interrupt first, whose handler faults for itself."""
    machine = program(m.lbz(5, 6), m.NOP)
    machine.interrupt_at[0, TEXT] = 0x500
    machine.put(VIRTUAL | 0x500, m.mfspr(25, "srr0"), m.mfspr(26, "srr1"), m.lbz(7, 8), m.NOP)
    machine.put(VIRTUAL | 0x510, m.mtspr("srr0", 25), m.mtspr("srr1", 26), m.RFID)
    machine.put(DSI, m.addi(20, 20, 1), m.RFID)
    machine.faults.add(0x5678)
    machine.cpu.update(r6=0x1234, r8=0x5678, r20=0)
    srrs = machine.cpu["srr0"], machine.cpu["srr1"]
    on = bench(machine)
    on.step()
    assert (machine.cpu["pc"], machine.cpu["r5"], machine.cpu["r20"]) == (TEXT + 4, 0x5A, 1)
    assert (machine.cpu["srr0"], machine.cpu["srr1"]) == srrs
    on.clean()


# -- interrupts from outside


def pending(*words: int, vcpus: int = 1) -> Bench:
    """An interrupt waits; its handler counts in r20 and returns."""
    machine = program(*words, vcpus=vcpus)
    machine.put(VIRTUAL | 0x500, m.addi(20, 20, 1), m.RFID)
    for n, cpu in enumerate(machine.vcpus):
        machine.pending[n] = 0x500
        cpu.update(r3=KERNEL & ~m.EE, r6=0x1234, r20=0)
    return bench(machine)


@pytest.mark.parametrize(
    "word",
    [
        *(m.NOP, m.lbz(5, 6), m.b(8), m.TRAP, m.hint(1), m.mfmsr(7), m.mtmsrd(3), m.mtmsrd(3, 1)),
        *(m.mtspr("srr1", 5), m.mfspr(7, "srr1")),
    ],
)
def test_interrupt_from_outside_waits_for_a_step(word: int) -> None:
    on = pending(word)
    waiting, on.machine.pending = on.machine.pending, {}
    native = on.machine.native()
    on.machine.pending = waiting
    on.step()
    assert on.machine.changed(native) == {}
    assert on.machine.pending == {0: 0x500}
    on.clean()


def test_interrupt_from_outside_comes_first_when_it_is_not_masked() -> None:
    on = pending(m.NOP)
    on.engine.mask_interrupts = False
    on.step()
    assert (on.machine.cpu["pc"], on.machine.cpu["r20"]) == (TEXT + 4, 1)
    on.clean()


@pytest.mark.parametrize(
    ("payload", "breakpoint_"), [(b"vCont;s:p1.1", False), (STEP, True)], ids=["asked", "lifted"]
)
def test_what_is_stepped_alone_takes_no_interrupt_from_outside(
    payload: bytes, breakpoint_: bool
) -> None:
    """Masked or not: its handler may wait for a lock that a vCPU has which stands still."""
    on = pending(m.NOP, vcpus=2)
    on.engine.mask_interrupts = False
    if breakpoint_:
        on.machine.breakpoints[TEXT] = 1
        on.engine.breakpoints = {b"0,%x,4" % TEXT: TEXT}
    on.step(payload)
    assert (on.machine.cpu["pc"], on.machine.cpu["r20"]) == (TEXT + 4, 0)
    on.clean([TEXT] * breakpoint_)


@pytest.mark.parametrize("state", [KERNEL & ~m.EE, USER], ids=["EE=0", "problem state"])
def test_what_cannot_be_masked_is_left_alone(state: int) -> None:
    on = bench(program(m.NOP, state=state))
    on.step()
    (armed,) = {line for line in on.machine.packets if line.startswith(b"P41=")} - {
        b"P41=" + state.to_bytes(8, "little").hex().encode()
    }
    assert armed == b"P41=" + (state | SE).to_bytes(8, "little").hex().encode()


@pytest.mark.parametrize("over", [False, True], ids=["into", "over"])
def test_handler_of_a_fault_sees_the_guests_own_ee(over: bool) -> None:
    on = pending(m.lbz(5, 6), m.NOP)
    on.machine.faults.add(0x1234)
    on.machine.put(DSI, m.mfspr(25, "srr1"), m.mtspr("srr1", 25), m.RFID)
    on.engine.interrupts = Interrupts.OVER if over else Interrupts.INTO
    on.step()
    if over:
        assert on.machine.cpu["r25"] & ~SE == KERNEL
        assert (on.machine.cpu["pc"], on.machine.cpu["r5"]) == (TEXT + 4, 0x5A)
        assert on.machine.cpu["msr"] == KERNEL
    else:
        assert (on.machine.cpu["pc"], on.machine.cpu["srr1"]) == (DSI, KERNEL)
        assert on.machine.pending
    on.clean()


def test_fault_within_an_atomic_sequence_is_passed_with_the_guests_own_ee() -> None:
    on = pending(m.LWARX, m.lbz(5, 6), m.STWCX, m.NOP)
    on.machine.faults.add(0x1234)
    on.machine.put(DSI, m.mfspr(25, "srr1"), m.RFID)
    on.step()
    assert (on.machine.cpu["r25"], on.machine.cpu["msr"]) == (KERNEL, KERNEL)
    assert (on.machine.cpu["pc"], on.machine.cpu["r5"]) == (TEXT + 12, 0x5A)
    on.clean()


def test_vector_that_cannot_be_watched_leaves_interrupts_as_they_are() -> None:
    on = pending(m.lbz(5, 6), m.NOP)
    on.machine.reply[b"Z0,c000000000004300"] = b"E22"
    on.step()
    assert (on.machine.cpu["pc"], on.machine.cpu["r20"]) == (TEXT + 4, 1)
    on.clean()


@pytest.mark.parametrize("place", [TEXT, TRACE], ids=["before", "after"])
def test_ctrl_c_gives_ee_back(place: int) -> None:
    on = pending(m.NOP)
    on.machine.stop_at[0, place] = CTRL_C
    assert on.resume(STEP).signal == 2
    assert on.machine.cpu["msr"] == KERNEL
    assert on.machine.cpu["pc"] == (TEXT if place == TEXT else TEXT + 4)
    on.clean()


@pytest.mark.parametrize("place", [TEXT, TEXT + 4], ids=["before", "within"])
def test_ctrl_c_in_an_atomic_sequence_gives_ee_back(place: int) -> None:
    on = pending(m.LWARX, m.NOP, m.STWCX, m.NOP)
    on.machine.stop_at[0, place] = CTRL_C
    assert on.resume(STEP).signal == 2
    assert (on.machine.cpu["pc"], on.machine.cpu["msr"]) == (place, KERNEL)
    on.clean()


def test_vcpu_without_srr1_masks_what_cannot_fault() -> None:
    on = pending(m.NOP, m.lbz(5, 6), m.NOP, vcpus=2)
    on.machine.first_only = True
    results = []
    for _ in range(3):  # the first fetch of a page may fault
        on.step(STEP_2)
        results.append(on.machine.vcpus[1]["r20"])
        on.machine.pending[1] = 0x500
        on.machine.vcpus[1]["msr"] |= m.EE
    assert results == [1, 2, 2]
    on.clean()


def test_ctrl_c_is_told_of_a_thread_that_was_resumed() -> None:
    """QEMU's stop reply names the first vCPU; gdb ends with an internal error then."""
    machine = program(m.SELF, vcpus=2)
    machine.stop_at[1, TEXT] = CTRL_C
    on = bench(machine)
    stop = on.resume(b"vCont;c:p1.2")
    assert (stop.signal, stop.thread) == (2, b"p1.2")
    machine.stop_at[1, TEXT] = CTRL_C
    assert on.resume(CONTINUE).thread == b"p1.1"
    on.clean()


# -- SRR0 and SRR1 of other vCPUs, with QEMU 7.2

LENDING = 0xC000000000000000  # where Linux has the code of its real-mode vectors


RFSCV = 0x4C0000A4


def lending(*words: int) -> Bench:
    """The second vCPU's SRRs are to be had by instructions of the guest's only."""
    machine = program(*words, vcpus=2)
    machine.first_only = True
    for place in range(LENDING, LENDING + 0x1000, 4):
        machine.put(place, m.NOP)
    machine.put(LENDING + 0x190, m.mfspr(11, "srr0"), m.mfspr(12, "srr1"), m.mtspr("srr1", 12))
    machine.put(VIRTUAL | 0x500, m.addi(20, 20, 1), m.RFID)
    machine.vcpus[1].update(r6=0x1234, r20=0)
    return bench(machine)


def test_rfid_on_another_vcpu() -> None:
    on = lending(m.RFID)
    on.machine.vcpus[1].update(srr0=0x10000000, srr1=USER)
    native = on.machine.native(1)
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    on.clean()


def test_rfscv_on_another_vcpu() -> None:
    """The PVR, which tells whether there is one, is that of the first vCPU."""
    on = lending(RFSCV)
    on.machine.vcpus[1].update(lr=0x10000000, ctr=USER)
    on.step(STEP_2)
    cpu = on.machine.vcpus[1]
    assert (cpu["pc"], cpu["msr"]) == (0x10000000, USER)
    on.clean()


def test_rfid_on_another_vcpu_with_gdbs_breakpoint_at_what_is_lent() -> None:
    on = lending(m.RFID)
    native = on.machine.native(1)
    on.machine.breakpoints[LENDING + 0x190] = 1
    on.engine.breakpoints = {b"0,%x,4" % (LENDING + 0x190): LENDING + 0x190}
    on.machine.stop_at[1, LENDING + 0x194] = CTRL_C
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    on.clean([LENDING + 0x190])


def test_what_is_lent_is_looked_for_again_when_the_code_has_changed() -> None:
    on = lending(m.RFID)
    on.step(STEP_2)
    on.machine.put(LENDING + 0x190, m.NOP)
    on.machine.put(LENDING + 0x800, m.mfspr(5, "srr0"))
    on.machine.vcpus[1].update(pc=TEXT, srr0=TEXT + 0x40, srr1=KERNEL)
    native = on.machine.native(1)
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    on.clean()


def test_what_is_not_found_is_not_looked_for_at_each_step() -> None:
    on = lending(*[m.lbz(5, 6)] * 3)
    on.machine.put(LENDING + 0x198, m.NOP)  # no mtspr
    on.machine.frozen = {0}
    searched = []
    for _ in range(3):
        on.machine.packets.clear()
        on.step(STEP_2)
        searched.append(len(on.machine.packets) > 60)
    assert searched == [True, False, False]
    on.clean()


@pytest.mark.parametrize("word", [m.NOP, m.lbz(5, 6), m.b(8)])
def test_interrupts_wait_on_another_vcpu(word: int) -> None:
    on = lending(word)
    native = on.machine.native(1)
    on.machine.pending[1] = 0x500
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    assert on.machine.pending == {1: 0x500}
    on.clean()


def test_fault_on_another_vcpu_shows_the_guests_own_ee() -> None:
    on = lending(m.lbz(5, 6))
    on.machine.faults.add(0x1234)
    native = on.machine.native(1)
    on.machine.faults.add(0x1234)
    on.step(STEP_2)
    assert on.machine.changed(native) == {}
    assert (on.machine.vcpus[1]["pc"], on.machine.vcpus[1]["srr1"]) == (DSI, KERNEL)
    on.clean()


def test_step_that_comes_home_on_a_vcpu_without_srrs() -> None:
    """A preempted step: the guest's scheduler has taken the task to the second vCPU."""
    on = lending(m.lbz(5, 6), m.NOP)
    machine = on.machine
    on.engine.interrupts = OVER
    machine.cpu["r6"] = 0x1234
    machine.faults.add(0x1234)
    machine.put(DSI, m.NOP, m.NOP)
    machine.stop_at[0, DSI + 4] = CTRL_C
    assert on.resume(STEP).signal == 2
    task = machine.cpu["srr1"]
    machine.vcpus[1].update(pc=TEXT, msr=task, r1=machine.cpu["r1"])
    machine.cpu.update(pc=TEXT + 0x100)
    machine.put(TEXT + 0x100, m.SELF)
    machine.frozen = {0}
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    machine.put(TEXT + 4, m.NOP, m.NOP, m.NOP)
    on.engine.breakpoints = {b"0,%x,4" % (TEXT + 8): TEXT + 8}
    stop = on.resume(CONTINUE)
    assert (stop.thread, machine.vcpus[1]["pc"]) == (b"p1.2", TEXT + 8)
    assert machine.vcpus[1]["msr"] == KERNEL
    on.clean([TEXT + 8])


def test_gdbs_breakpoint_at_a_vector_that_is_watched_is_reported() -> None:
    machine = faulting(vcpus=2)
    machine.faults.clear()
    machine.interrupt_at[1, TEXT] = 0x300
    machine.turns = [1, 1, 1, 0]
    machine.breakpoints[DSI] = 1
    on = bench(machine)
    on.engine.breakpoints = {b"0,%x,4" % DSI: DSI}
    assert on.resume(STEP).thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == DSI
    on.clean([DSI])


@pytest.mark.parametrize(
    ("word", "vector", "skips"),
    [(m.SC, 0xC00, False), (m.TRAP, 0x700, True), (m.TRAP, 0x700, False)],
    ids=["sc", "trap, skipped", "trap, tried again"],
)
def test_step_over_an_interrupt_ends_where_its_handler_returns(
    word: int, vector: int, skips: bool
) -> None:
    machine = program(word, m.NOP)
    handler = [m.addi(20, 20, 1)]
    if skips:
        handler += [m.mfspr(3, "srr0"), m.addi(3, 3, 4), m.mtspr("srr0", 3)]
    machine.put(VIRTUAL | vector, *handler, m.RFID)
    machine.cpu.update(r20=0)
    on = bench(machine)
    on.engine.interrupts = OVER
    on.step()
    assert machine.cpu["pc"] == (TEXT + 4 if skips or word == m.SC else TEXT)
    assert (machine.cpu["msr"], machine.cpu["r20"]) == (KERNEL, 1)
    assert on.engine.steps == 1
    on.clean()


def test_step_over_an_interrupt_passes_another_task() -> None:
    """It comes by first where the handler will return to, and is known by its stack."""
    machine = program(m.SC, m.addi(21, 21, 1), m.b(0x100 - 8))
    machine.put(TEXT + 0x100, m.addi(1, 1, -64), m.b(4 - 0x104))  # ends: the first task goes on
    handler = VIRTUAL | 0xC00
    machine.put(handler, m.addi(1, 1, 64), m.RFID)  # switches to the other task
    machine.cpu.update(r21=0, r1=0x7000)
    on = bench(machine)
    on.engine.interrupts = OVER
    on.step()
    assert (machine.cpu["pc"], machine.cpu["r1"], machine.cpu["r21"]) == (TEXT + 4, 0x7000, 1)
    on.clean()


def test_step_over_an_interrupt_ends_on_the_vcpu_that_the_task_has_gone_to() -> None:
    """Others that come by there are passed: they have other registers."""
    machine = program(m.SC, m.addi(14, 14, 1), m.b(-4), vcpus=2)
    machine.put(VIRTUAL | 0xC00, m.SELF)
    machine.vcpus[1].update(machine.cpu, pc=TEXT + 4, r14=machine.cpu["r14"] - 3)
    on = bench(machine)
    on.engine.interrupts = OVER
    assert on.step().thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == TEXT + 4
    assert machine.vcpus[1]["r14"] == machine.cpu["r14"]
    on.clean()


def test_step_over_an_interrupt_ends_when_the_guest_does() -> None:
    on = bench(program(m.SC))
    on.engine.interrupts = OVER
    on.machine.stop_at[0, TEXT] = b"W00"

    def gone(packet: bytes) -> None:
        """From the resume on there is nothing to be read."""
        if packet.startswith(b"vCont"):
            on.machine.reply[b"p"] = b"E01"

    on.link.hook = gone
    assert on.resume(STEP).payload == b"W00"


def test_step_over_a_system_call_of_a_task_that_is_moved_before_it_makes_it() -> None:
    machine = program(m.SC, m.NOP, vcpus=2, state=USER)
    machine.put(VIRTUAL | 0xC00, m.addi(20, 20, 1), m.RFID)
    machine.frozen = {0}
    machine.vcpus[1].update(r1=machine.cpu["r1"], r20=0)
    on = bench(machine)
    on.engine.interrupts = OVER
    assert on.step().thread == b"p1.2"
    assert (machine.vcpus[1]["pc"], machine.vcpus[1]["r20"]) == (TEXT + 4, 1)
    on.clean()


def test_step_over_a_fault_ends_behind_the_instruction() -> None:
    machine = faulting()
    before = machine.state()[0]
    on = bench(machine)
    on.engine.interrupts = OVER
    on.step()
    assert machine.cpu == before | {"pc": TEXT + 4, "r5": 0x5A, "r20": 1}
    on.clean()


def interrupted_in_handler(machine: Machine) -> Bench:
    """A step that was interrupted at the second instruction of the handler."""
    machine.stop_at[0, DSI + 4] = CTRL_C
    on = bench(machine)
    on.engine.interrupts = OVER
    assert on.resume(STEP).payload == CTRL_C
    assert machine.cpu["pc"] == DSI + 4
    assert len(on.engine.outstanding) == 1
    assert machine.planted == {}, "nothing of ours is planted while the guest is stopped"
    return on


def test_step_interrupted_in_a_handler_is_collected_silently_later() -> None:
    machine = faulting()
    before = machine.state()[0]
    on = interrupted_in_handler(machine)
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    on.engine.breakpoints = {b"0,%x,4" % (TEXT + 8): TEXT + 8}
    machine.packets.clear()
    stop = on.resume(CONTINUE)
    assert stop.payload == b"T05thread:p01.01;"
    assert machine.cpu == before | {"pc": TEXT + 8, "r5": 0x5A, "r20": 1, "r21": 1}
    assert b"Z0,c000000000004d00,4" in machine.packets, "the vector was guarded"
    assert machine.resumes[-2:] == [CONTINUE, CONTINUE]
    on.clean([TEXT + 8])


def test_guard_is_planted_again_for_each_resume() -> None:
    machine = faulting(handler=(m.NOP, m.NOP))
    on = interrupted_in_handler(machine)
    machine.stop_at[0, DSI + 8] = CTRL_C
    assert on.resume(CONTINUE).payload == CTRL_C
    assert len(on.engine.outstanding) == 1
    assert machine.planted == {}
    machine.stop_at[0, TEXT + 8] = CTRL_C
    assert on.resume(CONTINUE).payload == CTRL_C
    assert machine.cpu["r21"] == 1
    on.clean()


def test_refused_guard_resumes_nothing() -> None:
    on = interrupted_in_handler(faulting())
    before, resumes = on.machine.state(), list(on.machine.resumes)
    on.machine.reply[b"Z0"] = b"E22"
    with pytest.raises(StubRefused, match="E22"):
        on.resume(CONTINUE)
    assert on.machine.changed(before) == {}
    assert on.machine.resumes == resumes
    assert len(on.engine.outstanding) == 1


def test_ctrl_c_while_a_step_comes_home_is_not_lost() -> None:
    """The stub says T05 for our guard, and the user's interrupt has no stop of its own."""
    machine = faulting()
    on = interrupted_in_handler(machine)
    on.link.asked = True
    stop = on.resume(CONTINUE)
    assert (stop.signal, stop.thread) == (2, b"p1.1")
    assert machine.cpu["pc"] == TEXT + 4
    on.clean()


def test_stop_where_the_step_came_back_to_takes_se_back() -> None:
    """A breakpoint of gdb's on the instruction itself, set while it was in the handler."""
    machine = faulting()
    on = interrupted_in_handler(machine)
    machine.breakpoints[TEXT] = 1
    assert on.resume(CONTINUE).payload == b"T05thread:p01.01;"
    assert (machine.cpu["pc"], machine.cpu["msr"]) == (TEXT, KERNEL)
    on.clean([TEXT])


def test_se_is_taken_back_in_the_srr1_that_brought_it_back() -> None:
    """Invariant 1: natively SRR1 still holds the MSR that the fault saved, without SE."""
    machine = faulting()
    on = interrupted_in_handler(machine)
    machine.breakpoints[TEXT] = 1
    on.resume(CONTINUE)
    assert machine.cpu["pc"] == TEXT
    assert hex(machine.cpu["srr1"]) == hex(KERNEL)


def test_step_whose_handler_returns_elsewhere_is_collected() -> None:
    """As Linux's exception table does: the fixup is no successor of the instruction, but comes
    from the same state of the machine.  One instruction of it runs."""
    machine = faulting(handler=(m.mtspr("srr0", 23),))
    machine.cpu["r23"] = TEXT + 0x200
    machine.put(TEXT + 0x200, *[m.addi(24, 24, 1)] * 2, m.SELF)
    on = bench(machine)
    on.engine.interrupts = OVER
    on.step()
    assert (machine.cpu["pc"], machine.cpu["msr"]) == (TEXT + 0x204, KERNEL)
    on.clean()


def test_steps_through_the_handler_end_with_se_taken_back() -> None:
    """The handler's rfid would bring back the MSR[SE] that is ours."""
    machine = faulting()
    before = machine.state()[0]
    on = interrupted_in_handler(machine)
    on.step()
    assert machine.cpu["pc"] == DSI + 8
    assert len(on.engine.outstanding) == 1
    on.step()  # rfid
    assert (machine.cpu["pc"], machine.cpu["msr"]) == (TEXT, KERNEL)
    assert on.engine.outstanding == []
    on.step()
    assert machine.cpu["r5"] == 0x5A
    assert machine.cpu["pc"] == TEXT + 4
    assert machine.cpu["msr"] == before["msr"]
    assert machine.planted == {}


def test_step_that_comes_home_on_another_vcpu_is_collected_there() -> None:
    """The handler may have scheduled: another vCPU returns to the instruction."""
    machine = faulting(vcpus=2)
    on = interrupted_in_handler(machine)
    one, two = machine.vcpus
    state = {name: one[name] for name in ("r1", "srr0", "srr1", "msr")}
    two.update(state, pc=DSI + 8, r6=0x1234)
    one.update(pc=TEXT + 0x100, srr1=one["srr1"] & ~SE, msr=KERNEL)
    machine.put(TEXT + 0x100, m.SELF)
    machine.breakpoints[TEXT + 8] = 1
    stop = on.resume(CONTINUE)
    assert stop.thread == b"p1.2"
    assert (two["pc"], two["msr"], two["r5"]) == (TEXT + 8, KERNEL, 0x5A)
    assert one["pc"] == TEXT + 0x100
    on.clean([TEXT + 8])


# -- other vCPUs

OTHER = TEXT + 0x1000


def two_vcpus(*words: int) -> Machine:
    """The first vCPU at `words` in TEXT, the second at OTHER: a loop that counts in r21."""
    machine = program(*words, vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    machine.vcpus[1]["pc"] = OTHER
    return machine


def test_breakpoint_of_another_thread_before_the_instruction_ran() -> None:
    machine = two_vcpus(m.NOP)
    machine.breakpoints[OTHER] = 1
    machine.turns = [1, 0]
    before = machine.state()
    on = bench(machine)
    stop = on.resume(STEP)
    assert stop.payload == b"T05thread:p01.02;"
    assert machine.changed(before) == {}
    assert machine.selected == 1
    on.clean([OTHER])


def test_breakpoint_of_another_thread_after_the_instruction_ran() -> None:
    machine = two_vcpus(m.addi(4, 4, 1))
    machine.breakpoints[OTHER] = 1
    native = machine.native()
    on = bench(machine)
    stop = on.resume(STEP)
    assert stop.payload == b"T05thread:p01.02;"
    assert machine.changed(native) == {}
    assert machine.selected == 1
    on.clean([OTHER])


def test_both_vcpus_run_in_a_step() -> None:
    machine = two_vcpus(m.NOP)
    machine.turns = [1, 1, 1, 0]
    machine.vcpus[1]["r21"] = 0
    on = bench(machine)
    assert on.step().thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 4
    assert machine.vcpus[1]["r21"] > 0
    on.clean()


def trace_handler(machine: Machine) -> None:
    """The guest's own handler of Trace interrupts: counts in r22 and returns."""
    machine.put(TRACE, m.addi(22, 22, 1), m.NOP, m.RFID)
    for cpu in machine.vcpus:
        cpu["r22"] = 0


def own_trace(machine: Machine, vcpu: int, state: int) -> None:
    """A vCPU is about to return to a context that the guest itself traces: one loop at OTHER.

    Its handler, if it runs, returns with SE again, so each instruction counts once in r22.
    """
    machine.put(OTHER + 0x100, m.RFID)
    machine.vcpus[vcpu].update(pc=OTHER + 0x100, srr0=OTHER, srr1=state | SE, msr=KERNEL, r21=0)


@pytest.mark.parametrize("state", [USER, KERNEL], ids=["ptrace", "kprobe"])
def test_guests_own_trace_interrupt_at_a_guarded_vector_is_delivered(state: int) -> None:
    """Invariant 3.  An earlier step is outstanding on the first vCPU, which gets nowhere; the
    second one takes a Trace interrupt that the guest asked for."""
    machine = faulting(vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    trace_handler(machine)
    machine.vcpus[1]["pc"] = OTHER
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = {0}
    own_trace(machine, 1, state)
    machine.stop_at[1, TRACE + 8] = b"T02thread:p01.02;"
    stop = on.resume(CONTINUE)
    two = machine.vcpus[1]
    assert stop.payload == b"T02thread:p01.02;"
    assert two["pc"] == TRACE + 8
    assert two["r22"] == 1, "the guest's handler ran"
    assert (two["srr0"], two["srr1"]) == (OTHER + 4, state | SE | 0x40000000)
    assert len(on.engine.outstanding) == 1, "the step on the first vCPU is still to come"
    assert machine.planted == {}


@pytest.mark.parametrize("where", [OTHER, TEXT], ids=["elsewhere", "the same address"])
@pytest.mark.parametrize("register", ["r1", "pid"])
def test_guests_own_trace_interrupt_of_another_task_on_the_same_vcpu(
    register: str, where: int
) -> None:
    """The handler that a step was left in schedules to a task that the guest itself traces."""
    machine = faulting()
    machine.cpu.update(msr=USER, pid=5)
    trace_handler(machine)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    on = interrupted_in_handler(machine)
    machine.faults.clear()
    machine.put(DSI + 0x40, m.RFID)
    machine.cpu.update({"pc": DSI + 0x40, "srr0": where, "srr1": USER | SE, register: 6})
    machine.stop_at[0, TRACE + 8] = CTRL_C
    assert on.resume(CONTINUE).payload == CTRL_C
    assert (machine.cpu["pc"], machine.cpu["r22"]) == (TRACE + 8, 1), "the guest's handler ran"
    assert (machine.cpu["srr0"], machine.cpu["srr1"] & SE) == (where + 4, SE)
    assert len(on.engine.outstanding) == 1, "our step is still to come"


def test_step_that_comes_home_in_a_signal_handler_is_collected() -> None:
    """Linux keeps SE for it; its frame is below the stack of the program."""
    machine = faulting(handler=(m.mtspr("srr0", 23), m.addi(1, 1, -0x1000)))
    machine.cpu.update(msr=USER, r23=TEXT + 0x200)
    machine.put(TEXT + 0x200, *[m.addi(24, 24, 1)] * 2, m.SELF)
    on = bench(machine)
    on.engine.interrupts = OVER
    on.step()
    assert (machine.cpu["pc"], machine.cpu["msr"]) == (TEXT + 0x204, USER)
    on.clean()


def test_guests_own_trace_interrupts_go_on_and_on_at_a_guarded_vector() -> None:
    machine = faulting(vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    trace_handler(machine)
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = {0}
    own_trace(machine, 1, USER)
    machine.breakpoints[TEXT + 0x500] = 1
    machine.put(TEXT + 0x500, m.SELF)

    def hook(payload: bytes) -> None:
        if machine.vcpus[1]["r22"] == 5:
            machine.stop_at[1, OTHER] = machine.stop_at[1, OTHER + 4] = b"T02thread:p01.02;"

    on.link.hook = hook
    assert on.resume(CONTINUE).signal == 2
    assert machine.vcpus[1]["r22"] == 5
    assert machine.vcpus[1]["msr"] == USER | SE
    assert machine.planted == {TEXT + 0x500: 1}


def test_gdbs_own_breakpoint_at_a_guarded_vector_is_reported() -> None:
    machine = faulting(vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    trace_handler(machine)
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = {0}
    own_trace(machine, 1, USER)
    machine.breakpoints[TRACE] = 1
    on.engine.breakpoints = {b"0,%x,4" % TRACE: TRACE}
    assert on.resume(CONTINUE).payload == b"T05thread:p01.02;"
    two = machine.vcpus[1]
    assert two["pc"] == TRACE
    assert two["srr1"] & SE
    assert machine.planted == {TRACE: 1}


@pytest.mark.parametrize("state", [USER, KERNEL], ids=["ptrace", "kprobe"])
def test_guests_own_trace_interrupt_on_another_vcpu_does_not_end_or_lose_a_step(
    state: int,
) -> None:
    """The second vCPU arrives at the Trace vector before the first has run its instruction."""
    machine = two_vcpus(m.addi(4, 4, 1), m.addi(4, 4, 1), m.addi(4, 4, 1))
    machine.cpu["r4"] = 0
    trace_handler(machine)
    own_trace(machine, 1, state)
    machine.turns = [1, 1, 1, 1, 1, 0]
    on = bench(machine)
    stop = on.step()
    assert stop.thread == b"p1.1"
    assert (machine.cpu["pc"], machine.cpu["r4"]) == (TEXT + 4, 1)
    assert machine.cpu["msr"] == KERNEL
    two = machine.vcpus[1]
    assert two["r22"] >= 1, "the guest's handler ran"
    assert (two["msr"] | two["srr1"]) & SE, "as the guest set it"
    assert machine.planted == {}
    assert on.engine.outstanding == []


def test_earlier_step_that_comes_home_does_not_end_or_lose_a_step() -> None:
    """An interrupted step of vCPU 1 is collected silently while vCPU 2 is being stepped and has
    not run its instruction yet: that step goes on, armed."""
    machine = faulting(vcpus=2)
    machine.put(OTHER, *[m.addi(21, 21, 1)] * 3, m.SELF)
    machine.vcpus[1].update(pc=OTHER, r21=0)
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = set()
    machine.turns = [0] * 20 + [1]
    machine.put(TEXT + 12, m.SELF)
    stop = on.step(STEP_2)
    assert stop.thread == b"p1.2"
    assert (machine.vcpus[1]["pc"], machine.vcpus[1]["r21"]) == (OTHER + 4, 1)
    assert machine.cpu["r5"] == 0x5A
    on.clean()


def test_both_at_the_vector_at_once_each_gets_its_own() -> None:
    """vCPU 1 reports the end of its step while vCPU 2 has just taken the guest's own."""
    machine = two_vcpus(m.addi(4, 4, 1))
    trace_handler(machine)
    own_trace(machine, 1, USER)
    machine.turns = [0, 1, 1, 0]  # rfid, addi with SE: then both stand at the vector
    machine.stop_at[0, TRACE] = b"T05thread:p01.01;"
    on = bench(machine)
    stop = on.step()
    assert stop.thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 4
    assert machine.cpu["msr"] == KERNEL
    two = machine.vcpus[1]
    assert two["pc"] == TRACE
    assert (two["srr0"], two["srr1"]) == (OTHER + 4, USER | SE | 0x40000000)
    assert machine.planted == {}


# -- stops that end everything


@pytest.mark.parametrize("payload", [b"W00", b"X09", b"W00;process:1"])
def test_exit_during_a_step_is_passed_on(payload: bytes) -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = payload
    on = bench(machine)
    assert on.resume(STEP).payload == payload
    assert on.engine.outstanding == []


def test_exit_of_a_stub_that_then_goes_away_is_passed_on() -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = b"W00"
    on = bench(machine)

    def hook(payload: bytes) -> None:
        if machine.resumes and payload != STEP:
            raise StubGone("gone")

    on.link.hook = hook
    assert on.resume(STEP).payload == b"W00"


def test_exit_with_a_step_outstanding_forgets_it() -> None:
    on = interrupted_in_handler(faulting())
    on.machine.stop_at[0, DSI + 8] = b"X09"
    assert on.resume(CONTINUE).payload == b"X09"
    assert on.engine.outstanding == []


def test_watchpoint_during_a_step_is_reported() -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = b"T05thread:p01.01;watch:1000;"
    on = bench(machine)
    assert on.resume(STEP).payload == b"T05thread:p01.01;watch:1000;"
    on.clean()


# -- the user's interrupt


@pytest.mark.parametrize("word", [m.NOP, m.SC, m.RFID], ids=["trace", "land", "emulate"])
def test_interrupt_during_a_step_that_ends_is_left_to_the_door(word: int) -> None:
    machine = program(word)
    native = machine.native()
    on = bench(machine)
    on.link.asked = True
    assert on.step().thread == b"p1.1"
    assert on.link.asked
    assert machine.changed(native) == {}
    on.clean()


# -- letting go


def test_release_with_nothing_outstanding_does_nothing() -> None:
    on = bench(program(m.NOP))
    on.machine.packets.clear()
    assert on.engine.release(lambda: True)
    assert on.machine.packets == []


def test_release_stops_as_soon_as_the_step_is_home() -> None:
    """The guest was stopped, and runs on no further than its step has to."""
    machine = faulting()
    before = machine.state()[0]
    on = interrupted_in_handler(machine)
    assert on.engine.release(lambda: True)
    assert machine.cpu == before | {"pc": TEXT + 4, "r5": 0x5A, "r20": 1}
    on.clean()


def test_release_gives_up_when_told_to() -> None:
    on = interrupted_in_handler(faulting())
    resumes = len(on.machine.resumes)
    assert not on.engine.release(lambda: False)
    assert len(on.machine.resumes) == resumes
    assert len(on.engine.outstanding) == 1


def test_release_that_is_interrupted_tries_again() -> None:
    machine = faulting(handler=(m.NOP, m.NOP))
    on = interrupted_in_handler(machine)
    machine.stop_at[0, DSI + 8] = CTRL_C
    machine.stop_at[0, TEXT + 8] = CTRL_C
    assert on.engine.release(lambda: True)
    on.clean()


# -- the simulated machine itself


def test_machine_ignores_steps() -> None:
    """Else every test here would be green for nothing."""
    machine = program(m.NOP)
    with pytest.raises(Runaway):
        machine.resume(STEP)


def test_machine_does_what_was_seen_of_a_trace_interrupt() -> None:
    """FACTS: SRR1 is 0x8000000040009433 at 0xc000000000004d00 for MSR 0x8000000000009033."""
    machine = program(m.NOP, state=KERNEL | SE)
    (cpu,) = machine.native()
    assert (cpu["pc"], cpu["srr0"]) == (0xC000000000004D00, TEXT + 4)
    assert cpu["srr1"] == 0x8000000040009433
    assert not cpu["msr"] & SE


def test_machine_with_kvm_tells_old_registers_until_it_is_asked_for_all() -> None:
    """FACTS: `p` right after a stop gives the values of the stop before, and a `P` is lost."""
    machine = program(m.NOP)
    machine.kvm = True
    assert machine.call(b"Z0,%x,4" % (TEXT + 4)) == b"OK"
    old = machine.call(b"p40")
    machine.resume(CONTINUE)
    assert machine.call(b"p40") == old
    assert machine.call(b"P41=0000000000000000") == b"OK"
    assert machine.cpu["msr"] == KERNEL
    machine.call(b"g")
    assert machine.call(b"p40") == b"04000100000000c0"
    assert machine.call(b"P41=3310000000000080") == b"OK"
    assert machine.cpu["msr"] == 0x8000000000001033
    assert machine.call(b"Z0,d00,4") == b"E22"


def test_machine_counts_breakpoints_and_hits_them_before_the_instruction() -> None:
    machine = program(m.NOP)
    assert machine.call(b"Z0,%x,4" % TEXT) == machine.call(b"Z0,%x,4" % TEXT) == b"OK"
    assert machine.resume(b"c") == b"T05thread:p01.01;"
    assert machine.executed == 0
    assert machine.call(b"z0,%x,4" % TEXT) == b"OK"
    assert machine.planted == {TEXT: 1}
    assert machine.call(b"z0,%x,4" % TEXT) == b"OK"
    assert machine.call(b"z0,%x,4" % TEXT) == b"E22"


def test_pc_that_is_no_multiple_of_4_is_an_error() -> None:
    machine = program(m.NOP)
    machine.cpu["pc"] = TEXT + 2
    assert f"{TEXT + 2:#x} is no multiple of 4" in unchanged(bench(machine), error=SstepError)


# -- transactions (POWER8): MSR[TS], bits 29:30


@pytest.mark.parametrize("ts", [1 << 33, 1 << 34], ids=["suspended", "transactional"])
@pytest.mark.parametrize("state", [KERNEL, USER], ids=["kernel", "user"])
def test_step_in_a_transaction(state: int, ts: int) -> None:
    """As any other: its Trace interrupt, which has TS in SRR1, is ours, and TS is put back."""
    machine = program(m.addi(4, 5, -3), state=state | ts)
    native = machine.native()
    one = bench(machine)
    one.step()
    assert machine.vcpus == native
    assert machine.vcpus[0]["msr"] == state | ts
    one.clean()


@pytest.mark.parametrize("ts", [1 << 33, 1 << 34], ids=["suspended", "transactional"])
def test_step_that_ends_a_transaction(ts: int) -> None:
    """A stop aborts it: the step ends at its failure handler, by a Trace interrupt that is ours."""
    machine = program(m.addi(4, 5, -3), m.NOP, m.NOP, state=KERNEL | ts)
    machine.interrupt_at = {(0, TEXT): 0x500}
    saved = machine.vcpus[0]["srr0"], machine.vcpus[0]["srr1"]
    # The interrupt returns to the failure handler, two instructions on, in no transaction.
    handler = (m.mtspr("srr0", 8), m.mtspr("srr1", 9), m.RFID)
    machine.put(VIRTUAL | 0x500, *handler)
    machine.vcpus[0].update(r8=TEXT + 8, r9=KERNEL | SE)
    one = bench(machine)
    one.step()
    assert machine.vcpus[0]["pc"] == TEXT + 12
    assert machine.vcpus[0]["msr"] == KERNEL
    assert (machine.vcpus[0]["srr0"], machine.vcpus[0]["srr1"]) == saved
    one.clean()


@pytest.mark.parametrize("other", [TEXT, OTHER], ids=["the same address", "elsewhere"])
def test_system_call_of_another_task_does_not_end_the_step_of_one(other: int) -> None:
    """An interrupt comes first, and its handler schedules to another task, which calls as well."""
    machine = program(m.SC, state=USER)
    machine.put(OTHER, m.SC)
    machine.put(VIRTUAL | 0x500, m.mtspr("srr0", 23), m.addi(1, 1, -0x100), m.RFID)
    machine.put(VIRTUAL | 0xC00, m.mtspr("srr0", 24), m.addi(1, 1, 0x100), m.RFID)
    machine.cpu.update(r1=0x10000, r23=other, r24=TEXT)
    machine.interrupt_at[0, TEXT] = 0x500
    on = bench(machine)
    on.step()
    assert (machine.cpu["pc"], machine.cpu["srr0"]) == (VIRTUAL | 0xC00, TEXT + 4)
    assert machine.cpu["r1"] == 0x10000
    on.clean()


# -- a stub that fails at any moment of a step

FAILING = {
    "addi": (m.addi(4, 4, 1),),
    "mfmsr": (m.mfmsr(7),),
    "mtsrr0": (m.mtspr("srr0", 5),),
    "branch": (m.b(4),),
    "load": (m.lbz(5, 6),),
}


COMPLETING = [
    pytest.param(words, state, id=f"{name}, {mode}")
    for name, words in FAILING.items()
    for mode, state in (("kernel", KERNEL), ("real mode", REAL), ("user", USER))
    if state != USER or name not in ("mfmsr", "mtsrr0")  # these are privileged
]


def failing_at(machine: Machine, number: int, failure: Callable[[], bytes]) -> list[bytes]:
    """Have one packet of those that do not resume fail; it is put into the list."""
    call, failed, seen = machine.call, list[bytes](), 0

    def fails(payload: bytes) -> bytes:
        nonlocal seen
        seen += 1
        if seen != number:
            return call(payload)
        failed.append(payload)
        return failure()

    machine.call = fails  # type: ignore[method-assign]
    return failed


def refused() -> bytes:
    return b"E22"


def cut_off() -> bytes:
    raise StubGone("gone")


@pytest.mark.parametrize("breakpoint_", [False, True], ids=["", "at a breakpoint of gdb's"])
@pytest.mark.parametrize("state", [KERNEL, REAL, USER], ids=["kernel", "real mode", "user"])
@pytest.mark.parametrize("words", FAILING.values(), ids=FAILING)
def test_one_packet_of_a_step_is_refused(
    words: tuple[int, ...], state: int, breakpoint_: bool
) -> None:
    """Whichever: an error or none, and what can be done later is done before the next step."""
    for number in range(1, 100):
        machine = program(*words, state=state)
        native = machine.native()
        on = bench(machine)
        if breakpoint_:
            machine.breakpoints[TEXT] = 1
            on.engine.breakpoints = {b"0,%x,4" % TEXT: TEXT}
        failed = failing_at(machine, number, refused)
        with suppress(StubRefused):
            on.step()
        if not failed:
            break
        on.engine.recover()
        if failed[0] == b"Z0,%x,4" % TEXT:
            machine.breakpoints[TEXT] = 1  # the error says that it is not there
        if machine.cpu["pc"] == TEXT:
            on.step()
        assert machine.changed(native) == {}, (number, failed)
        on.clean([TEXT] * breakpoint_)
    assert number > 12


def two_steps(on: Bench, ahead: bool) -> int:
    """That are undone later, as far as the stub lets them; how many have ended."""
    on.engine.defers = True
    done = 0
    with suppress(StubRefused, StubGone):
        while done < 2:
            on.step()
            done += 1
            on.ahead(ahead)
    return done


def reached(machine: Machine, after: list[list[dict[str, int]]]) -> int:
    """After how many native steps pc is where it is now."""
    return [cpus[0]["pc"] for cpus in after].index(machine.cpu["pc"])


@pytest.mark.parametrize("ahead", [False, True], ids=["", "ahead"])
@pytest.mark.parametrize(("words", "state"), COMPLETING)
def test_one_packet_of_steps_that_are_undone_later_is_refused(
    words: tuple[int, ...], state: int, ahead: bool
) -> None:
    """Whichever: of the first, of the second, which also undoes the first, or of what is left."""
    for number in range(1, 100):
        machine = program(*words, *words, m.NOP, state=state)
        after = [machine.native(steps=count) for count in range(3)]
        on = bench(machine)
        failed = failing_at(machine, number, refused)
        done = two_steps(on, ahead)
        for _ in range(2):
            with suppress(StubRefused):
                on.engine.rest()
        if not failed:
            break
        on.engine.recover()
        assert reached(machine, after) >= done
        while machine.cpu["pc"] != after[2][0]["pc"]:
            on.step()
            on.engine.rest()
        assert machine.changed(after[2]) == {}, (number, failed)
        on.clean()
        assert on.engine.steps == 2
    assert number > 12


@pytest.mark.parametrize("ahead", [False, True], ids=["", "ahead"])
@pytest.mark.parametrize(("words", "state"), COMPLETING)
def test_what_a_session_leaves_that_is_killed_in_steps_that_are_undone_later(
    words: tuple[int, ...], state: int, ahead: bool
) -> None:
    """After whichever packet: the next session finds it in the record."""
    for number in range(1, 100):
        machine = program(*words, *words, m.NOP, state=state)
        if words[0] == FAILING["mfmsr"][0]:
            machine.cpu["r7"] = 0
        after = [machine.native(steps=count) for count in range(3)]
        killed = bench(machine)
        failed = failing_at(machine, number, cut_off)
        done = two_steps(killed, ahead)
        known = record.read(killed.records[-1])
        assert failed or known is not None or machine.planted == {}
        del machine.call
        machine.breakpoints.clear()
        later = bench(machine)
        later.engine.clean(known)
        here = reached(machine, after)
        assert here >= done
        assert machine.changed(after[here]) == {}, (number, failed)
        assert later.engine.left_behind() == []
        later.clean()
        if not failed:
            break
    assert number > 12


@pytest.mark.parametrize("recorded", [True, False], ids=["with its record", "without"])
@pytest.mark.parametrize("state", [KERNEL, REAL, USER], ids=["kernel", "real mode", "user"])
@pytest.mark.parametrize("words", FAILING.values(), ids=FAILING)
def test_what_a_session_leaves_that_is_killed_in_a_step(
    words: tuple[int, ...], state: int, recorded: bool
) -> None:
    """After whichever packet: the next one finds it.

    Without the record SRR0, SRR1, MSR[EE] and what mfmsr has read may be lost.
    """
    found = 0
    for number in range(1, 100):
        machine = program(*words, state=state)
        if words[0] == FAILING["mfmsr"][0]:
            machine.cpu["r7"] = 0  # or what mfmsr read with MSR[SE] and without MSR[EE]
        native = machine.native()
        before = machine.state()[0]
        failed = failing_at(machine, number, cut_off)
        notes = [""]
        with suppress(StubGone):
            killed = bench(machine)
            notes = killed.records
            killed.step()
        if not failed:
            break
        known = record.read(notes[-1]) if recorded else None
        machine.breakpoints.clear()  # as QEMU does when the next gdb asks `?`
        later = bench(machine)
        left = later.engine.clean(known)
        found += len(left)
        if machine.cpu["pc"] == TEXT:
            lost = 0 if recorded else m.EE
            assert not (machine.cpu["msr"] ^ before["msr"]) & ~lost
        else:
            changed = machine.changed(native)
            assert not recorded or changed == {}, (number, failed)
            assert set(changed) <= {"1.srr0", "1.srr1", "1.r7", "1.msr"}, changed
            assert not (machine.cpu["msr"] ^ native[0]["msr"]) & ~m.EE
        assert later.engine.left_behind() == []
        later.clean()
    assert (found > 3) == (native[0]["pc"] == TEXT + 4), "what is privileged is not traced"


def test_step_of_a_killed_session_in_a_handler_is_collected_by_the_next() -> None:
    machine = faulting()
    before = machine.state()[0]
    notes = interrupted_in_handler(machine)
    known = record.read(record.written(notes.engine))
    later = bench(machine)
    (left,) = later.engine.clean(known)
    assert "handler" in left.what
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    later.engine.breakpoints = {b"0,%x,4" % (TEXT + 8): TEXT + 8}
    later.resume(CONTINUE)
    assert machine.cpu == before | {"pc": TEXT + 8, "r5": 0x5A, "r20": 1, "r21": 1}
    later.clean([TEXT + 8])


def test_the_guests_own_trace_interrupts_are_told_too() -> None:
    machine = two_vcpus(m.NOP)
    machine.vcpus[0]["msr"] |= SE
    machine.vcpus[1].update(pc=TRACE, srr0=OTHER + 4, srr1=USER | SE | 0x40000000)
    on = bench(machine)
    assert [one.what for one in on.engine.left_behind()] == [
        f"MSR[SE] is set at {TEXT:#x}",
        f"a Trace interrupt from before {OTHER + 4:#x}",
    ]
    assert machine.vcpus[0]["msr"] & SE
    assert on.stub.thread == b"p1.1"


# -- temporary breakpoints that stay from one step to the next


def after_4_steps(machine: Machine) -> Bench:
    """Which were as they are natively."""
    native = machine.native(steps=4)
    on = bench(machine)
    on.engine.keeps_planted = True
    for _ in range(4):
        on.step()
    assert machine.changed(native) == {}
    return on


def test_temporary_breakpoints_stay_planted_until_rest() -> None:
    machine = program(m.NOP, m.lbz(5, 6), m.NOP, m.lbz(5, 6))
    on = after_4_steps(machine)
    planted = [packet for packet in machine.packets if packet[:1] in (b"Z", b"z")]
    assert len(planted) == len(set(planted)), "each once"
    assert machine.planted[TRACE] == 1
    on.engine.rest()
    on.clean()


@pytest.mark.parametrize("place", [DSI, TRACE])
def test_instruction_at_a_vector_that_is_planted(place: int) -> None:
    machine = program(m.lbz(5, 6), m.b(place - TEXT - 4))
    machine.put(place, m.NOP, m.lbz(5, 6), m.SELF)
    on = after_4_steps(machine)
    on.engine.rest()
    on.clean()


def test_fault_at_a_vector_that_an_earlier_step_has_planted() -> None:
    machine = faulting()
    on = bench(machine)
    on.engine.keeps_planted = True
    machine.cpu["pc"] = TEXT
    native = machine.native()
    on.step()
    assert machine.changed(native) == {}
    assert machine.cpu["pc"] == DSI
    on.engine.rest()
    on.clean()


def test_error_leaves_nothing_planted() -> None:
    machine = program(m.NOP, m.NOP)
    on = bench(machine)
    on.engine.keeps_planted = True
    on.step()
    machine.reply[b"P41="] = b"E22"
    with pytest.raises(StubRefused):
        on.step()
    on.clean()


def test_other_resumes_see_no_temporary_breakpoints() -> None:
    machine = program(m.NOP, m.NOP)
    machine.breakpoints[TEXT + 8] = 1
    on = bench(machine)
    on.engine.keeps_planted = True
    on.step()
    on.resume(CONTINUE)
    on.clean([TEXT + 8])

# SPDX-License-Identifier: MIT
"""The stub of a QEMU with KVM."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import StubRefused
from gdb_ppc_sstep.rsp.resume import only
from gdb_ppc_sstep.stub.introduce import introduce
from gdb_ppc_sstep.stub.kvm import KvmStub

from .. import machine as m
from ..machine import KERNEL, REAL, TEXT, USER, FakeLink, Runaway
from .bench import CONTINUE, CTRL_C, bench, program
from .failures import at_home


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
    on = bench(machine, hv=True)
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
    on.gdb_plants(TEXT)
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
    machine.breakpoints[TEXT] = 1
    stub = introduce(FakeLink(machine), kvm=kvm)
    assert isinstance(stub, KvmStub) == kvm
    stub.run(only(b"p1.1"))
    assert machine.resumes == [b"vCont;s:p1.1" if hv else b"vCont;c:p1.1"]


def test_a_breakpoint_hides_nothing_though_its_word_is_known() -> None:
    """The code behind a step is asked for at its end, with gdb's breakpoint in it."""
    machine = program(m.NOP, m.RFID)
    machine.kvm = True
    machine.cpu.update(srr0=TEXT + 0x40, srr1=KERNEL)
    machine.put(TEXT + 0x40, m.SELF)
    native = machine.native(steps=2)
    on = bench(machine)
    on.step()
    machine.breakpoints[TEXT + 4] = 1
    on.gdb_plants(TEXT + 4)
    on.stub.forget()  # as the layer does when gdb inserts one
    on.step()
    assert machine.changed(native) == {}
    on.clean([TEXT + 4])


def test_a_breakpoint_is_not_planted_through_an_msr_that_the_stub_refuses() -> None:
    """Else it would stay in the guest, and nobody would know of it: who asked is told an error."""
    machine = program(m.NOP, state=USER)
    machine.kvm = True
    on = bench(machine)
    on.stub.synchronise()
    other = b"P41=" + (USER ^ m.PR).to_bytes(8, "little").hex().encode()
    machine.reply[other] = b"E22"
    machine.packets.clear()
    with pytest.raises(StubRefused, match="refused to write msr"):
        on.stub.breakpoint(b"Z0,%x,4" % TEXT)
    behind = machine.packets[machine.packets.index(other) + 1 :]
    assert [packet for packet in behind if packet[:1] == b"Z"] == []
    assert machine.planted == {}


def test_step_off_a_breakpoint_in_problem_state() -> None:
    """Its removal and the vector need different MSRs, and the step needs a third."""
    machine = program(*[m.NOP] * 40, state=USER)
    start = at_home(machine, kvm=True)
    native = machine.native()
    on = bench(machine)
    on.set(undo=Undo.DEFER)
    assert on.stub.breakpoint(b"Z0,%x,4" % start) == b"OK"
    machine.stop_at[0, start] = CTRL_C
    on.resume(CONTINUE)
    on.stub.remove_later(b"z0,%x,4" % start, lambda error: False)
    on.step()
    on.engine.quiesce()
    assert machine.changed(native) == {}
    on.clean()

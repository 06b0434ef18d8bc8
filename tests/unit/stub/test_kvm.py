# SPDX-License-Identifier: MIT
"""What KVM's stub needs, packet by packet; tests/unit/engine/test_kvm.py steps with it."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import StubRefused
from gdb_ppc_sstep.rsp.resume import parse_resume
from gdb_ppc_sstep.stub.kvm import BREAKPOINT, KvmStub

from .. import machine as m
from ..engine.bench import program
from ..machine import KERNEL, TEXT, USER, Machine
from .links import SlowLink

R3 = b"P3=0100000000000000"
Z_TEXT, Z_TRACE = b"Z0,%x,4" % TEXT, b"Z0,d00,4"


def msr(value: int) -> bytes:
    """The packet that writes MSR."""
    return b"P41=" + value.to_bytes(8, "little").hex().encode()


def started(machine: Machine, *, hv: bool = False) -> tuple[KvmStub, SlowLink]:
    """A stub that nothing has been asked yet."""
    machine.kvm = True
    link = SlowLink(machine)
    return KvmStub(link, machine.registers(), hv=hv), link


def fresh(machine: Machine) -> tuple[KvmStub, SlowLink]:
    """A stub whose registers have been fetched."""
    stub, link = started(machine)
    stub.synchronise()
    link.bursts.clear()
    return stub, link


@pytest.mark.parametrize("first", ["read", "write", "memory", "prefetch", "order", "synchronise"])
def test_registers_are_fetched_first_and_once(first: str) -> None:
    """`g`, and the MSR written back as it is, whatever comes first after a stop."""
    stub, link = started(program(m.NOP))
    for _ in range(2):
        link.bursts.clear()
        if first == "read":
            stub.read("r3")
        elif first == "write":
            stub.write("r3", 1)
        elif first == "memory":
            stub.memory(TEXT, 4)
        elif first == "prefetch":
            stub.prefetch(("r3",))
        elif first == "order":
            assert stub.order == "little"
        else:
            stub.synchronise()
        assert link.bursts[:3] == [[b"g"], [b"p41"], [msr(KERNEL)]]
        stub.synchronise()
        stub.read("pc")
        assert link.bursts.count([b"g"]) == link.bursts.count([msr(KERNEL)]) == 1
        stub.changed(None)


def test_what_was_only_forgotten_is_not_fetched() -> None:
    """gdb has written something through the stub: it is still the same vCPU at the same stop."""
    stub, link = fresh(program(m.NOP))
    stub.forget()
    assert stub.read("msr") == KERNEL
    assert link.bursts == [[b"p41"]]


def test_a_refused_write_back_is_tried_again() -> None:
    """Nothing is taken for fetched before."""
    machine = program(m.NOP)
    stub, link = started(machine)
    machine.reply[b"P41="] = b"E01"
    with pytest.raises(StubRefused, match="to write msr"):
        stub.synchronise()
    del machine.reply[b"P41="]
    link.bursts.clear()
    stub.read("r3")
    assert link.bursts[0] == [b"g"]
    assert [msr(KERNEL)] in link.bursts


def test_breakpoints_are_planted_now_and_after_what_is_queued() -> None:
    """They would be reached by another MSR later."""
    stub, link = fresh(program(m.NOP))
    stub.write("r3", 1)
    stub.insert(TEXT)
    assert link.bursts == [[R3], [Z_TEXT]]
    stub.remove(TEXT)
    assert link.bursts[2:] == [[b"z" + Z_TEXT[1:]]]


def test_a_vector_is_looked_for_at_a_real_address_as_well() -> None:
    """The machine takes it with no translation only from there; the MSR is put back after each."""
    machine = program(m.NOP)
    stub, link = fresh(machine)
    machine.reply[Z_TRACE] = b"E22"
    with pytest.raises(StubRefused, match="temporary breakpoint at 0xd00"):
        stub.insert(0xD00)
    real = KERNEL & ~(m.IR | m.DR)
    tries = [
        [Z_TRACE],
        *([msr(KERNEL ^ m.PR)], [Z_TRACE], [msr(KERNEL)]),
        *([msr(real)], [Z_TRACE], [msr(KERNEL)]),
    ]
    assert link.bursts == tries
    assert stub.read("msr") == machine.cpu["msr"] == KERNEL


def test_what_is_no_vector_is_not() -> None:
    """An address that is not mapped would name other memory; the problem state is tried."""
    machine = program(m.NOP, state=USER)
    stub, link = fresh(machine)
    stub.insert(TEXT)  # of the kernel
    assert link.bursts == [[Z_TEXT], [msr(USER ^ m.PR)], [Z_TEXT], [msr(USER)]]
    assert machine.cpu["msr"] == USER
    machine.reply[b"Z0,1234,4"] = b"E22"
    seen: list[str] = []

    def fine(error: StubRefused) -> bool:
        seen.append(str(error))
        return True

    stub.insert(0x1234, fine)
    assert seen == ["the stub refused a temporary breakpoint at 0x1234 (reply 'E22')"]
    assert not any(packet == msr(USER & ~(m.PR | m.IR | m.DR)) for [packet] in link.bursts)


def test_what_a_breakpoint_hides() -> None:
    """The instruction and code are the guest's, and the breakpoint is back afterwards."""
    machine = program(m.NOP, m.BLR)
    stub, _ = fresh(machine)
    machine.breakpoints[TEXT + 4] = 1
    stub.prefetch((), (TEXT + 4,))
    assert stub.known(b"m%x,4" % (TEXT + 4)) == b"00dddd00"
    assert stub.code(TEXT, 2) == (m.NOP, m.BLR)
    assert stub.instruction(TEXT + 4).word == m.BLR
    assert machine.planted == {TEXT + 4: 1}


def test_the_guest_may_have_the_word_itself() -> None:
    """There is no breakpoint then that could be removed."""
    machine = program(BREAKPOINT)
    stub, _ = fresh(machine)
    assert stub.instruction(TEXT).word == BREAKPOINT
    assert stub.code(TEXT, 1) == (BREAKPOINT,)
    assert machine.planted == {}


@pytest.mark.parametrize("hv", [True, False])
def test_kvm_hv_is_sent_steps(hv: bool) -> None:
    """KVM PR would step."""
    machine = program(m.NOP)
    stub, _ = started(machine, hv=hv)
    machine.breakpoints[TEXT] = 1
    request = parse_resume(b"vCont;c:p1.1;c:p1.-1")
    assert request is not None
    stub.run(request)
    assert [packet[:7] for packet in machine.resumes] == [b"vCont;s" if hv else b"vCont;c"]

# SPDX-License-Identifier: MIT
"""What KVM's stub needs, packet by packet; tests/unit/engine/test_kvm.py steps with it."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import StubRefused
from gdb_ppc_sstep.rsp.resume import only, parse_resume
from gdb_ppc_sstep.stub.kvm import KvmStub
from gdb_ppc_sstep.stub.words import BREAKPOINT

from .. import machine as m
from ..engine.bench import program
from ..machine import KERNEL, REAL, TEXT, USER, Machine
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
    stub.select(b"p1.1")
    stub.synchronise()
    link.bursts.clear()
    return stub, link


@pytest.mark.parametrize("first", ["read", "write", "memory", "prefetch", "order", "synchronise"])
def test_registers_are_fetched_first_and_once(first: str) -> None:
    """`g`, whatever comes first after a stop; once its layout is known, no other is asked for."""
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
        stub.synchronise()
        stub.read("pc")
        asked = [packet for burst in link.bursts for packet in burst if packet != R3]
        assert asked[0] == b"g"
        assert asked.count(b"g") == 1
        stub.changed(None)
    if first != "write":  # what was read is not what the guest has then
        assert not {b"p40", b"p41", b"p3"} & set(asked)


def test_memory_is_seen_by_the_msr_that_the_thread_has() -> None:
    """It is written as it is if another was last; after the next stop only if it is another."""
    machine = program(m.NOP)
    stub, link = fresh(machine)
    assert stub.memory(TEXT + 0x2000, 4) == b""
    assert link.bursts == [[msr(KERNEL), b"m%x,4" % (TEXT + 0x2000)]]
    for state, written in ((KERNEL, False), (KERNEL & ~m.EE, False), (KERNEL & ~m.IR, True)):
        machine.stop_at[0, TEXT] = b"T02thread:p01.01;"
        machine.cpu["msr"] = state
        stub.run(only(b"p1.1"))
        stub.synchronise()
        link.bursts.clear()
        stub.memory(TEXT + 0x2000, 4)
        assert [packet for burst in link.bursts for packet in burst] == [
            *([msr(state)] if written else []),
            b"m%x,4" % (TEXT + 0x2000),
        ]


def test_code_that_was_seen_by_another_msr_is_not_believed() -> None:
    """It was asked for in one go with the registers that tell so."""
    machine = program(*[m.NOP] * 32, state=REAL)
    stub, _ = fresh(machine)
    stub.prefetch((), (TEXT,))  # has the MSR written, as it is known
    assert stub.known(b"m%x,4" % TEXT) is not None
    machine.stop_at[0, TEXT] = b"T02thread:p01.01;"
    machine.cpu["msr"] = KERNEL
    stub.run(only(b"p1.1"))
    stub.prefetch((), (TEXT,))
    assert stub.known(b"m%x,4" % TEXT) is None


def test_what_was_only_forgotten_is_not_fetched() -> None:
    """gdb has written something through the stub: it is still the same vCPU at the same stop."""
    stub, link = fresh(program(m.NOP))
    stub.forget()
    assert stub.read("msr") == KERNEL
    assert link.bursts == [[b"p41"]]


def test_breakpoints_are_queued_and_reached_by_an_msr_that_is_written_before() -> None:
    """Since the stop; what is written anyway does as well, and once is enough."""
    stub, link = fresh(program(m.NOP))
    stub.write("r3", 1)
    stub.insert(TEXT)
    stub.insert(TEXT + 4)
    stub.write("msr", KERNEL | m.SE)
    assert link.bursts == []
    stub.send_queued()
    assert link.bursts == [
        [R3, b"Hcp1.1", msr(KERNEL | m.SE), Z_TEXT, b"Z0,%x,4" % (TEXT + 4)],
    ]
    stub.write("msr", KERNEL)
    stub.remove(TEXT)
    stub.insert(TEXT)  # after all
    stub.remove(TEXT + 4)
    stub.send_queued()
    assert link.bursts[1:] == [[msr(KERNEL), b"z0,%x,4" % (TEXT + 4)]]


@pytest.mark.parametrize(
    ("state", "place", "through"),
    [
        (KERNEL, m.TRACE, KERNEL),
        (KERNEL, 0xD00, KERNEL & ~(m.IR | m.DR)),
        (USER, m.TRACE, USER & ~m.PR),
        (USER, 0x10000000, USER),
        (USER, 0xD00, USER & ~(m.PR | m.IR | m.DR)),
        (REAL, 0xD00, REAL),
    ],
)
def test_a_vector_is_reached_by_the_msr_that_finds_it(state: int, place: int, through: int) -> None:
    """The thread's own is put back in the same go."""
    stub, link = fresh(program(m.NOP, state=state))
    stub.insert(place)
    stub.send_queued()
    back = [] if through == state else [msr(state)]
    assert link.bursts == [[b"Hcp1.1", msr(through), b"Z0,%x,4" % place, *back]]


def test_the_msr_that_was_written_last_is_the_threads_own() -> None:
    """Also where it is written early, for one breakpoint, and another one needs another."""
    stub, link = fresh(program(m.NOP, state=USER))
    stub.insert(0x10000000)
    stub.insert(m.TRACE)
    stub.write("msr", USER | m.SE)
    stub.send_queued()
    armed = msr(USER | m.SE)
    places = b"Z0,10000000,4", b"Z0,%x,4" % m.TRACE
    assert link.bursts == [[b"Hcp1.1", armed, places[0], msr(USER & ~m.PR), places[1], armed]]


def test_a_breakpoint_that_is_refused_is_looked_for_in_other_ways() -> None:
    """The machine takes it with no translation only from there; the MSR is put back behind."""
    machine = program(m.NOP)
    stub, link = fresh(machine)
    machine.reply[Z_TRACE] = b"E22"
    stub.insert(0xD00)
    with pytest.raises(StubRefused, match="temporary breakpoint at 0xd00"):
        stub.send_queued()
    asked = [packet for burst in link.bursts for packet in burst]
    real = KERNEL & ~(m.IR | m.DR)
    assert asked == [
        *(b"Hcp1.1", msr(real), Z_TRACE, msr(KERNEL)),
        *(msr(real), Z_TRACE, msr(KERNEL), Z_TRACE, msr(KERNEL ^ m.PR), Z_TRACE, msr(KERNEL)),
    ]
    assert stub.read("msr") == machine.cpu["msr"] == KERNEL


def test_what_is_no_vector_is_not_looked_for_at_a_real_address() -> None:
    """An address that is not mapped would name other memory; the problem state is tried."""
    machine = program(m.NOP, state=USER)
    stub, link = fresh(machine)
    machine.reply[b"Z0,1234,4"] = b"E22"
    seen: list[str] = []

    def fine(error: StubRefused) -> bool:
        seen.append(str(error))
        return True

    stub.insert(0x1234, fine)
    stub.send_queued()
    assert seen == ["the stub refused a temporary breakpoint at 0x1234 (reply 'E22')"]
    asked = [packet for burst in link.bursts for packet in burst]
    assert asked.count(b"Z0,1234,4") == 3
    assert msr(USER ^ m.PR) in asked
    assert msr(USER & ~(m.PR | m.IR | m.DR)) not in asked


def test_a_breakpoint_that_nobody_needs_any_more_is_not_looked_for() -> None:
    """Its removal is queued by the time that the stub's refusal is found."""
    machine = program(m.NOP)
    stub, link = fresh(machine)
    machine.reply[b"Z0"] = b"E22"
    stub.insert(TEXT)
    stub.send_ahead()
    stub.remove(TEXT)
    link.bursts.clear()
    stub.send_queued()
    assert link.bursts == []
    assert machine.planted == {}


def test_breakpoints_come_by_the_vcpu_whose_msr_was_written() -> None:
    """QEMU plants them by the one of the last stop or `Hc`, not of `Hg`."""
    machine = program(m.NOP, vcpus=2)
    machine.vcpus[1]["msr"] = USER
    machine.stop_at[1, machine.vcpus[1]["pc"]] = b"T02thread:p01.02;"
    stub, link = started(machine)
    stub.select(b"p1.1")
    stub.run(only(b"p1.2"))
    link.bursts.clear()
    stub.insert(0x10000000)
    stub.send_queued()
    assert not any(packet[:2] == b"Hc" for burst in link.bursts for packet in burst)
    stub.select(b"p1.1")
    stub.insert(TEXT)
    stub.send_queued()
    assert link.bursts[-1] == [b"Hcp1.1", msr(KERNEL), Z_TEXT]
    assert machine.planted == {0x10000000: 1, TEXT: 1}


def test_memory_that_may_show_a_word_of_ours_is_asked_for_without_it() -> None:
    """By whatever address: a real one and a translated one may name the same memory."""
    machine = program(m.NOP)
    machine.put(m.TRACE, m.NOP)
    stub, _ = fresh(machine)
    stub.insert(m.TRACE)
    stub.send_queued()
    stub.remove(m.TRACE)
    stub.defer(lambda done: None)
    stub.query(b"m%x,4" % (m.TRACE + 4))
    assert machine.planted == {m.TRACE: 1}
    assert stub.query(b"m%x,8" % (0x4D00 - 4)) == b"E14"
    assert machine.planted == {}


def test_what_a_breakpoint_hides() -> None:
    """The instruction and code are the guest's, and the breakpoint is back afterwards."""
    machine = program(m.NOP, m.BLR)
    stub, _ = fresh(machine)
    machine.breakpoints[TEXT + 4] = 1
    assert stub.query(b"m%x,4" % (TEXT + 4)) == b"00dddd00", "nobody knows of it"
    assert stub.code(TEXT, 2) == (m.NOP, m.BLR)
    assert stub.instruction(TEXT + 4).word == m.BLR
    stub.send_queued()
    assert machine.planted == {TEXT + 4: 1}


def test_what_a_breakpoint_of_gdbs_hides_is_known_if_it_was_read_before() -> None:
    """Then nobody sees it, and nothing need be asked for again when it goes."""
    machine = program(m.NOP, m.BLR, *[m.NOP] * 32)
    stub, link = fresh(machine)
    stub.memory(TEXT, 4)  # has the MSR written
    stub.prefetch((), (TEXT,))
    assert stub.breakpoint(b"Z0,%x,4" % (TEXT + 4)) == b"OK"
    blr = m.BLR.to_bytes(4, "little").hex().encode()
    assert stub.known(b"m%x,4" % (TEXT + 4)) == blr
    machine.stop_at[0, TEXT] = b"T02thread:p01.01;"
    stub.run(only(b"p1.1"))
    stub.prefetch((), (TEXT,))
    link.bursts.clear()
    assert stub.code(TEXT, 3) == (m.NOP, m.BLR, m.NOP)
    assert link.bursts == []
    assert stub.breakpoint(b"z0,%x,4" % (TEXT + 4)) == b"OK"
    assert stub.known(b"m%x,4" % (TEXT + 4)) == blr


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


def test_hardware_breakpoint_is_a_word_in_memory() -> None:
    machine = program(m.NOP)
    stub, _ = fresh(machine)
    hardware = b"1,%x,4" % TEXT
    assert stub.breakpoint(b"Z" + hardware) == b"OK"
    assert machine.planted == {TEXT: 1}
    stub.remove_later(b"z" + hardware, lambda error: False)
    assert stub.cancel_removal(b"z" + hardware)
    assert machine.planted == {TEXT: 1}
    assert stub.breakpoint(b"z" + hardware) == b"OK"
    assert machine.planted == {}


def test_hardware_breakpoint_where_nothing_is_mapped_says_what_to_do() -> None:
    """As gdb shows it: what is behind the second dot."""
    machine = program(m.NOP)
    stub, _ = fresh(machine)
    machine.reply[b"Z0,1000,"] = b"E22"
    reply = stub.breakpoint(b"Z1,1000,4")
    assert reply.split(b".", 2)[2].startswith(b"under KVM a hardware breakpoint is one in memory")
    assert stub.breakpoint(b"Z0,1000,4") == b"E22"

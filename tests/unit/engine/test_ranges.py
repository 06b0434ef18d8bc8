# SPDX-License-Identifier: MIT
"""How the engine goes through ranges of code (`vCont;r`).

What it leaves is what `Machine.native` leaves, that steps each instruction.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.errors import SstepError, StubGone, StubRefused
from gdb_ppc_sstep.options import Interrupts

from .. import machine as m
from ..machine import KERNEL, TEXT, USER, VIRTUAL
from .bench import DSI, STACK, bench, guest, resumes
from .failures import cut_off, failing_at, refused


def covering(count: int, others: bytes = b";c:p1.-1") -> bytes:
    """The packet for a range of so many instructions at TEXT."""
    return b"vCont;r%x,%x:p1.1" % (TEXT, TEXT + 4 * count) + others


@pytest.mark.parametrize("count", [2, 1000])
def test_a_loop_is_one_resume(count: int) -> None:
    machine = guest(m.addi(4, 4, 1), m.bdnz(-4), m.NOP)
    machine.cpu["ctr"] = count
    native = machine.native(steps=2 * count)
    on = bench(machine)
    assert on.step(covering(2)).payload == b"T05thread:p01.01;"
    assert machine.changed(native) == {}
    assert machine.resumes == [b"vCont;c:p1.1;c:p1.-1"], "all run, as gdb asked"
    on.clean()


def test_a_range_that_ends_within_an_instruction_has_all_of_it() -> None:
    """As that of `until` without line information (gdb/infcmd.c until_next_command)."""
    machine = guest(m.NOP, m.addi(1, 1, -32), m.NOP, m.NOP)
    machine.cpu["pc"] = TEXT + 8
    native = machine.native(steps=1)
    on = bench(machine)
    on.step(b"vCont;r%x,%x:p1.1;c:p1.-1" % (TEXT, TEXT + 9))
    assert machine.changed(native) == {}
    on.clean()


def test_locked_scheduler_is_as_gdb_asked() -> None:
    on = bench(guest(m.NOP, m.NOP))
    on.step(covering(2, others=b""))
    assert on.machine.resumes == [b"vCont;c:p1.1"]


@pytest.mark.parametrize(
    ("words", "steps", "parts"),
    [
        ((m.NOP, m.addi(4, 4, 1), m.b(0x40), m.NOP), 3, 1),
        ((m.NOP, m.NOP, m.BLR, m.NOP), 3, 2),
        ((m.NOP, m.b(0x40, link=True), m.NOP), 2, 1),
        ((m.NOP, m.mtspr("srr0", 5), m.NOP), 3, 3),
        ((m.addi(1, 1, -32), m.NOP, m.NOP), 3, 2),
        ((m.NOP, m.mfspr(7, "srr0"), m.NOP), 3, 1),
        ((m.NOP, m.mfmsr(8), m.mtmsrd(5, 1)), 3, 3),
    ],
)
def test_range_leaves_every_register_as_native(
    words: tuple[int, ...], steps: int, parts: int
) -> None:
    """parts: how often the guest is resumed."""
    machine = guest(*words)
    machine.cpu["lr"] = TEXT + 0x100
    native = machine.native(steps=steps)
    on = bench(machine)
    on.step(covering(len(words)))
    assert machine.changed(native) == {}
    assert resumes(on) == parts
    on.clean()


def test_call_of_itself_and_return_from_it_are_for_gdb_to_see() -> None:
    """They stay in the range, but not in the frame."""
    machine = guest(m.NOP, m.b(-4, link=True), m.BLR)
    on = bench(machine)
    on.step(covering(3))
    assert machine.cpu["pc"] == TEXT
    machine.cpu["pc"] = TEXT + 8
    machine.cpu["lr"] = TEXT + 4
    on.step(covering(3))
    assert machine.cpu["pc"] == TEXT + 4
    on.clean()


def test_problem_state_is_stepped_instruction_by_instruction() -> None:
    machine = guest(m.NOP, m.NOP, m.NOP, state=USER)
    native = machine.native(steps=3)
    on = bench(machine)
    on.step(covering(3))
    assert machine.changed(native) == {}
    assert resumes(on) == 3
    on.clean()


def test_breakpoint_of_gdbs_within_a_range() -> None:
    machine = guest(m.NOP, m.NOP, m.NOP, m.NOP)
    on = bench(machine)
    for place in (TEXT, TEXT + 8):
        machine.breakpoints[place] = 1
    on.gdb_plants(*(TEXT, TEXT + 8))
    on.step(covering(4))
    assert machine.cpu["pc"] == TEXT + 8
    on.clean([TEXT, TEXT + 8])


def test_breakpoint_of_gdbs_where_a_loop_begins() -> None:
    machine = guest(m.NOP, m.NOP, m.b(-8))
    on = bench(machine)
    machine.breakpoints[TEXT] = 1
    on.gdb_plants(TEXT)
    on.step(covering(3))
    assert machine.cpu["pc"] == TEXT
    assert machine.executed == 3
    on.clean([TEXT])


def test_ctrl_c_within_a_range() -> None:
    machine = guest(m.NOP, m.b(-4))
    machine.stop_at[0, TEXT + 4] = b"T02thread:p01.01;"
    before = machine.native(steps=1)
    on = bench(machine)
    assert on.resume(covering(2)).signal == 2
    assert machine.changed(before) == {}
    on.clean()


def test_ctrl_c_between_two_parts_of_a_range() -> None:
    machine = guest(m.NOP, m.addi(1, 1, 0), m.NOP, m.NOP)
    on = bench(machine)
    on.link.asked = True
    assert on.resume(covering(4)).signal == 2
    assert machine.cpu["pc"] == TEXT + 4
    on.clean()


def test_watchpoint_within_a_range() -> None:
    machine = guest(m.NOP, m.NOP, m.NOP)
    watch = b"T05thread:p01.01;watch:1000;"
    machine.stop_at[0, TEXT + 8] = watch
    on = bench(machine)
    assert on.resume(covering(3)).payload == watch
    on.clean()


def test_fault_within_a_range_ends_at_its_vector() -> None:
    machine = guest(m.NOP, m.lbz(5, 6), m.NOP)
    machine.faults = {machine.cpu["r6"]}
    machine.put(DSI, m.NOP, m.RFID)
    native = machine.native(steps=2)
    on = bench(machine)
    on.step(covering(3))
    assert machine.cpu["pc"] == DSI
    assert machine.changed(native) == {}
    assert resumes(on) == 1
    on.clean()


@pytest.mark.parametrize("mask", [False, True])
def test_fault_within_a_range_passed_over(mask: bool) -> None:
    """Its handler sees, and returns to, the state of the guest."""
    machine = guest(m.NOP, m.lbz(5, 6), m.NOP)
    machine.faults = {machine.cpu["r6"]}
    machine.put(DSI, m.mfspr(7, "srr1"), m.RFID)
    on = bench(machine)
    on.set(interrupts=Interrupts.OVER)
    on.set(mask_interrupts=mask)
    on.step(covering(3))
    assert machine.cpu["pc"] == TEXT + 12
    assert (machine.cpu["r5"], machine.cpu["r7"], machine.cpu["msr"]) == (0x5A, KERNEL, KERNEL)
    assert resumes(on) == (3 if mask else 1)
    on.clean()


@pytest.mark.parametrize(
    ("mask", "alone"), [(False, False), (True, False), (False, True)], ids=["", "masked", "alone"]
)
def test_interrupts_from_outside_wait_for_a_range(mask: bool, alone: bool) -> None:
    """A handler may wait for a vCPU that stands still."""
    machine = guest(m.NOP, m.addi(4, 4, 1), m.bdnz(-4), m.NOP)
    machine.cpu.update(ctr=10, r9=0)
    machine.pending[0] = 0x500
    machine.put(VIRTUAL | 0x500, m.addi(9, 9, 1), m.RFID)
    on = bench(machine)
    on.set(mask_interrupts=mask)
    on.step(covering(3, others=b"" if alone else b";c:p1.-1"))
    assert machine.cpu["pc"] == TEXT + 12
    assert machine.cpu["r9"] == (0 if mask or alone else 1)
    assert machine.cpu["msr"] == KERNEL
    on.clean()


def test_interrupts_do_not_wait_where_a_fault_would_not_be_seen() -> None:
    """Its handler would find MSR[EE] wrong in SRR1."""
    machine = guest(m.NOP, m.lbz(5, 6), m.NOP)
    machine.faults = {machine.cpu["r6"]}
    machine.reply[b"Z0,%x" % DSI] = b"E22"
    machine.put(DSI, m.mfspr(7, "srr1"), m.RFID)
    on = bench(machine)
    on.step(covering(3))
    assert machine.cpu["pc"] == TEXT + 12
    assert (machine.cpu["r7"], machine.cpu["msr"]) == (KERNEL, KERNEL)
    on.clean()


def test_breakpoint_of_another_vcpu_while_interrupts_wait() -> None:
    machine = guest(m.NOP, m.NOP, m.b(-8), vcpus=2)
    machine.vcpus[1]["pc"] = TEXT + 0x40
    machine.put(TEXT + 0x40, m.NOP, m.NOP)
    machine.breakpoints[TEXT + 0x44] = 1
    on = bench(machine)
    on.gdb_plants(TEXT + 0x44)
    assert on.step(covering(3)).thread == b"p1.2"
    assert machine.cpu["msr"] == KERNEL
    on.clean([TEXT + 0x44])


def test_another_vcpus_fault_is_passed() -> None:
    machine = guest(m.lbz(5, 6), m.lbz(5, 7), m.NOP, vcpus=2)
    machine.put(DSI, m.SELF)
    machine.turns = [1, 1, 1, 0]
    machine.vcpus[1]["r6"] = 0x4444
    machine.faults = {0x4444}
    on = bench(machine)
    assert on.step(covering(3)).thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 12
    assert machine.vcpus[1]["pc"] == DSI
    on.clean()


def test_another_vcpu_in_the_same_code_is_passed() -> None:
    """Told apart by its stack."""
    machine = guest(m.NOP, m.NOP, m.NOP, vcpus=2)
    machine.turns = [1, 1, 1, 1, 1, 0]
    on = bench(machine)
    assert on.step(covering(3)).thread == b"p1.1"
    assert machine.cpu["pc"] == TEXT + 12
    assert machine.vcpus[1]["pc"] == TEXT + 12
    assert resumes(on) > 1
    on.clean()


def test_an_interrupts_handler_in_the_same_code_is_passed() -> None:
    """It calls the function that is stepped."""
    machine = guest(m.NOP, m.NOP, m.NOP, m.BLR)
    machine.interrupt_at[0, TEXT + 4] = 0x500
    machine.cpu["r9"] = 0
    handler = VIRTUAL | 0x500
    machine.put(handler, m.addi(1, 1, -64), m.b(TEXT - handler - 4, link=True))
    machine.put(handler + 8, m.addi(1, 1, 64), m.addi(9, 9, 1), m.RFID)
    on = bench(machine)
    on.step(covering(3))
    assert (machine.cpu["pc"], machine.cpu["r9"], machine.cpu["r1"]) == (TEXT + 12, 1, STACK)
    on.clean()


def test_thread_of_execution_that_the_guest_moves_to_another_vcpu() -> None:
    machine = guest(m.NOP, m.NOP, m.NOP, vcpus=2)

    def move(payload: bytes) -> None:
        if payload.startswith(b"vCont"):
            first, second = machine.vcpus
            machine.vcpus[:] = [second, first]
            machine.cpu["pc"] = TEXT + 0x40

    machine.put(TEXT + 0x40, m.SELF)
    on = bench(machine)
    on.link.hook = move
    assert on.step(covering(3)).thread == b"p1.2"
    assert machine.vcpus[1]["pc"] == TEXT + 12
    on.clean()


def test_exit_that_cannot_be_planted_has_the_range_stepped() -> None:
    machine = guest(m.NOP, m.NOP, m.NOP)
    machine.reply[b"Z0,%x" % (TEXT + 12)] = b"E22"
    native = machine.native(steps=3)
    on = bench(machine)
    on.step(covering(3))
    assert machine.changed(native) == {}
    assert resumes(on) == 3
    assert any("not run through" in line for line in on.log)
    on.clean()


def test_error_within_a_range() -> None:
    """gdb prints it and asks how far the guest came."""
    machine = guest(m.NOP, m.NOP, m.addi(1, 1, 0), m.NOP)
    on = bench(machine)
    on.link.hook = lambda payload: (
        machine.reply.update({b"Z0": b"E22"}) if machine.cpu["pc"] == TEXT + 8 else None
    )
    with pytest.raises(StubRefused):
        on.step(covering(4))
    assert machine.cpu["pc"] == TEXT + 8
    on.clean()


@pytest.mark.parametrize("kvm", [False, True])
def test_range_in_which_memory_has_breakpoints(kvm: bool) -> None:
    """With KVM they are words in memory, and what they hide is looked at."""
    machine = guest(m.NOP, m.addi(4, 4, 1), m.b(0x40), m.NOP)
    machine.kvm = kvm
    native = machine.native(steps=3)
    on = bench(machine)
    place = TEXT + 8
    machine.breakpoints[place] = 1
    on.step(covering(4))
    assert machine.cpu["pc"] == place, "also if the engine does not know it"
    on.gdb_plants(place)
    on.step(covering(4))
    assert machine.changed(native) == {}
    on.clean([place])


@pytest.mark.parametrize("words", [(m.NOP, m.NOP, m.NOP), (m.NOP, m.lbz(5, 6), m.NOP)])
def test_range_on_a_vcpu_whose_srrs_the_stub_withholds(words: tuple[int, ...]) -> None:
    """QEMU 7.2 on every vCPU but the first."""
    machine = guest(*words, vcpus=2)
    machine.first_only = True
    machine.frozen = {0}
    native = machine.native(1, steps=3)
    on = bench(machine)
    on.stub.select(b"p1.2")
    assert on.step(covering(3).replace(b"p1.1", b"p1.2")).thread == b"p1.2"
    assert machine.changed(native) == {}
    assert resumes(on) == 1
    on.clean()


@pytest.mark.parametrize("words", [(m.NOP, m.NOP, m.NOP), (m.NOP, m.lbz(5, 6), m.NOP)])
@pytest.mark.parametrize("vcpu", [0, 1], ids=["", "SRRs withheld"])
def test_one_packet_of_a_range_is_refused(words: tuple[int, ...], vcpu: int) -> None:
    """Whichever: what can be done later is done before the next step."""
    for number in range(1, 200):
        machine = guest(*words, vcpus=2)
        machine.first_only = True
        machine.frozen = {1 - vcpu}
        native = machine.native(vcpu, steps=3)
        on = bench(machine)
        step = covering(3).replace(b"p1.1", b"p1.%d" % (vcpu + 1))
        failed = failing_at(machine, number, refused)
        with suppress(SstepError):
            on.resume(step)
        if not failed:
            break
        on.engine.recover()
        while TEXT <= machine.vcpus[vcpu]["pc"] < TEXT + 12:
            on.resume(step)
        assert machine.changed(native) == {}, (number, failed)
        on.clean()
    assert number > 12


def test_what_a_session_leaves_that_is_killed_in_a_range() -> None:
    """After whichever packet: the next one finds it in the record, and MSR[EE] is set again."""
    found = 0
    for number in range(1, 100):
        machine = guest(m.NOP, m.lbz(5, 6), m.NOP)
        before = machine.state()[0]
        native = machine.native(steps=3)
        failed = failing_at(machine, number, cut_off)
        notes = [""]
        with suppress(StubGone):
            killed = bench(machine)
            notes = killed.records
            killed.resume(covering(3))
        if not failed:
            break
        machine.breakpoints.clear()  # as QEMU does when the next gdb asks `?`
        later = bench(machine)
        found += len(later.engine.clean(record.read(notes[-1])))
        if machine.cpu["pc"] == TEXT:
            assert machine.cpu == before
        else:
            assert machine.changed(native) == {}, (number, failed)
        later.clean()
    assert found > 3

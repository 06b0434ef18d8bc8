# SPDX-License-Identifier: MIT
"""What a session leaves that is killed at any packet, and the next one that clears it away."""

from __future__ import annotations

from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.errors import StubGone

from .. import machine as m
from ..machine import KERNEL, REAL, SE, TEXT, TRACE, USER
from .bench import CONTINUE, OTHER, bench, faulting, interrupted_in_handler, program, two_vcpus
from .failures import COMPLETING, FAILING, at_home, cut_off, failing_at, reached, two_steps

ALONE = b"vCont;s:p1.1"


@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
@pytest.mark.parametrize("ahead", [False, True], ids=["", "ahead"])
@pytest.mark.parametrize(("words", "state"), COMPLETING)
def test_what_a_session_leaves_that_is_killed_in_steps_that_are_undone_later(
    words: tuple[int, ...], state: int, ahead: bool, kvm: bool
) -> None:
    """After whichever packet: the next session finds it in the record."""
    for number in range(1, 100):
        machine = program(*words, *words, m.NOP, state=state)
        at_home(machine, kvm)
        if words[0] == FAILING["mfmsr"][0]:
            machine.cpu["r7"] = 0
        after = [machine.native(steps=count) for count in range(3)]
        killed = bench(machine)
        failed = failing_at(machine, number, cut_off)
        done = two_steps(killed, ahead)
        known = record.read(killed.records[-1])
        assert failed or known or machine.planted == {}
        del machine.call
        machine.breakpoints.clear()
        later = bench(machine)
        later.engine.clean(known)
        here = reached(machine, after)
        assert here >= done
        assert machine.changed(after[here]) == {}, (number, failed)
        assert later.engine.leftovers() == []
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
        known = record.read(notes[-1]) if recorded else ()
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
        assert later.engine.leftovers() == []
        later.clean()
    assert (found > 3) == (native[0]["pc"] == TEXT + 4), "what is privileged is not traced"


def test_step_of_a_killed_session_in_a_handler_is_collected_by_the_next() -> None:
    machine = faulting()
    before = machine.state()[0]
    notes = interrupted_in_handler(machine)
    known = record.read(record.written(notes.engine.snapshot))
    later = bench(machine)
    (left,) = later.engine.clean(known)
    assert "handler" in left.what
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    later.gdb_plants(TEXT + 8)
    later.resume(CONTINUE)
    assert machine.cpu == before | {"pc": TEXT + 8, "r5": 0x5A, "r20": 1, "r21": 1}
    later.clean([TEXT + 8])


def test_the_guests_own_trace_interrupts_are_told_too() -> None:
    machine = two_vcpus(m.NOP)
    machine.vcpus[0]["msr"] |= SE
    machine.vcpus[1].update(pc=TRACE, srr0=OTHER + 4, srr1=USER | SE | 0x40000000)
    on = bench(machine)
    assert [one.what for one in on.engine.leftovers()] == [
        f"MSR[SE] is set at {TEXT:#x}",
        f"a Trace interrupt from before {OTHER + 4:#x}",
    ]
    assert machine.vcpus[0]["msr"] & SE
    assert on.stub.thread == b"p1.1"


def test_what_a_session_leaves_that_is_killed_in_a_step_that_only_masks_interrupts() -> None:
    """After whichever packet.  It is to land on the next instruction, and faults: MSR[EE] is then
    masked in SRR1."""
    found = 0
    for number in range(1, 100):
        machine = faulting()
        killed = bench(machine)
        failed = failing_at(machine, number, cut_off)
        with suppress(StubGone):
            killed.step(ALONE)
        assert not killed.log or "land on" in killed.log[0]
        if not failed:
            break
        machine.breakpoints.clear()
        later = bench(machine)
        found += bool(later.engine.clean(record.read(killed.records[-1])))
        kept = "msr" if machine.cpu["pc"] == TEXT else "srr1"
        assert machine.cpu[kept] == KERNEL, (number, failed)
        later.clean()
    assert found > 1

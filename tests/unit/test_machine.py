# SPDX-License-Identifier: MIT
"""The simulated machine itself: it does what was seen of QEMU's."""

from __future__ import annotations

import pytest

from . import machine as m
from .engine.bench import CONTINUE, STEP, program
from .machine import KERNEL, SE, TEXT, Runaway


def test_machine_ignores_steps() -> None:
    """Else every test here would be green for nothing."""
    machine = program(m.NOP)
    with pytest.raises(Runaway):
        machine.resume(STEP)


def test_machine_does_what_was_seen_of_a_trace_interrupt() -> None:
    """Seen under KVM HV: SRR1 is 0x8000000040009433 for MSR 0x8000000000009033."""
    machine = program(m.NOP, state=KERNEL | SE)
    (cpu,) = machine.native()
    assert (cpu["pc"], cpu["srr0"]) == (0xC000000000004D00, TEXT + 4)
    assert cpu["srr1"] == 0x8000000040009433
    assert not cpu["msr"] & SE


def test_machine_with_kvm_tells_old_registers_until_it_is_asked_for_all() -> None:
    """Seen with QEMU 7.2: right after a stop `p` gives the stop before, and a `P` is lost."""
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

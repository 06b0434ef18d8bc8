# SPDX-License-Identifier: MIT
"""What other vCPUs do during a step."""

from __future__ import annotations

from .. import machine as m
from ..machine import TEXT
from .bench import OTHER, STEP, bench, two_vcpus


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

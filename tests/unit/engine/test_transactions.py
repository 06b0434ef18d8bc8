# SPDX-License-Identifier: MIT
"""Steps in transactions (POWER8): MSR[TS], bits 29:30."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, USER, VIRTUAL
from .bench import OTHER, bench, program


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

# SPDX-License-Identifier: MIT
"""Steps that were interrupted in a handler: each is collected when it comes home."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import StubRefused

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE, USER
from .bench import (
    CONTINUE,
    CTRL_C,
    DSI,
    OTHER,
    OVER,
    STEP_2,
    bench,
    faulting,
    interrupted_in_handler,
    own_trace,
    trace_handler,
)


def test_step_interrupted_in_a_handler_is_collected_silently_later() -> None:
    machine = faulting()
    before = machine.state()[0]
    on = interrupted_in_handler(machine)
    machine.breakpoints[TEXT + 8] = 1  # gdb's
    on.gdb_plants(TEXT + 8)
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
    on.set(interrupts=OVER)
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


def test_step_that_comes_home_in_a_signal_handler_is_collected() -> None:
    """Linux keeps SE for it; its frame is below the stack of the program."""
    machine = faulting(handler=(m.mtspr("srr0", 23), m.addi(1, 1, -0x1000)))
    machine.cpu.update(msr=USER, r23=TEXT + 0x200)
    machine.put(TEXT + 0x200, *[m.addi(24, 24, 1)] * 2, m.SELF)
    on = bench(machine)
    on.set(interrupts=OVER)
    on.step()
    assert (machine.cpu["pc"], machine.cpu["msr"]) == (TEXT + 0x204, USER)
    on.clean()


def test_gdbs_own_breakpoint_at_a_guarded_vector_is_reported() -> None:
    machine = faulting(vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    trace_handler(machine)
    machine.frozen = {1}
    on = interrupted_in_handler(machine)
    machine.frozen = {0}
    own_trace(machine, 1, USER)
    machine.breakpoints[TRACE] = 1
    on.gdb_plants(TRACE)
    assert on.resume(CONTINUE).payload == b"T05thread:p01.02;"
    two = machine.vcpus[1]
    assert two["pc"] == TRACE
    assert two["srr1"] & SE
    assert machine.planted == {TRACE: 1}


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

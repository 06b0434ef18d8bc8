# SPDX-License-Identifier: MIT
"""Steps with watchpoints: an access is told before it is made, and nothing else is seen of it."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.options import Watchpoints

from .. import linux
from .. import machine as m
from .. import words as w
from ..machine import TEXT
from .bench import CONTINUE, CTRL_C, STEP, STEP_2
from .watchers import (
    AWATCH,
    COUNT,
    DATA,
    KINDS,
    LOST,
    RWATCH,
    SRRS,
    WATCH,
    Kind,
    Native,
    Watcher,
    named,
)

STEPPED = [kind for kind in KINDS if not kind.n]


@pytest.mark.parametrize("undo", [Undo.AT_ONCE, Undo.DEFER])
@pytest.mark.parametrize("kind", STEPPED, ids=[kind.name for kind in STEPPED])
def test_step_by_step(kind: Kind, undo: Undo) -> None:
    """Every register, SRR0 and SRR1 too, after each of them."""
    machine, n, data, _, _ = kind.guest()
    native = Native(machine, n)
    on = Watcher(machine, undo=undo)
    on.watch(data)
    for number in range(12):
        on.engine.quiesce()
        native.equals(machine, but=LOST)
        if number % 4 == 2:
            assert on.resume(STEP).payload == named(WATCH, data)
            on.engine.quiesce()
            native.equals(machine, but=LOST)
            on.past()
        else:
            on.steps()
        native.step()
    assert machine.value(data, order=kind.order) == 3
    assert on.told == []
    on.let_go()


@pytest.mark.parametrize("option", [Watchpoints.AUTO, Watchpoints.STEP])
def test_step_of_an_access_beside_it(option: Watchpoints) -> None:
    """It shares the doubleword: no interrupt comes of it."""
    machine, *_ = Kind().guest(w.stw(5, 6), w.std(5, 6))
    native = Native(machine)
    on = Watcher(machine, watchpoints=option)
    on.watch(DATA + 4, 4)
    on.steps()
    native.step()
    matches = machine.matches
    native.equals(machine, but={"dawr0", "dawrx0"})
    assert on.resume(STEP).payload == named(WATCH, DATA + 4)
    native.equals(machine, but={"dawr0", "dawrx0"})
    assert machine.matches == matches
    on.let_go()


@pytest.mark.parametrize("option", [Watchpoints.AUTO, Watchpoints.STEP])
@pytest.mark.parametrize("what", ["B", "A", "bare"])
@pytest.mark.parametrize("kind", [WATCH, RWATCH, AWATCH])
def test_range(kind: int, what: str, option: Watchpoints) -> None:
    """`vCont;r`, which is run through, stops at the access."""
    machine, _, data, code, spared = Kind(what).guest(m.NOP, *COUNT[:3], m.NOP, m.b(-20))
    native = Native(machine)
    on = Watcher(machine, watchpoints=option)
    on.watch(data, 8, kind)
    places = {WATCH: [12], RWATCH: [4], AWATCH: [4, 12]}[kind]
    stepping = b"vCont;r%x,%x:p1.1;c:p1.-1" % (code, code + 24)
    for place in places * 3:
        assert on.hit(stepping).payload == named(kind, data)
        native.until(code + place)
        native.equals(machine, but=LOST | SRRS, spared=spared)
        on.past()
        native.step()
    on.let_go()
    assert on.told == []


@pytest.mark.parametrize("what", ["B", "bare"])
@pytest.mark.parametrize("at", [0, 1])
def test_range_that_ends_before_the_access(what: str, at: int) -> None:
    machine, _, data, code, _ = Kind(what).guest(m.NOP, m.NOP, *COUNT)
    on = Watcher(machine)
    on.watch(data)
    machine.cpu["pc"] = code + 4 * at
    stepping = b"vCont;r%x,%x:p1.1;c:p1.-1" % (code, code + 16)
    on.steps(stepping)
    assert machine.cpu["pc"] == code + 16
    assert on.resume(STEP).payload == named(WATCH, data)
    on.past()
    on.let_go()


LOOP = (w.ldarx(5, 0, 6), m.addi(5, 5, 1), w.stdcx(5, 0, 6), w.bne(-12), m.b(-16))


@pytest.mark.parametrize("option", [Watchpoints.AUTO, Watchpoints.STEP])
@pytest.mark.parametrize("kind", [WATCH, RWATCH, AWATCH])
@pytest.mark.parametrize("what", ["B", "A", "bare"])
def test_step_of_an_atomic_sequence(what: str, kind: int, option: Watchpoints) -> None:
    """It is one step, before which its accesses are told; the sequence is then executed once."""
    machine, _, data, code, _ = Kind(what).guest(*LOOP)
    native = Native(machine)
    on = Watcher(machine, watchpoints=option)
    on.watch(data, 8, kind)
    for count in range(3):
        assert on.resume(STEP).payload == named(kind, data)
        assert machine.cpu["pc"] == code
        assert machine.value(data) == count
        on.past()
        assert machine.value(data) == count + 1
        native.until(code + 12)
        native.equals(machine, but={"dawr0", "dawrx0"})
        on.step()
        on.step()
        native.until(code)
    assert on.told == []
    on.let_go()


@pytest.mark.parametrize("kind", [WATCH, RWATCH])
def test_an_atomic_sequence_by_steps(kind: int) -> None:
    """Without DAWR, a continue sees each increment."""
    machine, _, data, _, _ = Kind().guest(*LOOP)
    on = Watcher(machine, watchpoints=Watchpoints.STEP)
    on.watch(data, 8, kind)
    for count in range(4):
        assert on.hit().payload == named(kind, data)
        assert machine.value(data) == count
        on.past()
        assert machine.value(data) == count + 1
    on.let_go()


def test_an_atomic_sequence_beside_it() -> None:
    machine, _, data, code, _ = Kind().guest(
        w.lwarx(5, 0, 6), m.addi(5, 5, 1), w.stwcx(5, 0, 6), w.bne(-12), w.stw(5, 6, 4)
    )
    on = Watcher(machine)
    on.watch(data + 4, 4, AWATCH)
    on.steps()
    assert machine.cpu["pc"] == code + 12
    assert machine.value(data, 4) == 1
    on.step()
    assert on.resume(STEP).payload == named(AWATCH, data + 4)
    on.let_go()


def test_a_step_while_another_vcpu_accesses_it() -> None:
    """The stop is the other's; the step is taken back or done, and all goes on."""
    machine, _, data, _, _ = Kind(n=1).guest()
    machine.put(TEXT + 0x400, m.addi(21, 21, 1), m.b(-4))
    machine.cpu.update(pc=TEXT + 0x400, r21=0)
    machine.turns = [*[1] * 400, 0]
    on = Watcher(machine)
    on.watch()
    assert on.hit().thread == b"p1.2"
    on.past(b"p1.2")
    stop = on.resume(b"vCont;s:p1.1;c:p1.-1")
    assert stop.payload == named(WATCH, data, 2)
    assert machine.value(data) == 1
    assert machine.cpu["pc"] in (TEXT + 0x400, TEXT + 0x404)
    assert not machine.cpu["msr"] & m.SE
    on.past(b"p1.2")
    machine.turns = [0, 1]
    where = machine.cpu["pc"], machine.cpu["r21"]
    on.step()
    assert (machine.cpu["pc"], machine.cpu["r21"]) != where
    on.let_go()


def test_a_first_resume_that_is_a_step_while_another_vcpu_accesses_it() -> None:
    """All vCPUs that run are watched, also if nothing was continued with the watchpoint before."""
    machine, _, data, _, _ = Kind(n=1).guest()
    machine.put(TEXT + 0x400, m.addi(21, 21, 1), m.b(-4))
    machine.cpu.update(pc=TEXT + 0x400, r21=0)
    machine.turns = [*[1] * 400, 0]
    on = Watcher(machine)
    on.watch()
    assert on.resume(b"vCont;s:p1.1;c:p1.-1").payload == named(WATCH, data, 2)
    assert machine.value(data) == 0
    on.past(b"p1.2")
    assert machine.value(data) == 1
    on.let_go()


def test_step_of_the_second_vcpu() -> None:
    machine, n, data, _, _ = Kind(n=1, sprs_everywhere=True).guest()
    native = Native(machine, n)
    on = Watcher(machine)
    on.stub.select(b"p1.2")
    on.watch(data)
    for number in range(8):
        native.equals(machine, but=LOST)
        if number % 4 == 2:
            assert on.resume(STEP_2).payload == named(WATCH, data, 2)
            on.past(b"p1.2")
        else:
            on.steps(STEP_2)
        native.step()
    on.let_go()


def test_a_match_in_a_handler_under_a_step() -> None:
    """The step's instruction faults, and the guest's handler of that accesses what is watched."""
    machine, _, data, code, _ = Kind("bare").guest(w.ld(7, 6, 0x100), m.NOP)
    machine.put_value(data + 0x100, 3)
    machine.put(m.VIRTUAL | 0x300, m.addi(20, 20, 1), w.std(20, 6), m.RFID)
    machine.faults = {data + 0x100}
    on = Watcher(machine)
    on.watch()
    on.steps()
    assert machine.cpu["pc"] == m.VIRTUAL | 0x300, "as native stepping shows it"
    on.step()
    assert on.resume(STEP).payload == named(WATCH, data)
    on.past()
    on.step()
    assert machine.cpu["pc"] == code
    on.step()
    assert machine.cpu["r7"] == 3
    on.let_go()


def test_ctrl_c_while_it_watches_by_steps() -> None:
    machine, *_ = Kind().guest(m.addi(5, 5, 1), m.b(-4))
    on = Watcher(machine, watchpoints=Watchpoints.STEP)
    on.watch()
    on.link.asked = True
    stop = on.resume(CONTINUE)
    assert stop.signal == 2
    machine.stop_at[0, TEXT + 4] = CTRL_C
    assert on.resume(CONTINUE).signal == 2
    on.let_go()


@pytest.mark.parametrize("option", [Watchpoints.AUTO, Watchpoints.STEP])
def test_gdbs_breakpoints_stop_as_ever(option: Watchpoints) -> None:
    machine, *_ = Kind().guest()
    on = Watcher(machine, watchpoints=option)
    on.watch()
    on.hit()
    on.past()
    for place in (TEXT, TEXT + 4):
        assert on.to(place).is_breakpoint
        assert machine.cpu["pc"] == place
    assert on.hit().payload == named(WATCH, DATA)
    on.let_go()


def test_a_watchpoint_on_what_a_stack_frame_is_pushed_with() -> None:
    """stdu: the register is as before at the hit, and is written once."""
    machine, _, _, code, spared = Kind().guest(w.stdu(1, 1, -16), m.addi(1, 1, 16), m.b(-8))
    frame = machine.cpu["r1"] - 16
    native = Native(machine)
    on = Watcher(machine)
    on.watch(frame)
    for _ in range(3):
        assert on.hit().payload == named(WATCH, frame)
        native.until(code)
        native.equals(
            machine,
            but=LOST | SRRS,
            spared=(*spared, range(frame & ~0xFFF & (1 << 60) - 1, frame & (1 << 60) - 1)),
        )
        on.past()
        native.step()
    on.let_go()


def test_linux_is_well_after_many_hits() -> None:
    machine = linux.booted(*COUNT)
    machine.cpu["r6"] = DATA
    machine.put_value(DATA, 0)
    on = Watcher(machine, undo=Undo.DEFER)
    on.watch()
    for count in range(30):
        on.hit()
        assert machine.value(DATA) == count
        on.past()
    assert linux.breaks(machine) == linux.page_faults(machine) == 0
    on.let_go()

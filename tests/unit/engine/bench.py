# SPDX-License-Identifier: MIT
"""An engine on the simulated machine, and the machines that several test files start from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.engine.engine import Engine
from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import SstepError, StubGone, StubRefused
from gdb_ppc_sstep.options import Interrupts, Options
from gdb_ppc_sstep.rsp.breakpoints import Breakpoint, GdbBreakpoints
from gdb_ppc_sstep.rsp.resume import StopReply, parse_resume
from gdb_ppc_sstep.stub.kvm import KvmStub
from gdb_ppc_sstep.stub.stub import Stub

from .. import machine as m
from ..machine import KERNEL, REAL, SE, TEXT, TRACE, USER, VIRTUAL, FakeLink, Machine

STEP = b"vCont;s:p1.1;c:p1.-1"
STEP_2 = b"vCont;s:p1.2;c:p1.-1"
CONTINUE = b"vCont;c:p1.-1"
DSI = VIRTUAL | 0x300
CTRL_C = b"T02thread:p01.01;"


class Bench:
    """An engine, and the machine, link and stub that it works on.

    records: what the engine has told its journal, one record after another.  told: the lines that
    it has printed for the user.
    """

    def __init__(self, machine: Machine, *, hv: bool = False) -> None:
        self.machine = machine
        self.link = FakeLink(machine)
        registers = machine.registers()
        self.stub = (
            KvmStub(self.link, registers, hv=hv) if machine.kvm else Stub(self.link, registers)
        )
        self.stub.select(b"p1.1")
        self.log: list[str] = []
        self.records = [""]
        self.told: list[str] = []
        self.breakpoints = GdbBreakpoints()
        self.options = Options()
        self.set()

    def set(self, *, undo: Undo = Undo.AT_ONCE, **options: Any) -> None:
        """Begin again with a new engine.

        undo: when the engine undoes a step.  options: fields of `Options` to change.
        """
        self.options = self.options._replace(**options)
        self.engine = Engine(
            self.stub,
            lambda line, *values: self.log.append(line.format(*values)),
            breakpoints=self.breakpoints,
            journal=lambda snapshot: self.records.append(record.written(snapshot)),
            undo=undo,
            tell=self.told.append,
        )
        self.engine.apply(self.options)

    def gdb_plants(self, *addresses: int) -> None:
        """Have the engine know that gdb has breakpoints at these addresses, and nowhere else."""
        self.breakpoints.clear()
        for address in addresses:
            self.breakpoints.insert(Breakpoint(0, address, 4))

    def resume(self, payload: bytes) -> StopReply:
        """Send the engine a resume packet of gdb.  Returns the stop.

        The journal has to be up to date then.
        """
        request = parse_resume(payload)
        assert request is not None
        gone = False
        try:
            return self.engine.resume(request).stop
        except StubGone:
            gone = True
            raise
        finally:
            assert gone or self.records[-1] == record.written(self.engine.snapshot)

    def step(self, payload: bytes = STEP) -> StopReply:
        """Send the engine a step request, which must end as a step does.  Returns the stop."""
        stop = self.resume(payload)
        assert stop.signal == 5
        return stop

    def ahead(self, arm: bool) -> None:
        """Have the engine prepare the next step, as the layer does.  arm: arm it ahead."""
        request = parse_resume(STEP)
        assert request is not None
        self.engine.prepare(request, arm=arm)

    def clean(self, breakpoints: Collection[int] = ()) -> None:
        """Assert that nothing of ours is left in the guest, and gdb's breakpoints are in place."""
        assert self.machine.planted == dict.fromkeys(breakpoints, 1)
        assert self.engine.outstanding == []
        assert self.records[-1] == ""
        for cpu in self.machine.vcpus:
            assert not cpu["msr"] & SE
            assert not cpu["msr"] & m.PR or cpu["msr"] & m.EE


def bench(machine: Machine, *, hv: bool = False) -> Bench:
    """An engine on a machine, as a door starts it."""
    return Bench(machine, hv=hv)


def program(*words: int, vcpus: int = 1, state: int = KERNEL, lpcr: int | None = None) -> Machine:
    """A machine with code at TEXT that ends in a loop, in the byte order of `state`."""
    machine = Machine(vcpus) if lpcr is None else Machine(vcpus, lpcr=lpcr)
    machine.put(TEXT, *words, m.SELF, order="little" if state & m.LE else "big")
    for cpu in machine.vcpus:
        cpu["msr"] = state
    return machine


AIL0, AIL2, AIL3 = 0, 2 << m.AIL_SHIFT, 3 << m.AIL_SHIFT

MODES = {
    "little-endian, AIL=3": (KERNEL, AIL3 | m.ILE),
    "little-endian, AIL=2": (KERNEL, AIL2 | m.ILE),
    "little-endian, AIL=0": (KERNEL, AIL0 | m.ILE),
    "big-endian, AIL=3": (KERNEL & ~m.LE, AIL3),
    "big-endian with little-endian interrupts": (KERNEL & ~m.LE, AIL3 | m.ILE),
    "little-endian with big-endian interrupts": (KERNEL, AIL3),
    "little-endian with big-endian interrupts, AIL=0": (KERNEL, AIL0),
    "real mode": (REAL, AIL3 | m.ILE),
    "real mode with big-endian interrupts": (REAL, AIL3),
    "IR=1 DR=0": (REAL | m.IR, AIL3 | m.ILE),
    "IR=0 DR=1": (REAL | m.DR, AIL3 | m.ILE),
    "problem state": (USER, AIL3 | m.ILE),
    "problem state, little-endian with big-endian interrupts": (USER, AIL3),
}


def unchanged(on: Bench, payload: bytes = STEP, error: type[SstepError] = StubRefused) -> str:
    """Assert that a step fails and leaves the guest as it was.  Returns the line of the error."""
    before = on.machine.state()
    planted = on.machine.planted
    with pytest.raises(error) as raised:
        on.resume(payload)
    assert on.machine.changed(before) == {}
    assert on.machine.planted == planted
    assert on.machine.resumes == []
    assert on.engine.outstanding == []
    assert on.engine.steps == 0
    return str(raised.value)


OVER = Interrupts.OVER


def faulting(vcpus: int = 1, *, handler: tuple[int, ...] = ()) -> Machine:
    """The lbz at TEXT faults once; the handler counts in r20 and returns.

    The code after the lbz counts in r21.
    """
    machine = program(m.lbz(5, 6), m.addi(21, 21, 1), m.NOP, vcpus=vcpus)
    machine.put(DSI, m.addi(20, 20, 1), *handler, m.NOP, m.RFID)
    machine.cpu.update(r6=0x1234, r20=0, r21=0)
    machine.faults.add(0x1234)
    return machine


def interrupted_in_handler(machine: Machine) -> Bench:
    """Make a step that a Ctrl-C interrupts at the second instruction of the handler."""
    machine.stop_at[0, DSI + 4] = CTRL_C
    on = bench(machine)
    on.set(interrupts=OVER)
    assert on.resume(STEP).payload == CTRL_C
    assert machine.cpu["pc"] == DSI + 4
    assert len(on.engine.outstanding) == 1
    assert machine.planted == {}, "nothing of ours is planted while the guest is stopped"
    return on


OTHER = TEXT + 0x1000


def two_vcpus(*words: int) -> Machine:
    """The first vCPU is at `words`, at TEXT; the second is in a loop at OTHER and counts in r21."""
    machine = program(*words, vcpus=2)
    machine.put(OTHER, m.addi(21, 21, 1), m.b(-4))
    machine.vcpus[1]["pc"] = OTHER
    return machine


def trace_handler(machine: Machine) -> None:
    """Give the guest its own handler of Trace interrupts, which counts in r22 and returns."""
    machine.put(TRACE, m.addi(22, 22, 1), m.NOP, m.RFID)
    for cpu in machine.vcpus:
        cpu["r22"] = 0


def own_trace(machine: Machine, vcpu: int, state: int) -> None:
    """A vCPU is about to return to a loop at OTHER, which the guest itself traces.

    If the guest's Trace handler runs, it returns with SE set again, so each instruction counts once
    in r22.
    """
    machine.put(OTHER + 0x100, m.RFID)
    machine.vcpus[vcpu].update(pc=OTHER + 0x100, srr0=OTHER, srr1=state | SE, msr=KERNEL, r21=0)


STACK = 0xC000000000F00000


def guest(*words: int, vcpus: int = 1, state: int = KERNEL) -> Machine:
    """A machine like `program`, each vCPU with a stack of its own."""
    machine = program(*words, vcpus=vcpus, state=state)
    for number, cpu in enumerate(machine.vcpus):
        cpu["r1"] = STACK + 0x10000 * number
    return machine


def resumes(on: Bench) -> int:
    return len(on.machine.resumes)

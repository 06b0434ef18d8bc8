# SPDX-License-Identifier: MIT
"""Watchpoints as gdb uses them, and the guests in which they are watched."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.rsp.breakpoints import Breakpoint
from gdb_ppc_sstep.rsp.resume import StopReply

from .. import linux
from .. import machine as m
from .. import words as w
from ..dawr_machine import DawrMachine, bare
from .bench import AIL0, AIL3, CONTINUE, CTRL_C, STEP, Bench

DATA = 0xC000000000C00100
USER_DATA = linux.PROGRAM + 0x800
NAMES = {2: b"watch", 3: b"rwatch", 4: b"awatch"}
WATCH, RWATCH, AWATCH = NAMES  # as Z packets number them

COUNT = (w.ld(5, 6), m.addi(5, 5, 1), w.std(5, 6), m.b(-12))
"""Adds 1 to the doubleword at r6, again and again."""
LOAD, STORE = m.TEXT, m.TEXT + 8

LOST = {"dar", "dsisr", "dawr0", "dawrx0", "sprg2"}
"""Registers that a match changes: only the entry of an interrupt reads them."""
SRRS = {"srr0", "srr1"}


class Watcher(Bench):
    """gdb with watchpoints, on a CPU that reports an access before it happens."""

    def __init__(self, machine: DawrMachine, *, undo: Undo = Undo.AT_ONCE, **options: Any) -> None:
        super().__init__(machine, hv=True)
        self.guest = machine
        self.set(undo=undo, **options)

    def watch(self, address: int = DATA, length: int = 8, kind: int = WATCH) -> Breakpoint:
        """gdb inserts a watchpoint."""
        one = Breakpoint(kind, address, length)
        assert self.asked(one, inserts=True) == b"OK"
        self.breakpoints.insert(one)
        return one

    def asked(self, one: Breakpoint, *, inserts: bool) -> bytes:
        """Send the engine gdb's packet that inserts or removes a watchpoint.  Returns the reply."""
        payload = b"%s%d,%x,%x" % (b"Z" if inserts else b"z", *one)
        return self.engine.watch(payload, one, inserts=inserts)

    def unwatch(self, one: Breakpoint) -> None:
        """gdb removes a watchpoint."""
        self.breakpoints.remove(one)
        assert self.asked(one, inserts=False) == b"OK"

    def hit(self, payload: bytes = CONTINUE) -> StopReply:
        """gdb resumes, and the guest must stop at an access.  Returns the stop."""
        stop = self.resume(payload)
        assert stop.payload[3:].startswith(tuple(NAMES.values())), (stop.payload, self.log)
        assert stop.payload[:3] == b"T05"
        return stop

    def steps(self, payload: bytes = STEP) -> None:
        """gdb steps, and the step must end without a hit."""
        stop = self.resume(payload).payload
        assert stop.startswith(b"T05thread:"), (stop, self.log)

    def past(self, thread: bytes = b"p1.1") -> None:
        """gdb removes its watchpoints, steps the thread alone, and inserts them again."""
        watched = self.breakpoints.watched
        for one in watched:
            self.unwatch(one)
        self.steps(b"vCont;s:%s" % thread)
        for one in watched:
            self.watch(one.address, one.length, one.kind)

    def to(self, address: int) -> StopReply:
        """gdb continues to a breakpoint of its own, and removes it again."""
        self.machine.breakpoints[address] += 1
        self.gdb_knows(Breakpoint(0, address, 4))
        try:
            return self.resume(CONTINUE)
        finally:
            self.machine.breakpoints[address] -= 1
            self.breakpoints.remove(Breakpoint(0, address, 4))
            self.stub.forget()

    def resume_briefly(self) -> None:
        """gdb resumes, and the user interrupts at once."""
        self.machine.stop_at[0, self.machine.cpu["pc"]] = CTRL_C
        assert self.resume(CONTINUE).signal == 2

    def gdb_knows(self, one: Breakpoint) -> None:
        """gdb has inserted a breakpoint; what the stub had told before does not count any more."""
        self.breakpoints.insert(one)
        self.stub.forget()

    def let_go(self) -> None:
        """gdb removes all watchpoints and detaches; nothing of ours may be left."""
        for one in self.breakpoints.watched:
            self.unwatch(one)
        assert self.engine.release(lambda: True)
        self.nothing_left()

    def nothing_left(self) -> None:
        """Assert that no DAWR of ours, no breakpoint and no step is left in the guest."""
        assert [cpu["dawrx0"] for cpu in self.machine.vcpus if cpu["dawrx0"] & 0x60] == []
        self.clean()


def named(kind: int, address: int, thread: int = 1) -> bytes:
    """The stop that the engine tells gdb at an access."""
    return b"T05%s:%x;thread:p1.%x;" % (NAMES[kind], address, thread)


class Native:
    """A copy of a guest that runs without a debugger; it follows one vCPU."""

    def __init__(self, machine: DawrMachine, n: int = 0) -> None:
        self.machine = copy.deepcopy(machine)
        self.n = n
        assert not any(cpu["dawrx0"] & 0x60 for cpu in machine.vcpus)

    def until(self, pc: int) -> None:
        """Run the vCPU until it is at `pc`."""
        for _ in range(5000):
            if self.machine.vcpus[self.n]["pc"] == pc:
                return
            self.machine.execute(self.n)
        raise AssertionError(f"{pc:#x} is not reached")

    def step(self) -> None:
        """Have the vCPU execute one instruction."""
        self.machine.execute(self.n)

    def equals(
        self,
        other: DawrMachine,
        *,
        but: set[str],
        spared: tuple[range, ...] = (),
        why: object = None,
    ) -> None:
        """Assert that the vCPU's registers and the memory equal those of another machine.

        but: registers that may differ.  spared: memory that may differ.
        """
        then, now = self.machine.vcpus[self.n], other.vcpus[self.n]
        registers = {
            name: (hex(then[name]), hex(now[name]))
            for name in now
            if name not in but and then[name] != now[name]
        }
        places = self.machine.memory.keys() | other.memory.keys()
        memory = {
            hex(place): (self.machine.memory.get(place), other.memory.get(place))
            for place in places
            if self.machine.memory.get(place) != other.memory.get(place)
            and not any(place in one for one in spared)
        }
        assert not registers and not memory, (registers, memory, why)


class Guest(NamedTuple):
    """A guest whose vCPU is at COUNT.

    machine, n: the vCPU.  data: the address that it counts in.  code: the address of COUNT.
    spared: memory in which its kernel saves the context that an interrupt has interrupted.
    """

    machine: DawrMachine
    n: int
    data: int
    code: int
    spared: tuple[range, ...]


class Kind(NamedTuple):
    """A kind of guest.

    what: "B": a kernel like Linux, with a place to which only matches come; "A": a kernel of
    another shape; "bare": no kernel.
    """

    what: str = "B"
    little: bool = True
    ail: int = AIL3
    sprs_everywhere: bool = False
    n: int = 0
    user: bool = False
    honours: bool = True

    @property
    def name(self) -> str:
        """The name that pytest shows."""
        kernel = {"B": "Linux", "A": "other kernel", "bare": "bare metal"}[self.what]
        return ", ".join(
            [
                kernel,
                "LE" if self.little else "BE",
                f"AIL={self.ail >> m.AIL_SHIFT}",
                *(["all SPRs"] if self.sprs_everywhere else []),
                *(["vCPU 2"] if self.n else []),
                *(["problem state"] if self.user else []),
                *([] if self.honours else ["no DAWR"]),
            ]
        )

    def guest(self, *code: int) -> Guest:
        """Make a guest of this kind.  code: what its vCPU executes instead of COUNT."""
        code = code or COUNT
        order = self.order
        state = m.KERNEL if self.little else m.KERNEL & ~m.LE
        if self.what == "bare":
            machine = bare(vcpus=self.n + 1, state=state, honours=self.honours)
            machine.zeros.append(range(linux.PROGRAM, linux.PROGRAM + 0x1000))
        else:
            filters = self.what == "B"
            machine = linux.booted(
                vcpus=self.n + 1, order=order, filters=filters, honours=self.honours
            )
        machine.first_only = not self.sprs_everywhere
        for cpu in machine.vcpus:
            cpu["lpcr"] = cpu["lpcr"] & ~AIL3 | self.ail
            cpu.update(pc=m.TEXT + 0x400, pid=5)
        machine.put(m.TEXT + 0x400, m.SELF, order=order)
        data, at = DATA, m.TEXT
        cpu = machine.vcpus[self.n]
        if self.user:
            data, at = USER_DATA, linux.PROGRAM
            linux.in_program(machine, *code, n=self.n, order=order)
        else:
            machine.put(at, *code, m.SELF, order=order)
            cpu["pc"] = at
        cpu["r6"] = data
        machine.put_value(data, 0, order=order)
        spared: tuple[range, ...] = ()
        if self.what != "bare":
            low = [cpu["r1"] - linux.FRAME, linux.stack(self.n), linux.paca(self.n)]
            low = [place & 0x0FFFFFFFFFFFFFFF for place in low]
            spared = (
                range(low[0], low[0] + linux.FRAME),
                range(low[1], low[1] + linux.FRAME),
                range(low[2] + linux.EX, low[2] + linux.EX + 0x40),
            )
        return Guest(machine, self.n, data, at, spared)

    @property
    def order(self) -> Any:
        """The byte order."""
        return "little" if self.little else "big"


KINDS = (
    [Kind(what, little, ail) for what in ("B", "A", "bare") for little in (True, False)
     for ail in (AIL0, AIL3)]
    + [Kind(what, sprs_everywhere=True) for what in ("B", "A", "bare")]
    + [Kind(what, little, n=1, sprs_everywhere=everywhere) for what in ("B", "A")
       for little in (True, False) for everywhere in (True, False)]
    + [Kind("bare", n=1, sprs_everywhere=True)]
    + [Kind(what, little, user=True) for what in ("B", "A", "bare") for little in (True, False)]
    + [Kind(what, n=1, user=True, sprs_everywhere=everywhere) for what in ("B", "A")
       for everywhere in (True, False)]
)  # fmt: skip

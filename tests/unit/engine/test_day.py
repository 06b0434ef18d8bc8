# SPDX-License-Identifier: MIT
"""A day of random commands: one for each second of it, on the simulated machine.

The engine has no clock, so none is waited for.  Each command is a step, a range, a continue, a
breakpoint, a Ctrl-C, an interrupt from outside, a setting, a packet that the stub refuses, or a
session that is killed.  After each nothing of ours is in the guest that is not outstanding; a step
that nothing disturbs is compared with a native one.  --soak 100 is 86 400 commands, of all cases
together; --seed S has others.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import StubGone, StubRefused
from gdb_ppc_sstep.options import Interrupts
from gdb_ppc_sstep.rsp.breakpoints import Breakpoint
from gdb_ppc_sstep.rsp.resume import StopReply, parse_resume

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, VIRTUAL, Machine
from .bench import CTRL_C, Bench
from .failures import cut_off, failing_at, refused

COMMANDS = 144
"""Of each of the six cases, in the ordinary tests."""

LOOP, CALLED = 24, TEXT + 0x4000
ROOM = 0x100000  # between the code of two vCPUs
HANDLERS = (0x300, 0x400, 0x500, 0x700, 0x900, 0xC00)
ADDRESS = 0x1234
IN_HANDLER = KERNEL & ~(m.EE | m.RI)


def code(vcpu: int) -> int:
    """Where that of a vCPU starts."""
    return TEXT + ROOM * vcpu


def guest(vcpus: int, choose: random.Random) -> Machine:
    """Each vCPU in a loop of its own, with calls, loads, system calls, traps and their handlers."""
    machine = Machine(vcpus)
    words = [m.addi(4, 4, 1), m.addi(5, 4, 7), m.NOP, m.b(4), m.mfspr(8, "sprg3"), m.lbz(9, 6)]
    for vcpu in range(vcpus):
        here = [m.NOP, *choose.choices([*words, m.mfmsr(7), m.SC], k=LOOP - 2)]
        call = choose.randrange(1, LOOP - 2)
        here[call] = m.b(CALLED - TEXT - 4 * call, link=True)
        machine.put(code(vcpu), *here, m.b(-4 * (len(here))))
        machine.put(code(vcpu) + CALLED - TEXT, *choose.choices(words, k=5), m.BLR)
        machine.vcpus[vcpu].update(pc=code(vcpu), r1=0xC000000000F00000 + ROOM * vcpu, r6=ADDRESS)
    for offset in HANDLERS:
        back = [m.addi(20, 20, 1), m.NOP]
        if offset == 0x700:  # behind the trap
            back += [m.mfspr(21, "srr0"), m.addi(21, 21, 4), m.mtspr("srr0", 21)]
        machine.put(VIRTUAL | offset, *back, m.RFID)
    return machine


class Day:
    """An engine, and the gdb and the guest that it has to do with.

    done: how many commands of each kind, and what came of them.
    """

    def __init__(self, vcpus: int, seed: int, *, kvm: bool) -> None:
        self.random = random.Random(seed)
        self.machine = guest(vcpus, self.random)
        self.machine.kvm = kvm
        self.on = Bench(self.machine)
        self.on.set(undo=Undo.DEFER)
        self.done = Counter[str]()
        self.last = ""
        self.gdbs: set[int] = set()
        self.gone = False
        self.verbs: list[tuple[int, Callable[[], None]]] = [
            (40, self.step),
            (8, self.range),
            (10, self.go_on),
            (6, self.breakpoint),
            (6, self.ctrl_c),
            (6, self.outside),
            (4, self.fault),
            (3, self.setting),
            (6, self.refused),
            (3, self.killed),
        ]

    def live(self, commands: int) -> None:
        weights = [weight for weight, _ in self.verbs]
        for count in range(commands):
            verb = self.random.choices([verb for _, verb in self.verbs], weights)[0]
            self.last = f"{count}: {verb.__name__}"
            self.done[verb.__name__] += 1
            verb()
            self.look()
            for kept in (self.machine.packets, self.machine.resumes, self.on.log):
                kept.clear()
            del self.on.records[:-1]
        self.come_home()

    # -- what is done

    def vcpu(self) -> int:
        return self.random.randrange(len(self.machine.vcpus))

    def payload(self, verb: bytes, vcpu: int) -> bytes:
        alone = self.random.random() < 0.3
        return b"vCont;%s:p1.%x" % (verb, vcpu + 1) + (b"" if alone else b";c:p1.-1")

    def resume(self, payload: bytes) -> bytes:
        """The stop, as gdb has it: with what may wait not yet done."""
        request = parse_resume(payload)
        assert request is not None
        self.random.shuffle(self.machine.turns)
        return self.on.engine.resume(request).stop.payload

    def step(self) -> None:
        """Some of one vCPU; where nothing comes between them they are as native ones."""
        vcpu, machine = self.vcpu(), self.machine
        count = self.random.choice([1, 1, 2, 5, 20])
        calm = not (self.on.engine.outstanding or machine.pending or machine.faults)
        native = machine.native(vcpu, count)[vcpu] if calm else {}
        for _ in range(count):
            stop = StopReply.parse(self.resume(self.payload(b"s", vcpu)))
            if stop.signal != 5 or stop.thread != b"p1.%x" % (vcpu + 1):
                self.done["stopped for another"] += 1
                return
            self.done["steps"] += 1
            if self.random.random() < 0.5:  # the same again, as gdb does within a command
                request = parse_resume(self.payload(b"s", vcpu))
                assert request is not None
                self.on.engine.prepare(request, arm=self.random.random() < 0.7)
        if native and not self.gone and self.on.options.interrupts is Interrupts.INTO:
            self.on.engine.quiesce()
            self.on.engine.recover()  # something may have been refused that was sent ahead
            self.on.engine.quiesce()
            here = machine.vcpus[vcpu]
            wrong = {k: (hex(native[k]), hex(here[k])) for k in here if here[k] != native[k]}
            assert not wrong, wrong
            self.done["compared"] += count

    def range(self) -> None:
        vcpu = self.vcpu()
        start = self.machine.vcpus[vcpu]["pc"] & ~15
        verb = b"r%x,%x" % (start, start + self.random.choice([16, 32, 64]))
        self.machine.stop_at[vcpu, code(vcpu)] = b"T02thread:p01.%02x;" % (vcpu + 1)
        self.resume(self.payload(verb, vcpu))
        self.machine.stop_at.clear()

    def go_on(self) -> None:
        """To a breakpoint of gdb's, or until Ctrl-C."""
        if not self.gdbs:
            self.machine.stop_at[0, code(0)] = CTRL_C
        self.off_breakpoints()
        self.resume(b"vCont;c:p1.-1")
        self.machine.stop_at.clear()

    def off_breakpoints(self) -> None:
        """gdb steps a vCPU off a breakpoint before it goes on."""
        for vcpu, cpu in enumerate(self.machine.vcpus):
            if cpu["pc"] in self.gdbs:
                self.resume(b"vCont;s:p1.%x" % (vcpu + 1))

    def breakpoint(self) -> None:
        """One more, or one less."""
        self.on.engine.quiesce()
        if len(self.gdbs) > 2:
            self.plant(self.gdbs.pop(), insert=False)
        else:
            address = code(self.vcpu()) + 4 * self.random.randrange(LOOP)
            if address not in self.gdbs:
                self.gdbs.add(address)
                self.plant(address, insert=True)

    def plant(self, address: int, *, insert: bool) -> None:
        one = Breakpoint(0, address, 4)
        assert self.on.stub.breakpoint(one.insertion if insert else one.removal) == b"OK"
        (self.on.breakpoints.insert if insert else self.on.breakpoints.remove)(one)

    def ctrl_c(self) -> None:
        """Wherever a step is: before its instruction, in a handler, at a vector."""
        vcpu = self.vcpu()
        places = [self.machine.vcpus[vcpu]["pc"], VIRTUAL | 0xD00]
        places += [VIRTUAL | one | offset for one in HANDLERS for offset in (0, 4)]
        self.machine.stop_at[vcpu, self.random.choice(places)] = b"T02thread:p01.%02x;" % (vcpu + 1)
        self.step()
        self.machine.stop_at.clear()

    def outside(self) -> None:
        """An interrupt, of which a step shows nothing."""
        self.machine.pending[self.vcpu()] = self.random.choice([0x500, 0x900])

    def fault(self) -> None:
        self.machine.faults.add(ADDRESS)
        self.step()

    def setting(self) -> None:
        self.on.engine.quiesce()
        interrupts, mask = self.random.choice(list(Interrupts)), self.random.random() < 0.5
        self.on.options = self.on.options._replace(interrupts=interrupts, mask_interrupts=mask)
        self.on.engine.apply(self.on.options)

    def refused(self) -> None:
        """One packet; what can be done later is done before the next command."""
        failed = failing_at(self.machine, self.random.randrange(1, 40), refused)
        with suppress(StubRefused):
            self.step()
        self.calm_down()
        self.done["packets refused"] += len(failed)

    def killed(self) -> None:
        """The session; the next one has its record, and gdb plants its breakpoints again."""
        failed = failing_at(self.machine, self.random.randrange(1, 40), cut_off)

        def gone(obeyed: Callable[..., bytes]) -> Callable[..., bytes]:
            return lambda payload: cut_off() if failed else obeyed(payload)

        self.gone = True  # at any moment
        self.machine.call = gone(self.machine.call)  # type: ignore[method-assign]
        self.machine.resume = gone(self.machine.resume)  # type: ignore[method-assign]
        with suppress(StubGone):
            self.step()
        known = record.read(self.on.records[-1])
        self.complete_return()
        del self.machine.call, self.machine.resume
        self.gone = False
        self.done["sessions killed"] += len(failed)
        self.machine.breakpoints.clear()  # as QEMU does at the next connect
        self.on.breakpoints.clear()
        self.on = Bench(self.machine)
        self.on.set(undo=Undo.DEFER)
        self.done["taken back"] += len(self.on.engine.clean(known))
        for address in self.gdbs:
            self.plant(address, insert=True)

    def complete_return(self) -> None:
        """An emulated return is in no record: what writes pc and MSR leaves the layer at once."""
        emulating = ": emulate" in "".join(self.on.log[-1:])
        for cpu in self.machine.vcpus:
            if emulating and cpu["pc"] >= TEXT and cpu["msr"] == IN_HANDLER:
                cpu["msr"] = KERNEL
                self.done["killed in half a return"] += 1

    def calm_down(self) -> None:
        with suppress(AttributeError):
            del self.machine.call
        with suppress(StubRefused):  # it may have been sent ahead
            self.on.engine.quiesce()
        self.on.engine.recover()
        self.on.engine.quiesce()
        for address in self.gdbs:  # an error has said that it is not there
            self.machine.breakpoints[address] = 1

    # -- what is looked at

    def look(self) -> None:
        """gdb asks for nothing: there is nothing of ours but what is outstanding."""
        self.on.engine.quiesce()
        machine, outstanding = self.machine, self.on.engine.outstanding
        assert machine.planted == dict.fromkeys(self.gdbs, 1)
        for vcpu, cpu in enumerate(machine.vcpus):
            state = IN_HANDLER if cpu["pc"] < TEXT else KERNEL
            assert cpu["msr"] == state, (vcpu, hex(cpu["pc"]), hex(cpu["msr"]))
            assert cpu["pc"] != VIRTUAL | 0xD00
            assert outstanding or not cpu["srr1"] & SE
        self.done["outstanding"] += bool(outstanding)
        assert bool(self.on.records[-1]) == bool(outstanding)

    def come_home(self) -> None:
        """Of the guest that runs on, no step is outstanding any more."""
        for address in self.gdbs:
            self.plant(address, insert=False)
        self.gdbs.clear()
        self.machine.pending.clear()
        self.machine.faults.clear()
        for _ in range(20):
            self.go_on()
        self.look()
        assert self.on.engine.outstanding == []


@pytest.mark.timeout(100_000)
@pytest.mark.parametrize("kvm", [False, True], ids=["", "KVM"])
@pytest.mark.parametrize("vcpus", [1, 2, 8])
def test_a_day(vcpus: int, kvm: bool, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("seed") or 1
    day = Day(vcpus, seed, kvm=kvm)
    try:
        day.live(COMMANDS * request.config.getoption("soak"))
    except BaseException:
        print(f"--seed {seed} with {vcpus} vCPUs ended with {day.last}, {dict(day.done)}")
        raise
    print(dict(day.done))

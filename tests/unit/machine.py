# SPDX-License-Identifier: MIT
"""A tiny ppc64 machine behind a stub that ignores step requests, for unit tests.

It is written from the ISA and from what QEMU's stub was seen to do.  It shares nothing with the
product: it has its own masks and its own rules of interrupts.  It knows only the instructions that
the functions below assemble.  At any other word the test fails.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

from gdb_ppc_sstep.rsp.description import Register

SF, HV, TM = 1 << 63, 1 << 60, 1 << 32
EE, PR, ME, SE, BE, IR, DR, RI, LE = 0x8000, 0x4000, 0x1000, 0x400, 0x200, 0x20, 0x10, 2, 1
STATUS = 0x783F0000  # the bits of SRR1 that tell of the interrupt
AIL_SHIFT, ILE = 23, 1 << 25  # fields of LPCR
ALL = (1 << 64) - 1
POWER9 = 0x004E1202

KERNEL = SF | EE | ME | IR | DR | RI | LE  # 0x8000000000009033, the MSR of a Linux kernel
USER = KERNEL | PR
REAL = SF | ME | RI | LE

TEXT = 0xC000000000010000  # where the tests put their code
VIRTUAL = 0xC000000000004000  # where AIL=3 puts the vectors
TRACE = VIRTUAL | 0xD00

NUMBERS = {f"r{n}": n for n in range(32)} | {
    "pc": 64,
    "msr": 65,
    "cr": 66,
    "lr": 67,
    "ctr": 68,
    "xer": 69,
    "srr0": 0xB2,
    "srr1": 0xB3,
    "pid": 0xB7,
    "cfar": 0xB8,
    "sprg3": 0xC3,
    "pvr": 0xD1,
    "lpcr": 0xE3,
    # Only `dawr_machine` shows these; the numbers are those of a POWER9 in QEMU 7.2.
    "dsisr": 0xAF,
    "dar": 0xB0,
    "dawr0": 0xC4,
    "dawrx0": 0xC7,
    "sprg1": 0xCE,
    "sprg2": 0xCF,
}
OF_WATCHPOINTS = ("dsisr", "dar", "dawr0", "dawrx0", "sprg1", "sprg2")
SPRS = {"srr0": 26, "srr1": 27, "lr": 8, "ctr": 9, "xer": 1, "sprg3": 275}
SPRS |= {"dsisr": 18, "dar": 19, "sprg1": 273, "sprg2": 274}
FIRST_ONLY = ("srr0", "srr1", "sprg3", "pid", "pvr", "lpcr", *OF_WATCHPOINTS)  # in QEMU 7.2

NOP = 0x60000000
LWARX, STWCX = 0x7C601828, 0x7C60192D  # lwarx r3,0,r3 and stwcx. r3,0,r3
RFID = 0x4C000024
SC = 0x44000002
TRAP = 0x7FE00008
SELF = 0x48000000  # b .
BLR = 0x4E800020


def addi(rt: int, ra: int, value: int) -> int:
    """addi rt,ra,value; with ra=0 it is li."""
    return 14 << 26 | rt << 21 | ra << 16 | value & 0xFFFF


def lbz(rt: int, ra: int, offset: int = 0) -> int:
    """lbz rt,offset(ra); only `dawr_machine` knows an offset other than 0."""
    return 34 << 26 | rt << 21 | ra << 16 | offset & 0xFFFF


def b(offset: int, link: bool = False) -> int:
    """b .+offset."""
    return 18 << 26 | offset & 0x03FFFFFC | link


def bdnz(offset: int) -> int:
    """bdnz .+offset."""
    return 16 << 26 | 16 << 21 | offset & 0xFFFC


def hint(r: int) -> int:
    """or r,r,r: QEMU's TCG takes no Trace interrupt after it."""
    return 31 << 26 | r << 21 | r << 16 | r << 11 | 444 << 1


def _spr(name: str) -> int:
    return (SPRS[name] & 31) << 16 | SPRS[name] >> 5 << 11


def mtspr(name: str, rs: int) -> int:
    """mtspr name,rs."""
    return 31 << 26 | rs << 21 | _spr(name) | 467 << 1


def mfspr(rt: int, name: str) -> int:
    """mfspr rt,name."""
    return 31 << 26 | rt << 21 | _spr(name) | 339 << 1


def mfmsr(rt: int) -> int:
    """mfmsr rt."""
    return 31 << 26 | rt << 21 | 83 << 1


def mtmsrd(rs: int, level: int = 0) -> int:
    """mtmsrd rs,level."""
    return 31 << 26 | rs << 21 | level << 16 | 178 << 1


Registers = dict[str, int]


class Runaway(AssertionError):
    """The guest runs, and nothing will stop it."""


class Machine:
    """Some vCPUs, their memory and the stub; all vCPUs stand at `TEXT` in `KERNEL`.

    A test sets these before the machine runs:
      stop_at: a stop reply for a vCPU that is about to execute an address (once).
      interrupt_at: the offset of an interrupt that a vCPU takes at an address, instead (once).
      pending: by vCPU the offset of an external interrupt, which it takes once MSR[EE] is 1.
      faults: data addresses whose first access takes a data storage interrupt.
      frozen: vCPUs that execute nothing while they run.
      turns: the order, repeated, in which vCPUs execute an instruction each.
      reply: the beginning of a packet -> the reply; the stub then does not do what the packet asks.
      refuses: whether the stub refuses a packet; asked each time that one comes.
      first_only: the stub shows the SPRs of the first vCPU only, as in QEMU 7.2.
      kvm: the stub is QEMU's with KVM.  `p` and `P` work on registers that only `g` and `m` fetch
        after a stop.  The stub translates addresses by the MSR that it has written last.
      deaf: with kvm, vCPUs whose last exit to QEMU was a hypercall with a result other than 0.
        They hit a breakpoint for ever, in silence, unless a step request has resumed them.
      se_after: for mtmsrd the new MSR[SE], and not the old one, decides about a Trace interrupt.
    """

    def __init__(self, vcpus: int = 1, *, lpcr: int = 3 << AIL_SHIFT | ILE) -> None:
        self.vcpus: list[Registers] = []
        for n in range(vcpus):
            registers = {name: 0x1111111111111111 * (n + 1) ^ NUMBERS[name] for name in NUMBERS}
            registers.update(pc=TEXT, msr=KERNEL, lpcr=lpcr, pvr=POWER9, cr=0x24000042, xer=0)
            registers.update(srr0=0xC000000000A0A000 + n, srr1=KERNEL & ~RI)
            self.vcpus.append(registers)
        self.memory: dict[int, bytes] = {}
        self.breakpoints: Counter[int] = Counter()
        self.selected = 0
        self.resumed = 0  # the vCPU of the last stop or `Hc`: KVM's stub plants breakpoints by it
        self.packets: list[bytes] = []
        self.resumes: list[bytes] = []
        self.executed = 0
        self.stop_at: dict[tuple[int, int], bytes] = {}
        self.interrupt_at: dict[tuple[int, int], int] = {}
        self.pending: dict[int, int] = {}
        self.faults: set[int] = set()
        self.frozen: set[int] = set()
        self.turns = list(range(vcpus))
        self._turn = 0
        self.reply: dict[bytes, bytes] = {}
        self.refuses: Callable[[bytes], bool] = lambda _packet: False
        self.first_only = False
        self.kvm = False
        self.deaf: set[int] = set()
        self._stale: dict[int, Registers] = {}
        self._translating: dict[int, int] = {}
        self.se_after = False
        # cfar is absent in QEMU 7.2 as well; nothing here simulates it.
        self.absent: set[str] = {"cfar", *OF_WATCHPOINTS}

    # -- for tests

    @property
    def cpu(self) -> Registers:
        """The registers of the first vCPU."""
        return self.vcpus[0]

    @property
    def planted(self) -> dict[int, int]:
        """By address, how often a breakpoint is planted there."""
        return {address: count for address, count in self.breakpoints.items() if count}

    def put(self, address: int, *words: int, order: str = "little") -> None:
        """Put instructions into memory from an address on, in a byte order."""
        for n, word in enumerate(words):
            raw = word.to_bytes(4, "little" if order == "little" else "big")
            self.memory[self._physical(address + 4 * n)] = raw

    def put_bytes(self, address: int, raw: bytes) -> None:
        """Put data into memory from an address on.

        The other bytes of a word that was not there yet are 0x5A, the value that lbz loads.
        """
        for place, byte in enumerate(raw, address):
            word = bytearray(self.word_at(place) or b"ZZZZ")
            word[place & 3] = byte
            self.memory[self._physical(place) & ~3] = bytes(word)

    def word_at(self, address: int) -> bytes | None:
        """The 4 bytes of the word that contains an address, None if nothing is there."""
        return self.memory.get(self._physical(address) & ~3)

    def state(self) -> list[Registers]:
        """A copy of all registers of all vCPUs."""
        return copy.deepcopy(self.vcpus)

    def native(self, vcpu: int = 0, steps: int = 1) -> list[Registers]:
        """All registers after native steps of a vCPU; this machine does not change."""
        other = copy.deepcopy(self)
        for _ in range(steps):
            other.execute(vcpu)
        return other.vcpus

    def changed(self, since: list[Registers]) -> dict[str, tuple[str, str]]:
        """The registers that differ from a copy, as (then, now) by vCPU and name."""
        return {
            f"{n + 1}.{name}": (hex(then[name]), hex(now[name]))
            for n, (then, now) in enumerate(zip(since, self.vcpus))
            for name in now
            if then[name] != now[name]
        }

    def description(self) -> str:
        """The target description, as the stub sends it."""
        return (
            '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
            "<architecture>powerpc:common64</architecture>"
            + f"<!--{' long enough for two packets ' * 40}-->"
            + "".join(
                f'<reg name="{name}" bitsize="{8 * register.size}" regnum="{register.number}"/>'
                for name, register in self.registers().items()
            )
            + "</target>"
        )

    def registers(self) -> Mapping[str, Register]:
        """The registers in the target description: all but those in `absent`."""
        return {
            name: Register(number, self._size(name))
            for name, number in NUMBERS.items()
            if name not in self.absent
        }

    # -- the stub

    def call(self, payload: bytes) -> bytes:
        """Send the stub a packet that does not resume the guest.  Returns the reply."""
        self.packets.append(payload)
        for start, reply in self.reply.items():
            if payload.startswith(start):
                return reply
        if self.refuses(payload):
            return b"E22"
        kind, rest = payload[:1], payload[1:]
        if kind in (b"g", b"G", b"m", b"M"):
            self._stale.pop(self.selected, None)
        if kind == b"g":
            return b"".join(self._read(number) for number in (*range(32), 64, 65))
        if payload.startswith(b"Hg"):
            return self._select(payload[2:])
        if payload.startswith(b"Hcp"):
            self.resumed = self._vcpu(payload[2:])
            return b"OK"
        if payload == b"qC":  # always the first (QEMU gdbstub handle_query_curr_tid)
            return b"QCp01.01"
        if payload == b"qfThreadInfo":
            return b"m" + b",".join(b"p01.%02x" % (n + 1) for n in range(len(self.vcpus)))
        if payload == b"qsThreadInfo":
            return b"l"
        if kind == b"p":
            return self._read(int(rest, 16))
        if kind == b"P":
            number, _, value = rest.partition(b"=")
            return self._write(int(number, 16), bytes.fromhex(value.decode()))
        if kind == b"m":
            address, length = (int(part, 16) for part in rest.split(b","))
            return self._memory(address, length)
        if kind == b"M":
            place, _, data = rest.partition(b":")
            return self._put_memory(int(place.split(b",")[0], 16), bytes.fromhex(data.decode()))
        if kind in (b"Z", b"z") and payload[1:2] in (b"1", b"2", b"3", b"4") and self.kvm:
            return b"E22"  # KVM HV has only breakpoints in memory
        if payload[:3] in (b"Z0,", b"z0,"):
            return self._breakpoint(payload[:1] == b"Z", int(payload.split(b",")[1], 16))
        return b""

    def resume(self, payload: bytes, limit: int = 5000) -> bytes:
        """Send the stub a packet that resumes the guest.  Returns the stop reply.

        Runaway: none comes.
        """
        self.packets.append(payload)
        self.resumes.append(payload)
        spinning = self.deaf - self.running(payload, b"sSr") if self.kvm else set()
        stop = self.run(self.running(payload), limit, spinning)
        if stop is None or len(self.resumes) > 1000:
            raise Runaway([hex(cpu["pc"]) for cpu in self.vcpus])
        return stop

    def running(self, payload: bytes, verbs: bytes = b"cCsSr") -> set[int]:
        """The vCPUs that a resume packet lets run by `verbs`.  Steps continue, as under KVM HV."""
        if not payload.startswith(b"vCont;"):
            assert payload[:1] in (b"c", b"C", b"s", b"S"), payload
            return set(range(len(self.vcpus))) if payload[:1] in verbs else set()
        run: set[int] = set()
        for action in payload[6:].split(b";"):
            verb, _, thread = action.partition(b":")
            assert verb[:1] in (b"c", b"C", b"s", b"S", b"r"), payload
            if verb[:1] not in verbs:
                continue
            if thread in (b"", b"p1.-1"):
                run |= set(range(len(self.vcpus)))
            else:
                run.add(self._vcpu(thread))
        return run

    def run(
        self, running: Iterable[int], limit: int, spinning: Collection[int] = ()
    ) -> bytes | None:
        """Let vCPUs run.  Returns the stop reply, None if no stop comes within `limit` turns.

        spinning: vCPUs whose breakpoints are not reported.
        """
        running = set(running)
        if self.kvm:
            self._stale = dict(enumerate(self.state())) | self._stale
        if not running - self.frozen:
            return None
        for _ in range(limit):
            n = self.turns[self._turn % len(self.turns)]
            self._turn += 1
            if n not in running or n in self.frozen:
                continue
            pc = self.vcpus[n]["pc"]
            stop = self.stop_at.pop((n, pc), None)
            if stop is None and self.breakpoints[pc] > 0 and n in spinning:
                continue
            if stop is None and self.breakpoints[pc] > 0:
                stop = b"T05thread:p01.%02x;" % (n + 1)
            if stop is not None:
                if stop[:1] == b"T":
                    self.selected = self.resumed = n
                return stop
            self.execute(n)
        return None

    def _vcpu(self, thread: bytes) -> int:
        process, _, number = thread.partition(b".")
        assert int(process[1:], 16) == 1, thread
        return int(number, 16) - 1

    def _select(self, thread: bytes) -> bytes:
        """Hg: select a vCPU."""
        if thread in (b"0", b"p0.0"):
            return b"OK"
        n = self._vcpu(thread)
        if not 0 <= n < len(self.vcpus):
            return b"E22"
        self.selected = n
        return b"OK"

    @staticmethod
    def _size(name: str) -> int:
        return 4 if name in ("cr", "xer") else 8

    def _named(self, number: int) -> str | None:
        names = {number: name for name, number in NUMBERS.items() if name not in self.absent}
        return names.get(number)

    def _hidden(self, name: str) -> bool:
        return self.first_only and self.selected > 0 and name in FIRST_ONLY

    def _known(self) -> Registers:
        """The selected vCPU's registers, as far as the stub has fetched them."""
        return self._stale.get(self.selected, self.vcpus[self.selected])

    def _order(self) -> Literal["little", "big"]:
        return "little" if self._known()["msr"] & LE else "big"

    def _translates(self, address: int, vcpu: int) -> bool:
        """Whether KVM's stub finds an address for a vCPU, by the MSR that it has written last."""
        state = self._translating.get(vcpu, 0)
        if not self.kvm or not (state & IR and state & DR):
            return True
        return (address >> 60 == 0xC) != bool(state & PR)

    def _read(self, number: int) -> bytes:
        """p: the value of a register of the selected vCPU."""
        name = self._named(number)
        if name is None or self._hidden(name):
            return b"E14"
        value = self._known()[name]
        return value.to_bytes(self._size(name), self._order()).hex().encode()

    def _write(self, number: int, raw: bytes) -> bytes:
        """P: write a register of the selected vCPU."""
        name = self._named(number)
        if name is None:
            return b"E14"
        assert len(raw) == self._size(name), (name, raw)
        value = int.from_bytes(raw, self._order())
        cpu = self.vcpus[self.selected]
        if self._hidden(name):
            return b"OK"  # QEMU 7.2 says OK and writes nothing
        if self.selected in self._stale:
            return b"OK"  # the value is lost: the next `g` fetches the old one
        if name == "msr":  # the stub cannot write HV
            self._translating[self.selected] = value
            value = value & ~HV | cpu["msr"] & HV
        cpu[name] = value
        return b"OK"

    def _memory(self, address: int, length: int) -> bytes:
        """m: read memory."""
        raw = b""
        if not self._translates(address, self.selected):
            return b"E14"
        while len(raw) < length:
            place = address + len(raw)
            piece = self.word_at(place)
            if piece is None:
                return b"E14"
            if self.kvm and self.breakpoints[place & ~3]:
                little = self._order() == "little"
                piece = bytes.fromhex("00dddd00")[:: -1 if little else 1]  # QEMU's breakpoint word
            raw += piece[place & 3 :]
        return raw[:length].hex().encode()

    def _put_memory(self, address: int, raw: bytes) -> bytes:
        """M: write memory."""
        if not self._translates(address, self.selected):
            return b"E14"
        places = range(address, address + len(raw))
        if any(self.word_at(place) is None for place in places):
            return b"E14"
        assert not any(self.breakpoints[place & ~3] for place in places), "it would be overwritten"
        self.put_bytes(address, raw)
        return b"OK"

    def _breakpoint(self, insert: bool, address: int) -> bytes:
        """Z0 and z0: insert or remove a breakpoint."""
        if not self._translates(address, self.resumed):
            return b"E22"
        if insert:
            self.breakpoints[address] += 1
        elif not self.breakpoints[address]:
            return b"E22"
        else:
            self.breakpoints[address] -= 1
        return b"OK"

    # -- the CPU

    @staticmethod
    def _physical(address: int) -> int:
        """The place in memory: of the kernel's linear mapping or of real mode."""
        return address & 0x0FFFFFFFFFFFFFFF

    def interrupt(self, n: int, offset: int, srr0: int, status: int = 0) -> None:
        """A vCPU takes an interrupt (Power ISA 3.1B Book III 7.5)."""
        cpu = self.vcpus[n]
        old = cpu["msr"]
        cpu["srr0"], cpu["srr1"] = srr0, old & ~STATUS | status
        new = SF | old & (ME | HV) | (LE if cpu["lpcr"] & ILE else 0)
        ail = cpu["lpcr"] >> AIL_SHIFT & 3
        if old & IR and old & DR and ail >= 2:
            new |= IR | DR
            offset |= VIRTUAL if ail == 3 else 0x18000
        cpu["pc"], cpu["msr"] = offset, new

    def execute(self, n: int) -> None:
        """A vCPU executes one instruction, or takes an interrupt instead."""
        self.executed += 1
        cpu = self.vcpus[n]
        pc, old = cpu["pc"], cpu["msr"]
        offset = self.interrupt_at.pop((n, pc), None)
        if offset is None and old & EE:
            offset = self.pending.pop(n, None)
        if offset is not None:
            self.interrupt(n, offset, pc)
            return
        raw = self.word_at(pc)
        if raw is None:
            self.interrupt(n, 0x400, pc, 0x40000000)
            return
        word = int.from_bytes(raw, "little" if old & LE else "big")
        if not self._completes(n, cpu, word):
            return
        deciding = cpu["msr"] if self.se_after else old
        # Like TCG's translator: no Trace interrupt where pc + 4 is among the real-mode vectors.
        if deciding & SE and not 0x100 < pc + 4 <= 0xF00:
            self.interrupt(n, 0xD00, cpu["pc"], 0x40000000)

    def _completes(self, n: int, cpu: Registers, word: int) -> bool:
        """Execute a word; False if a Trace interrupt cannot follow it."""
        pc, msr = cpu["pc"], cpu["msr"]
        opcode, extended = word >> 26, word >> 1 & 0x3FF
        rt, ra = word >> 21 & 31, word >> 16 & 31
        immediate = (word & 0xFFFF ^ 0x8000) - 0x8000
        following = pc + 4
        privileged = True
        if word == SC:
            self.interrupt(n, 0xC00, following)
            return False
        if word == TRAP:
            self.interrupt(n, 0x700, pc, 0x20000)
            return False
        if word == RFID or (opcode == 31 and extended in (83, 178)):
            privileged = not msr & PR
        elif opcode == 31 and extended in (339, 467):
            privileged = not (msr & PR and word >> 20 & 1)
        if not privileged:
            self.interrupt(n, 0x700, pc, 0x40000)
            return False
        if word == RFID:
            self._rfid(cpu)
            return False
        if word == hint(rt):
            cpu["pc"] = following
            return False
        if word in (NOP, LWARX, STWCX):  # the reservation is never lost
            pass
        elif opcode == 14:
            cpu[f"r{rt}"] = (immediate + (cpu[f"r{ra}"] if ra else 0)) & ALL
        elif opcode == 34:
            if cpu[f"r{ra}"] in self.faults:
                self.faults.remove(cpu[f"r{ra}"])
                self.interrupt(n, 0x300, pc, 0)
                return False
            cpu[f"r{rt}"] = 0x5A
        elif opcode == 18:
            if word & 1:
                cpu["lr"] = following
            following = pc + ((word & 0x03FFFFFC ^ 0x02000000) - 0x02000000)
        elif opcode == 16:
            assert rt == 16, hex(word)
            cpu["ctr"] = cpu["ctr"] - 1 & ALL
            if cpu["ctr"]:
                following = pc + (immediate & ~3)
        elif word == BLR:
            following = cpu["lr"] & ~3
        elif opcode == 31 and extended == 83:
            cpu[f"r{rt}"] = msr
        elif opcode == 31 and extended == 178:
            written = EE | RI if ra & 1 else ALL & ~(HV | ME | LE)
            cpu["msr"] = msr & ~written | cpu[f"r{rt}"] & written
        elif opcode == 31 and extended in (339, 467):
            number = (word >> 11 & 31) << 5 | ra
            (name,) = (name for name, spr in SPRS.items() if spr == number)
            if extended == 339:
                cpu[f"r{rt}"] = cpu[name]
            else:
                cpu[name] = cpu[f"r{rt}"]
        else:
            raise AssertionError(f"{word:08x} at {pc:#x} is not known to this machine")
        cpu["pc"] = following & ALL
        return True

    @staticmethod
    def _rfid(cpu: Registers) -> None:
        saved, old = cpu["srr1"], cpu["msr"]
        new = saved & ~(STATUS | HV | ME) | old & saved & HV
        new |= (saved if old & HV else old) & ME
        if saved & PR:
            new |= EE | IR | DR
        cpu["msr"], cpu["pc"] = new, cpu["srr0"] & ~3 & (ALL if new & SF else ALL >> 32)


class FakeLink:
    """The product's `Link` to a machine.  hook: called with each packet before it is sent."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.asked = False
        self.hook: Callable[[bytes], None] = lambda payload: None

    def call(self, payload: bytes) -> bytes:
        """See the product's `Link`."""
        self.hook(payload)
        return self.machine.call(payload)

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See the product's `Link`."""
        replies = [self.call(payload) for payload in payloads]
        return lambda: replies

    def resume(self, payload: bytes) -> bytes:
        """See the product's `Link`."""
        self.hook(payload)
        return self.machine.resume(payload)

    def interrupted(self) -> bool:
        """See the product's `Link`."""
        asked, self.asked = self.asked, False
        return asked

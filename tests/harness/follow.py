# SPDX-License-Identifier: MIT
"""Runs inside gdb: `follow` makes many steps and checks each against its instruction.

It sends bare packets: `vCont;s`, and `p` and `m` for what it checks.  The guest's path depends on
its interrupts, so there is no other run to compare with.  Each step must come to where its
instruction leads, and MSR[SE] must not be seen.  The exception is an MSR[SE] that the guest itself
has set: a return from interrupt brings it, and the next instruction ends at the Trace vector.
"""

from __future__ import annotations

import struct
from collections import Counter

import gdb

ALL = (1 << 64) - 1
SE, PR = 0x400, 0x4000
LARX = {20, 52, 84, 116, 276}
VECTORS = 0xC000000000004000  # LPCR[AIL]=3
TRACE = VECTORS + 0xD00
RFID, RFSCV = 0x4C000024, 0x4C0000A4
PC, MSR, LR, CTR, SRR0, SRR1 = "pc", "msr", "lr", "ctr", "srr0", "srr1"


class Lost(Exception):
    """A step did not come to where its instruction leads."""


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) else value


def _successors(word: int, pc: int, before: dict[str, int]) -> set[int]:
    """Where an instruction may lead, if it takes no interrupt."""
    opcode, extended = word >> 26, word >> 1 & 0x3FF
    following = pc + (8 if opcode == 1 else 4)
    base = 0 if word & 2 else pc
    if opcode == 18:
        return {base + _signed(word & 0x03FFFFFC, 26) & ALL}
    if opcode == 16:
        return {following, base + _signed(word & 0xFFFC, 16) & ALL}
    if opcode == 19 and extended in (16, 528):
        return {following, before[LR if extended == 16 else CTR] & ~3}
    if opcode == 19 and extended == 18:
        return {before[SRR0] & ~3}
    if opcode == 19 and extended == 82:
        return {before[LR] & ~3}
    if opcode == 31 and extended in LARX:
        return {pc + 4 * n for n in range(1, 129)}
    return {following}


class Follower:
    """Makes the steps, and counts what it has seen."""

    def __init__(self) -> None:
        connection = gdb.selected_inferior().connection
        assert isinstance(connection, gdb.RemoteTargetConnection)
        self.connection = connection
        self.numbers: dict[str, int] = {}
        for line in gdb.execute("maint print remote-registers", to_string=True).splitlines():
            words = line.split()
            if len(words) > 6 and words[6].isdigit():
                self.numbers.setdefault(words[0], int(words[6]))  # SPRs repeat LR and CTR
        self.seen: Counter[str] = Counter()
        self.places: set[int] = set()
        self.restarts = self._restart_table()

    def _restart_table(self) -> list[tuple[int, int, int]]:
        """Linux's __restart_table, as (begin, end, where to return to).

        A handler that has interrupted code from begin to end returns to the third address instead.
        (search_kernel_restart_table in arch/powerpc/lib/restart_table.c)
        """
        begin, end = (
            int(gdb.parse_and_eval(f"(unsigned long)&{name}___restart_table"))
            for name in ("__start", "__stop")
        )
        table = gdb.selected_inferior().read_memory(begin, end - begin)
        return list(struct.iter_unpack("<3Q", bytes(table)))

    def _send(self, packet: str) -> str:
        return self.connection.send_packet(packet).decode("latin-1")

    def _read(self, name: str) -> int:
        return int.from_bytes(bytes.fromhex(self._send(f"p{self.numbers[name]:x}")), "little")

    def follow(self, count: int) -> None:
        """Make so many steps.  Lost: one came to a wrong place."""
        pc, state = self._read(PC), self._read(MSR)
        for number in range(count):
            raw = self._send(f"m{pc:x},4")
            if raw.startswith("E"):
                pc, raw = self._fault(pc)
            word = int.from_bytes(bytes.fromhex(raw), "little")
            names = (LR, CTR, SRR0, SRR1) if word >> 26 == 19 else ()
            before = {name: self._read(name) for name in names}
            traced = state & SE and word not in (RFID, RFSCV)
            returned = {RFID: before.get(SRR1, 0), RFSCV: before.get(CTR, 0)}.get(word, 0)
            reply = self._send("vCont;s:p1.1;c:p1.-1")
            if not reply.startswith("T05"):
                raise Lost(f"step {number}: {pc:#x} {word:08x} ends with {reply}")
            new, state = self._read(PC), self._read(MSR)
            if state & SE and not returned & SE:
                raise Lost(f"step {number}: {pc:#x} {word:08x} leaves MSR[SE] set")
            self.seen["with the guest's own MSR[SE]"] += bool(state & SE)
            if traced and new == TRACE:
                if self._read(SRR0) not in _successors(word, pc, before):
                    raise Lost(f"step {number}: {pc:#x} {word:08x} is traced at a wrong place")
                self.seen["traced by the guest"] += 1
            elif traced or (
                new not in _successors(word, pc, before) and not self._restarted(pc, new)
            ):
                self._in_handler(number, pc, word, new, before)
            self.places.add(pc)
            self.seen["jumps"] += new != pc + 4
            self.seen["in user space"] += bool(state & PR)
            self.seen["rfid"] += word == RFID
            self.seen["rfscv"] += word == RFSCV
            self.seen["atomic"] += word >> 26 == 31 and word >> 1 & 0x3FF in LARX
            pc = new
        gdb.write(f"followed {count}\n")

    def tell(self) -> None:
        """Print the counts of all calls of `follow`."""
        self.seen["places"] = len(self.places)
        gdb.write(", ".join(f"{value} {name}" for name, value in sorted(self.seen.items())) + "\n")

    def _fault(self, pc: int) -> tuple[int, str]:
        """Run into the fault at an address that Linux maps only when it is executed.

        Neither gdb nor the extension steps an instruction that cannot be read.  Returns the new pc,
        the vector of the fault, and the word there.
        """
        vectors = (VECTORS + 0x400, VECTORS + 0x480)
        for vector in vectors:
            self._send(f"Z0,{vector:x},4")
        reply = self._send("vCont;c")
        for vector in vectors:
            self._send(f"z0,{vector:x},4")
        new = self._read(PC)
        if not reply.startswith("T05") or new not in vectors or self._read(SRR0) != pc:
            raise Lost(f"no memory at {pc:#x}, and running from there ends with {reply}")
        self.seen["fetched"] += 1
        return new, self._send(f"m{new:x},4")

    def _restarted(self, pc: int, new: int) -> bool:
        """Whether Linux has returned from an interrupt to the place where its code begins again.

        The step then has done the first instruction there.
        """
        for begin, end, again in self.restarts:
            if begin <= pc < end:
                word = int.from_bytes(bytes.fromhex(self._send(f"m{again:x},4")), "little")
                if new in _successors(word, again, {}):
                    self.seen["restarted"] += 1
                    return True
        return False

    def _in_handler(
        self, number: int, pc: int, word: int, new: int, before: dict[str, int]
    ) -> None:
        """Check that the step has come to the vector of an interrupt that its instruction took.

        Lost: it has not.
        """
        system_call = word >> 26 == 17
        saved = self._read(LR if new >> 12 == 0xC000000000003 else SRR0)
        at_vector = new >> 12 in (0xC000000000003, 0xC000000000004)
        if not at_vector or saved != pc + 4 * system_call:
            where = f"{new:#x} from {saved:#x}"
            raise Lost(f"step {number}: {pc:#x} {word:08x} came to {where}, {before}")
        self.seen[f"to {new & 0xFFF:#x}"] += 1

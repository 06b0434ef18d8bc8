# SPDX-License-Identifier: MIT
"""A machine under KVM HV with a DAWR, and the memory that the DAWR watches.

It is written from the Power ISA, Linux's arch/powerpc/kvm and what QEMU 7.2 was seen to do on an
emulated POWER10 host.  Like `machine` it shares nothing with the product.  It does what silicon
does: QEMU's TCG reads the length of the window from the wrong bits of DAWRX0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from . import machine as m
from . import words as w
from .machine import ALL, DR, LE, PR, SF, TEXT, VIRTUAL, Machine, Registers, hint

POWER10 = 0x00800200

# Fields of DAWRX0.
USER, KERNEL, HYP = 1, 2, 4
WTI, WT = 8, 0x10
LOADS, STORES = 0x20, 0x40

# Bits of DSISR.
NO_TRANSLATION, STORE, MATCH = 0x40000000, 0x02000000, 0x00400000

H_SET_MODE = 0x31C
SET_CIABR, SET_DAWR0, SET_DAWR1 = 1, 2, 5  # the resource, in r5
H_FUNCTION, H_P2, H_P4, H_FLAGS = -2, -55, -57, -256  # the results, in r3

LINE = 128  # bytes that dcbz clears, and that a reservation covers

# Bytes accessed, by the opcode; X_ by the extended opcode of 31, where the address is RA + RB.
D_LOADS = {34: 1, 35: 1, 40: 2, 41: 2, 32: 4, 33: 4}
D_STORES = {38: 1, 39: 1, 44: 2, 45: 2, 36: 4, 37: 4}
X_LOADS = {21: 8, 20: 4, 84: 8}
X_STORES = {149: 8, 150: 4, 214: 8, 1014: LINE}
RESERVING, CONDITIONAL, DCBZ = (20, 84), (150, 214), 1014


class Storage:
    """The bytes that an instruction accesses.

    update: the register that gets the address.  rt: the first register of the data.
    """

    def __init__(self, address: int, size: int, rt: int, *, store: bool, update: int | None):
        self.address, self.size, self.rt = address & ALL, size, rt
        self.store, self.update = store, update

    @property
    def reach(self) -> range:
        """The addresses of the bytes."""
        return range(self.address, self.address + self.size)


class DawrMachine(Machine):
    """A `Machine` whose loads and stores access memory, which DAWR0 of each vCPU watches.

    It is a guest of KVM HV from the beginning, and the stub shows the SPRs of the first vCPU only,
    as in QEMU 7.2; with `first_only` False it is as in QEMU >= 8.  Bytes that nobody has written
    are 0x5A for the guest, and the stub refuses to read them.

    A test sets these before the machine runs:
      honours: whether the host has DAWR on.  Else the registers read back as they are written,
        nothing ever matches, and H_SET_MODE returns H_P2.
      tells_stores: whether DSISR of a match says that the access is a store, as the Power ISA has
        it for every data storage interrupt.  QEMU's TCG was seen to set nothing but 0x400000.
      dawr1: whether H_SET_MODE takes DAWR1 too (QEMU 10 with cap-dawr1); DAWR1 is not simulated.
      faults: data addresses whose first access takes an ordinary data storage interrupt.
      zeros: ranges of addresses, as in real mode, whose words are 0 unless written.  The stub
        reads them; a vCPU that executes them takes a Program interrupt.
      patience: the turns after which a resume without a stop is a `Runaway`.
    A test reads these:
      reservations: by vCPU the address of its reservation.  Each stop and each interrupt ends it.
      matches: how many matches there have been.
    """

    def __init__(
        self,
        vcpus: int = 1,
        *,
        lpcr: int = 3 << m.AIL_SHIFT | m.ILE,
        pvr: int = POWER10,
        honours: bool = True,
    ) -> None:
        super().__init__(vcpus, lpcr=lpcr)
        for cpu in self.vcpus:
            cpu.update(pvr=pvr, dawr0=0, dawrx0=0, dar=0, dsisr=0)
        self.kvm = self.first_only = True
        self.absent = {"cfar"}
        self.honours = honours
        self.tells_stores = False
        self.dawr1 = False
        self.zeros: list[range] = []
        self.patience = 20_000
        self.reservations: dict[int, int] = {}
        self.matches = 0

    # -- for tests

    def value(self, address: int, size: int = 8, order: Literal["little", "big"] = "little") -> int:
        """The number at an address."""
        return int.from_bytes(self._bytes(address, size), order)

    def put_value(
        self, address: int, value: int, size: int = 8, order: Literal["little", "big"] = "little"
    ) -> None:
        """Put a number into memory."""
        self.put_bytes(address, value.to_bytes(size, order))

    def word_at(self, address: int) -> bytes | None:
        """See `Machine`."""
        place = self._physical(address)
        zero = bytes(4) if any(place in zeros for zeros in self.zeros) else None
        return self.memory.get(place & ~3, zero)

    def window(self, n: int = 0) -> range:
        """The addresses that a vCPU's DAWR0 watches, whatever its other bits say."""
        cpu = self.vcpus[n]
        start, doublewords = cpu["dawr0"] & ~7, (cpu["dawrx0"] >> 10 & 63) + 1
        return range(start, start + 8 * doublewords)

    # -- the stub

    def resume(self, payload: bytes, limit: int | None = None) -> bytes:
        """See `Machine`."""
        return super().resume(payload, self.patience if limit is None else limit)

    def run(
        self, running: Iterable[int], limit: int, spinning: Collection[int] = ()
    ) -> bytes | None:
        """See `Machine`."""
        self.reservations.clear()
        for cpu in self.vcpus:
            cpu["dawrx0"] &= ~HYP  # KVM clears it when QEMU writes the registers
        return super().run(running, limit, spinning)

    # -- the CPU

    def interrupt(self, n: int, offset: int, srr0: int, status: int = 0) -> None:
        """See `Machine`."""
        self.reservations.pop(n, None)
        super().interrupt(n, offset, srr0, status)

    def _bytes(self, address: int, size: int) -> bytes:
        places = range(address, address + size)
        return bytes((self.word_at(place) or b"ZZZZ")[place & 3] for place in places)

    def _completes(self, n: int, cpu: Registers, word: int) -> bool:
        if word == w.SC1:
            return self._hypercall(n, cpu)
        if word == 0:
            self.interrupt(n, 0x700, cpu["pc"], 0x80000)
            return False
        storage = self._storage(cpu, word)
        if storage is not None:
            return self._access(n, cpu, word, storage)
        if not self._computes(cpu, word):
            return super()._completes(n, cpu, word)
        return True

    # -- memory

    @staticmethod
    def _storage(cpu: Registers, word: int) -> Storage | None:
        """What the instruction accesses; None if it is no load or store."""
        opcode, extended = word >> 26, word >> 1 & 0x3FF
        rt, ra, rb = word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
        base = cpu[f"r{ra}"] if ra else 0
        signed = (word & 0xFFFF ^ 0x8000) - 0x8000
        if opcode == 31 and extended in X_LOADS | X_STORES:
            address = base + cpu[f"r{rb}"]
            if extended == DCBZ:
                address &= ~(LINE - 1)
            size = (X_LOADS | X_STORES)[extended]
            return Storage(address, size, rt, store=extended in X_STORES, update=None)
        if opcode in D_LOADS | D_STORES:
            size, update = (D_LOADS | D_STORES)[opcode], ra if opcode & 1 else None
            return Storage(base + signed, size, rt, store=opcode in D_STORES, update=update)
        if opcode == 56:
            return Storage(base + (signed & ~15), 16, rt, store=False, update=None)
        if opcode in (58, 62):
            form = word & 3
            assert form < 2 or (opcode, form) == (62, 2), hex(word)
            size, update = 16 if form == 2 else 8, ra if form == 1 else None
            return Storage(base + (signed & ~3), size, rt, store=opcode == 62, update=update)
        return None

    def _access(self, n: int, cpu: Registers, word: int, storage: Storage) -> bool:
        """Execute a load or a store, unless it takes an interrupt; as `_completes`."""
        extended = word >> 1 & 0x3FF if word >> 26 == 31 else None
        if extended in CONDITIONAL and self.reservations.get(n) != storage.address:
            # Without the reservation QEMU's TCG does not access memory, so there is no match.
            self._record(cpu, 0)
            self.reservations.pop(n, None)
            cpu["pc"] += 4
            return True
        if self._denied(n, cpu, storage):
            return False
        order: Literal["little", "big"] = "little" if cpu["msr"] & LE else "big"
        if storage.store:
            size, rt = storage.size, storage.rt
            value = 0
            if extended != DCBZ:
                value = cpu[f"r{rt}"]
                if size == 16:
                    value = value << 64 | cpu[f"r{rt + 1}"]
            self.put_bytes(storage.address, (value & (1 << 8 * size) - 1).to_bytes(size, order))
            self._lose(n, storage)
        else:
            value = int.from_bytes(self._bytes(storage.address, storage.size), order)
            if storage.size == 16:
                cpu[f"r{storage.rt}"], cpu[f"r{storage.rt + 1}"] = value >> 64, value & ALL
            else:
                cpu[f"r{storage.rt}"] = value
        if storage.update is not None:
            cpu[f"r{storage.update}"] = storage.address
        if extended in RESERVING:
            self.reservations[n] = storage.address
        if extended in CONDITIONAL:
            self._record(cpu, 2)
            self.reservations.pop(n, None)
        cpu["pc"] += 4
        return True

    def _lose(self, n: int, storage: Storage) -> None:
        """A store into a reservation's line takes the reservation from the other vCPUs."""
        lines = {place // LINE for place in (storage.reach[0], storage.reach[-1])}
        for other, address in list(self.reservations.items()):
            if other != n and address // LINE in lines:
                del self.reservations[other]

    def _denied(self, n: int, cpu: Registers, storage: Storage) -> bool:
        """Whether an access takes a data storage interrupt instead.  If so, the vCPU takes it."""
        faulting = sorted(self.faults.intersection(storage.reach))
        if faulting:
            self.faults.remove(faulting[0])
            cpu["dar"], cpu["dsisr"] = faulting[0], NO_TRANSLATION | STORE * storage.store
        elif self._matches(n, cpu, storage):
            self.matches += 1
            cpu["dar"] = max(storage.address, self.window(n).start)
            cpu["dsisr"] = MATCH | STORE * (storage.store and self.tells_stores)
        else:
            return False
        self.interrupt(n, 0x300, cpu["pc"])
        return True

    def _matches(self, n: int, cpu: Registers, storage: Storage) -> bool:
        """Whether an access matches a vCPU's DAWR0."""
        control, msr, window = cpu["dawrx0"], cpu["msr"], self.window(n)
        if not self.honours or not control & (STORES if storage.store else LOADS):
            return False
        if not control & (USER if msr & PR else KERNEL):
            return False
        if not control & WTI and bool(control & WT) != bool(msr & DR):
            return False
        if cpu["pvr"] < POWER10:
            assert window.start >> 9 == window[-1] >> 9, "not defined before POWER10"
        return storage.reach.start < window.stop and window.start < storage.reach.stop

    # -- hypercalls

    def _hypercall(self, n: int, cpu: Registers) -> bool:
        """Execute `sc 1`; as `_completes`."""
        pc, msr = cpu["pc"], cpu["msr"]
        if msr & PR:
            self.interrupt(n, 0x700, pc, 0x40000)
            return False
        self.reservations.pop(n, None)
        cpu["r3"] = self._set_mode(cpu) & ALL
        cpu["srr0"], cpu["srr1"] = pc + 4, msr
        # The PAPR calls these registers volatile: the hypervisor may leave anything in them.
        for number in (0, *range(4, 13)):
            cpu[f"r{number}"] = 0xDEAD000000000000 | number
        cpu["ctr"], cpu["xer"] = 0xDEAD0000DEAD0000, 0
        cpu["cr"] ^= 0xFF000FFF
        cpu["pc"] = pc + 4
        return False

    def _set_mode(self, cpu: Registers) -> int:
        """The result of H_SET_MODE, the one hypercall there is (Linux kvmppc_h_set_mode)."""
        if cpu["r3"] != H_SET_MODE:
            return H_FUNCTION
        if cpu["r5"] not in (SET_DAWR0, SET_DAWR1) or not self.honours:
            return H_P2
        if cpu["r5"] == SET_DAWR1 and not self.dawr1:
            return H_FUNCTION
        if cpu["r4"]:
            return H_FLAGS
        if cpu["r7"] & HYP:
            return H_P4
        if cpu["r5"] == SET_DAWR0:
            cpu["dawr0"], cpu["dawrx0"] = cpu["r6"], cpu["r7"]
        return 0

    # -- the rest

    @staticmethod
    def _record(cpu: Registers, field: int) -> None:
        """Set CR0, with the summary overflow of XER."""
        cpu["cr"] = cpu["cr"] & 0x0FFFFFFF | (field | cpu["xer"] >> 31 & 1) << 28

    def _compare(self, cpu: Registers, value: int, other: int = 0) -> None:
        value = (value ^ SF) - SF  # signed
        self._record(cpu, 8 if value < other else 4 if value > other else 2)

    def _computes(self, cpu: Registers, word: int) -> bool:
        """Execute an instruction that only changes registers, or branches; False: it is another."""
        pc = cpu["pc"]
        opcode, extended = word >> 26, word >> 1 & 0x3FF
        rt, ra, rb = word >> 21 & 31, word >> 16 & 31, word >> 11 & 31
        low = word & 0xFFFF
        signed = (low ^ 0x8000) - 0x8000
        following = pc + 4
        if opcode == 15:
            cpu[f"r{rt}"] = (signed << 16) + (cpu[f"r{ra}"] if ra else 0) & ALL
        elif opcode in (24, 25) and word != 0x60000000:
            cpu[f"r{ra}"] = cpu[f"r{rt}"] | low << (16 if opcode == 25 else 0)
        elif opcode in (28, 29):
            cpu[f"r{ra}"] = cpu[f"r{rt}"] & low << (16 if opcode == 29 else 0)
            self._compare(cpu, cpu[f"r{ra}"])
        elif opcode == 11 and rt == 1:
            self._compare(cpu, cpu[f"r{ra}"], signed)
        elif opcode == 16 and rt in (4, 12):
            if (cpu["cr"] >> 31 - ra & 1) == (rt == 12):
                following = pc + (signed & ~3)
        elif word == w.BCTR:
            following = cpu["ctr"] & ~3
        elif opcode == 31 and extended == 444 and word != hint(rt):
            cpu[f"r{ra}"] = cpu[f"r{rt}"] | cpu[f"r{rb}"]
        elif word == w.mfcr(rt):
            cpu[f"r{rt}"] = cpu["cr"]
        elif word == w.mtcr(rt):
            cpu["cr"] = cpu[f"r{rt}"] & 0xFFFFFFFF
        else:
            return False
        cpu["pc"] = following & ALL
        return True


def bare(*code: int, vcpus: int = 1, state: int = m.KERNEL, honours: bool = True) -> DawrMachine:
    """A machine without a kernel; each vCPU is at `code`, at TEXT, which ends in a loop.

    Its handler of data storage interrupts counts in r20, which begins with 0, and returns.  TEXT's
    page has an `ld` at its end, because any real code has one somewhere.  So has the page of the
    vectors.
    """
    order = "little" if state & LE else "big"
    machine = DawrMachine(
        vcpus, lpcr=3 << m.AIL_SHIFT | (m.ILE if state & LE else 0), honours=honours
    )
    machine.zeros = [range(0x10000, 0x11000), range(0x4000, 0x5000)]
    machine.put(TEXT, *code, m.SELF, order=order)
    machine.put(TEXT + 0xFF8, w.ld(3, 4), m.SELF, order=order)
    for vector in (VIRTUAL, 0):
        machine.put(vector | 0x300, m.addi(20, 20, 1), m.RFID, order=order)
    machine.put(VIRTUAL | 0x3F8, w.ld(3, 4), m.SELF, order=order)
    for cpu in machine.vcpus:
        cpu.update(msr=state, r20=0)
    return machine

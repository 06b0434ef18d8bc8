# SPDX-License-Identifier: MIT
"""What instructions access, judged by binutils for the words and by QEMU's TCG for the bytes.

TCG's stub has watchpoints and steps natively.  The test steps each load and store with a watchpoint
at the first byte that `access` names, at one in the middle, at the last, and at the neighbours.
TCG's helpers, as for dcbz, lmw and lswx, check watchpoints as well, so it sees every access.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from fixtures.bare_metal import Program, assemble
from fixtures.qemu import Qemu
from gdb_ppc_sstep.ppc import isa
from gdb_ppc_sstep.ppc.access import Access, access, may_access
from gdb_ppc_sstep.ppc.msr import MASK64, SF
from tests.harness.floor import Floor, FloorError
from tests.unit.ppc.accesses import CASES, NOTHING, Case

pytestmark = pytest.mark.bare

Order = Literal["le", "be"]


# -- binutils

OBJDUMP = ("powerpc64le-linux-gnu-objdump", "-D", "-z", "-b", "binary", "-EB")
LOADS_AND_STORES = re.compile(r"p?(l|st)[bhwdqmsxvf]|dcbz|copy|paste|icswx|hash")
NO_DATA = re.compile(r"lvs[lr]|lxvkq|.*sync")


def test_the_words_are_what_the_assembler_makes(tmp_path: Path) -> None:
    texts = {case.text: case.code for case in CASES} | dict(NOTHING)
    source = ".machine power10\n"
    source += "".join(f".balign 64\n{text}\n" for text in texts) + ".balign 64\n"
    code, _ = assemble(source, "be", tmp_path)
    assert len(code) == 64 * len(texts)
    for number, (text, wanted) in enumerate(texts.items()):
        made = code[64 * number :][: 4 * len(wanted.split())]
        assert made.hex(" ", 4) == wanted, text


def every_word() -> Iterator[tuple[int, int]]:
    """Each instruction word that binutils may know as a load or a store, with its suffix.

    These are each primary opcode with all low bits; for opcode 31 with some registers, because a
    form may want them even, odd or 0; and each prefix with each primary opcode after it.
    """
    fields = (0x00C42800, 0x00C50000, 0, 0x00E42800, 0x00242800, 0x00042800)
    for opcode in (n for n in range(64) if n != 1):
        for low in range(2048):
            for between in fields if opcode == 31 else fields[:1]:
                yield opcode << 26 | between | low, 0
    for prefix in range(32):
        for suffix in (n for n in range(64) if n != 1):
            yield 1 << 26 | prefix << 21, suffix << 26 | 0x00C40000


@pytest.mark.parametrize("cpu", ["power8", "power9", "power10"])
def test_no_load_or_store_is_left_out(cpu: str, tmp_path: Path) -> None:
    listed = list(every_word())
    image = tmp_path / "words"
    nop = 0x60000000
    image.write_bytes(
        b"".join(
            word.to_bytes(4, "big") + (suffix or nop).to_bytes(4, "big") for word, suffix in listed
        )
    )
    printed = subprocess.run(
        [*OBJDUMP, "-m", "powerpc:common64", f"-M{cpu}", image],
        check=True,
        timeout=100,
        capture_output=True,
        text=True,
    ).stdout
    found = re.findall(r"^ *([0-9a-f]+):\t(?:[0-9a-f]{2} )+[ \t]*(\S+)", printed, re.M)
    texts = {int(at, 16): mnemonic for at, mnemonic in found}
    known = set()
    for number, (word, suffix) in enumerate(listed):
        mnemonic = texts[8 * number]
        if mnemonic.startswith("."):
            continue
        wanted = bool(LOADS_AND_STORES.match(mnemonic)) and not NO_DATA.match(mnemonic)
        got = may_access(isa.decode(word), suffix)
        assert got == wanted, f"{word:08x} {suffix:08x} {mnemonic}"
        if wanted:
            known.add(mnemonic)
    assert known <= {case.text.split()[0] for case in CASES}
    assert len(known) > 100


# -- QEMU

CODE = 0x2000000
DATA = 0x3010000
MEMORY = 0x10000000
START = 0x20000  # layout.h
WRITE, READ, EITHER = 2, 3, 4  # the kinds of watchpoints: Z2, Z3, Z4
FACILITIES = 0x2802000  # MSR[FP], MSR[VEC], MSR[VSX]
DEXCR = 828

# Instructions that fault or do nothing.
NO_SUCH = re.compile(r"copy|paste|icswx|(l[bhw]z|ld|st[bhwd])cix")
"""QEMU 7.2 has none of these but the last group, which needs hypervisor state."""
NEW_IN_3_1 = re.compile(r"p(l|st)|(l|st)xv[pr]")
NO_OPERATION_BEFORE_3_1 = re.compile(r"hash")
NOT_LITTLE_ENDIAN = re.compile(r"(lm|stm)w|(l|st)sw")
"""Loads and stores of several registers: in little-endian mode they take an Alignment interrupt."""
NEEDS_ALIGNMENT = re.compile(r"(l[hwdq]ar|st[hwdq]c)x|p?(l|st)q|(l|st)[wd]at")

# Instructions that QEMU 7.2 executes in another way than the architecture says.
COMPARE_AND_SWAP = re.compile(r"st[bhwdq]cx")
"""In QEMU a store-conditional reads what it replaces."""
ONE_SIDED = re.compile(r"l[wd]at .*,2[45]$")
"""Fetch and increment writes only the first of its operands; `access` gives one answer for both."""
WRONG_SIDE = re.compile(r"l[wd]at .*,28$")
"""QEMU takes the bound of fetch and decrement after the operand, as for fetch and increment."""


def larx(extended: int) -> int:
    """The word of a larx r10,r4,r5 with this extended opcode."""
    return 31 << 26 | 10 << 21 | 4 << 16 | 5 << 11 | extended << 1


BEFORE = {
    "stbcx.": (larx(52),),
    "sthcx.": (larx(116),),
    "stwcx.": (larx(20),),
    "stdcx.": (larx(84),),
    # The lqarx of QEMU 7.2 keeps the data but makes no reservation, which ldarx does.
    "stqcx.": (larx(276), larx(84)),
    **dict.fromkeys(
        ("hashst", "hashstp", "hashchk", "hashchkp"),
        (31 << 26 | 3 << 21 | (DEXCR & 31) << 16 | (DEXCR >> 5) << 11 | 467 << 1,),
    ),
}
"""Instructions to execute first: they make a reservation, or switch hashes on (mtspr DEXCR)."""


class Watcher(Floor):
    """A client of a stopped guest whose stub steps natively and has watchpoints."""

    order: Literal["little", "big"] = "little"

    def read(self, name: str) -> int:
        return int.from_bytes(
            bytes.fromhex(self._ask(b"p" + self._numbers[name]).decode()), self.order
        )

    def write(self, name: str, value: int) -> None:
        data = value.to_bytes(4 if name in ("cr", "xer") else 8, self.order)
        self._must(b"P%s=%s" % (self._numbers[name], data.hex().encode()), b"OK")

    def put(self, address: int, data: bytes) -> None:
        """Write memory."""
        self._must(b"M%x,%x:%s" % (address, len(data), data.hex().encode()), b"OK")

    def watch(self, kind: int, address: int) -> None:
        """Watch one byte."""
        self._must(b"Z%d,%x,1" % (kind, address), b"OK")

    def unwatch(self, kind: int, address: int) -> None:
        """Stop watching one byte."""
        self._must(b"z%d,%x,1" % (kind, address), b"OK")

    def go(self, address: int) -> None:
        """Let the guest run to an address."""
        self.insert(address)
        self._must(b"vCont;c", b"T05")
        self._ask(b"g")
        self.remove(address)

    def natively(self) -> int | None:
        """Do one native step.  Returns the address of a watchpoint's hit, None if none was hit.

        In QEMU 7.2 a hit leaves an interrupt pending, which ends the next step before it begins.
        """
        before = self.read("pc")
        for _ in range(3):
            reply = self._ask(b"vCont;s:p1.1")
            self._ask(b"g")
            hit = re.search(rb"watch:([0-9a-f]+);", reply)
            if hit or self.read("pc") != before:
                return int(hit[1], 16) if hit else None
        raise FloorError(f"no step from {before:#x}: {reply!r}")


class Trial:
    """One case with some registers; it is executed again for each set of watchpoints."""

    def __init__(self, guest: Watcher, state: int, case: Case, registers: dict[str, int]) -> None:
        self.guest, self.state, self.registers = guest, state, registers
        word, suffix = case.words
        self.before = BEFORE.get(case.text.split()[0], ())
        self.at = CODE + 4 * len(self.before)
        instruction = isa.decode(word)
        self.behind = self.at + instruction.length
        got = access(instruction, suffix, self.at, state, registers.__getitem__)
        assert got is not None
        self.accesses: Access = got
        rest = [word] if instruction.length == 4 else [word, suffix]
        self.code = b"".join(w.to_bytes(4, guest.order) for w in (*self.before, *rest, 0x60000000))
        self.fault = 0

    def hit(self, kind: int, *places: int) -> bool:
        """Whether QEMU stops for a watchpoint at one of these bytes."""
        guest = self.guest
        guest.put(CODE, self.code)
        if self.accesses.address >= DATA - 0x10000:
            guest.put(self.accesses.address & ~15, bytes(160))
        guest.write("pc", CODE)
        guest.write("msr", self.state)
        for name, value in self.registers.items():
            guest.write(name, value)
        for number in range(len(self.before)):
            guest.natively()
            if guest.read("pc") != CODE + 4 * (number + 1):
                self.fault = guest.read("pc") & 0xFFF
                return False
        for place in places:
            guest.watch(kind, place)
        found = guest.natively()
        for place in places:
            guest.unwatch(kind, place)
        pc = guest.read("pc")
        self.fault = pc & 0xFFF if found is None and pc != self.behind else 0
        assert found is None or found in places
        return found is not None

    def hits_just(self, kind: int, wanted: list[int], places: list[int]) -> bool:
        """Whether QEMU stops at each wanted one of these bytes, and at no other."""
        others = [place for place in places if place not in wanted]
        return all(self.hit(kind, place) for place in wanted) and not (
            others and self.hit(kind, *others)
        )


def trial_of(guest: Watcher, state: int, case: Case, aligned: bool) -> Trial:
    """A trial of a case.

    aligned: the access begins at a multiple of 128 if r4 is a part of its address.
    """
    registers = {"r0": 7, "r3": MASK64, "r4": DATA, "r5": 0x280 if aligned else 0x2FF, "r8": 0}
    registers.update({"r6": 5 << 56, "r7": 0xFF << 56 | 1, "xer": 11, "cr": 0})
    if not state & SF:
        registers["r4"] |= 1 << 32
    trial = Trial(guest, state, case, registers)
    if aligned:
        registers["r4"] -= trial.accesses.address % 128
        trial = Trial(guest, state, case, registers)
    return trial


def judge(case: Case, trial: Trial, cpu: str, endian: Order) -> tuple[str, bool]:
    """The result of a case, and whether it is right."""
    got = trial.accesses
    first, last = got.address, got.address + got.length - 1
    if not 0 < first <= last < MEMORY - 1:
        return "beyond the memory", True
    outside = trial.hit(EITHER, first - 1, last + 1)
    if NO_SUCH.match(case.text) or (cpu != "POWER10" and NEW_IN_3_1.match(case.text)):
        return "unknown", trial.fault == 0x700 and not outside
    if endian == "le" and NOT_LITTLE_ENDIAN.match(case.text):
        return "not in little-endian mode", trial.fault == 0x600
    if trial.fault == 0x600:
        return "not aligned", NEEDS_ALIGNMENT.match(case.text) is not None
    inside = sorted({first, first + got.length // 2, last})
    if cpu != "POWER10" and NO_OPERATION_BEFORE_3_1.match(case.text):
        return "no operation", not trial.hit(EITHER, *inside)
    if WRONG_SIDE.search(case.text):
        return "on QEMU's side", outside and not trial.hit(READ, first)
    read = inside if got.loads or COMPARE_AND_SWAP.match(case.text) else []
    written = inside if got.stores else []
    if ONE_SIDED.search(case.text):
        written = [first]
    right = trial.hits_just(READ, read, inside) and trial.hits_just(WRITE, written, inside)
    # TCG checks an access that is not aligned in aligned units, so neighbours are hit as well.
    size = got.length if got.length in (1, 2, 4, 8) else 16
    if first % size:
        return "not aligned, hit", right
    return "exact", right and not outside


@pytest.mark.usefixtures("stub_watches")
@pytest.mark.parametrize(
    ("cpu", "endian", "ail", "bits"),
    [("POWER10", "le", 3, 64), ("POWER9", "be", 0, 64), ("POWER9", "be", 0, 32)],
)
def test_where_qemu_stops(
    cpu: str,
    endian: Order,
    ail: int,
    bits: int,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> None:
    program = programs("demo", endian=endian, ail=ail)
    outcomes: Counter[str] = Counter()
    wrong = []
    with Watcher(boot(program, steps=True, cpu=cpu).connect) as guest:
        guest.order = "little" if endian == "le" else "big"
        guest.go(START)
        state = guest.read("msr") | FACILITIES
        if bits == 32:
            state &= ~SF
        for case in CASES:
            for aligned in (True, False) if bits == 64 else (True,):
                outcome, right = judge(case, trial_of(guest, state, case, aligned), cpu, endian)
                outcomes[outcome] += 1
                if not right:
                    wrong.append(f"{case.text} {'' if aligned else 'not '}aligned: {outcome}")
    assert not wrong
    assert outcomes["exact"] > (200 if bits == 64 else 100), outcomes

# SPDX-License-Identifier: MIT
"""Random programs for stepping: assembler text, and registers to start with.  Pure.

A program depends only on its seed, the CPU, and whether there is address translation.  It goes
forwards but for counted loops.  r28 points to the middle of a page of data, and r30 to an address
that is not mapped; all else is random.  Left out are: what depends on time (time base, decrementer,
PURR, darn); CFAR, which the stub of QEMU 7.2 cannot write; what changes the byte order, which gdb
cannot follow; the sequences that larx begins, inside which native stepping stops; and FPSCR's bits
that enable exceptions, by which native stepping loses the guest
(test_instructions.test_an_exception_that_msr_holds_back).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

CODE = 0x40000  # where the programs are, SIZE bytes each
SIZE = 0x400
DATA = 0x80000  # one page
UNMAPPED = 0x40000000
LENGTH = 40  # how many pieces a program has

FREE = [0, *range(3, 27)]  # general registers that may hold anything
MEMORY = 28

FP, VEC_VSX, PR, SE, BE, DR, IR, SF = 0x2000, 0x2800000, 0x4000, 0x400, 0x200, 0x10, 0x20, 1 << 63


class Program(NamedTuple):
    """A program for the guest.

    seed: the program is made from it.  lines: assembler text.  registers: gdb's names -> values.
    msr: the bits to set, and those to clear, in the guest's MSR.
    """

    seed: int
    lines: list[str]
    registers: dict[str, int]
    msr: tuple[int, int]


# {d} {a} {b} are general registers, {t} one that the same piece has set, {f} floating-point ones,
# {v} vector ones, {x} VSX ones, {s} {u} 16 bits, {n} 0 to 31, {m} 0 to 63, {c} a CR field,
# {o} an offset into the data.
ARITHMETIC = """
addi {d},{a},{s}|addis {d},{a},{s}|addic {d},{a},{s}|addic. {d},{a},{s}|subfic {d},{a},{s}
mulli {d},{a},{s}|add {d},{a},{b}|add. {d},{a},{b}|addo. {d},{a},{b}|subf {d},{a},{b}
subfo. {d},{a},{b}|addc {d},{a},{b}|adde. {d},{a},{b}|addze {d},{a}|addme {d},{a}|neg. {d},{a}
subfc {d},{a},{b}|subfe {d},{a},{b}|subfze {d},{a}|mulld {d},{a},{b}|mullwo. {d},{a},{b}
mulhd {d},{a},{b}|mulhdu. {d},{a},{b}|mulhw {d},{a},{b}|mulhwu {d},{a},{b}|divd {d},{a},{b}
divduo. {d},{a},{b}|divw {d},{a},{b}|divwu. {d},{a},{b}|divde {d},{a},{b}|divweu {d},{a},{b}
and. {d},{a},{b}|andc {d},{a},{b}|or {d},{a},{b}|orc. {d},{a},{b}|xor {d},{a},{b}|nor {d},{a},{b}
nand {d},{a},{b}|eqv {d},{a},{b}|andi. {d},{a},{u}|andis. {d},{a},{u}|ori {d},{a},{u}
oris {d},{a},{u}|xori {d},{a},{u}|xoris {d},{a},{u}|extsb {d},{a}|extsh. {d},{a}|extsw {d},{a}
cntlzd {d},{a}|cntlzw. {d},{a}|popcntd {d},{a}|popcntw {d},{a}|popcntb {d},{a}|prtyd {d},{a}
cmpb {d},{a},{b}|bpermd {d},{a},{b}|sld {d},{a},{b}|slw. {d},{a},{b}|srd {d},{a},{b}
srw {d},{a},{b}|srad. {d},{a},{b}|sraw {d},{a},{b}|sradi {d},{a},{m}|srawi. {d},{a},{n}
rldicl {d},{a},{m},{m}|rldicr. {d},{a},{m},{m}|rldic {d},{a},{m},{m}|rldimi {d},{a},{m},{m}
rldcl {d},{a},{b},{m}|rlwinm. {d},{a},{n},{n},{n}|rlwimi {d},{a},{n},{n},{n}
rlwnm {d},{a},{b},{n},{n}|cmpd {c},{a},{b}|cmpld {c},{a},{b}|cmpwi {c},{a},{s}
cmplwi {c},{a},{u}|isel {d},{a},{b},{n}|crand {n},{n},{n}|crorc {n},{n},{n}|creqv {n},{n},{n}
crnand {n},{n},{n}|mcrf {c},{c}|mfcr {d}|mtcr {d}|mtocrf 0x40,{d}|mfocrf {d},0x08|mcrxrx {c}
modsd {d},{a},{b}|moduw {d},{a},{b}|setb {d},{c}|cnttzd {d},{a}|extswsli {d},{a},{m}
maddhd {d},{a},{b},{d}|addpcis {d},{s}|cmprb {c},0,{a},{b}|addex {d},{a},{b},0
"""
STORAGE = """
lbz {d},{o}(r28)|lhz {d},{o}(r28)|lha {d},{o}(r28)|lwz {d},{o}(r28)|lwa {d},{o4}(r28)
ld {d},{o4}(r28)|stb {d},{o}(r28)|sth {d},{o}(r28)|stw {d},{o}(r28)|std {d},{o4}(r28)
mr r27,r28;lwzu {d},{o}(r27)|mr r27,r28;ldu {d},{o4}(r27)|mr r27,r28;stdu {d},{o4}(r27)
mr r27,r28;stbu {d},{o}(r27)|li {t},{o};ldx {d},r28,{t}|li {t},{o};stwx {d},r28,{t}
li {t},{o};lhbrx {d},r28,{t}|li {t},{o};stdbrx {d},r28,{t}|li {t},{o};lwax {d},r28,{t}
.long 0xbbbc0100|.long 0xbf1c0040|.long 0xba9c0010|.long 0x7e9c84aa
lq r10,{o16}(r28)|stq r10,{o16}(r28)|dcbz 0,r28|dcbt 0,r28|dcbst 0,r28
dcbf 0,r28|icbi 0,r28|dcbtst 0,r28
"""
# Store-conditionals without a larx.  test_atomic.py tests whole sequences.
ATOMIC = """
stwcx. {d},0,r28|stdcx. {d},0,r28|stbcx. {d},0,r28
"""
SPRS = """
mtsrr0 {d}|mtsrr1 {d}|mfsrr0 {d}|mfsrr1 {d}|mtlr {d}|mflr {d}|mfctr {d}|mtctr {d}|mtxer {d}
mfxer {d}|mtsprg 0,{d}|mfsprg {d},0|mtsprg 3,{d}|mfsprg {d},3|mfspr {d},259|mtdar {d}|mfdar {d}
mtdsisr {d}|mfdsisr {d}|mfspr {d},815|mtspr 815,{d}|mfspr {d},256|mtspr 256,{d}
mfspr {d},3|mtspr 3,{d}|mfspr {d},17|mfpvr {d}|mfspr {d},896|mfspr {d},1000|mfspr {d},318
mfspr {d},314|mtspr 314,{d}|mfspr {d},153|mfspr {d},800|mtspr 804,{d}
"""
MSR = """
mfmsr {d}|mfmsr {t};xori {t},{t},0x2000;mtmsrd {t}|mfmsr {t};xori {t},{t},0x2;mtmsr {t}
mfmsr {t};xoris {t},{t},0x280;mtmsrd {t}|li {t},2;mtmsrd {t},1|li {t},0;mtmsrd {t},1
mfmsr {t};xori {t},{t},0x900;mtmsrd {t};isync|mfmsr {t};ori {t},{t},0x30;mtmsrd {t}
mfmsr {t};xori {t},{t},0x10;mtmsrd {t}|mfmsr {t};xori {t},{t},0x20;mtmsrd {t}
mfmsr {t};rldicl {t},{t},1,1;rldicl {t},{t},63,0;mtmsrd {t}|mfmsr {t};ori {t},{t},0x400;mtmsrd {t}
"""
USER = "mfmsr {t};ori {t},{t},0x4000;mtmsrd {t}"
INTERRUPTS = """
sc|li r3,0x7ffc;sc 1|scv 0|tw {n},{a},{b}|td {n},{a},{b}|twi {n},{a},{s}|tdi {n},{a},{s}|trap
ld {d},0(r30)|stw {d},8(r30)|lbzx {d},r30,{a}|.long 0|.long 0x7c0007fe|.long 0x00000200|hrfid
stop|nap|slbia|slbie {a}|tlbie {a},{b},0,0,0|mfspr {d},1023|mtspr 1023,{d}|mfspr {d},336
tbegin. 0|rfscv_here|attn|dcbz 0,r30|lxvd2x {x},0,r30
"""
BARRIERS = """
sync|lwsync|ptesync|isync|eieio|nop|xnop|ori 0,0,0|xori 0,0,0
tlbsync|slbsync|cpabort
"""
FLOATING = """
lfd {f},{o}(r28)|lfs {f},{o}(r28)|stfd {f},{o}(r28)|stfs {f},{o}(r28)|fadd {f},{f},{f}
fmul. {f},{f},{f}|fsub {f},{f},{f}|fdiv {f},{f},{f}|fmadd {f},{f},{f},{f}|fmr {f},{f}
fneg {f},{f}|fcmpu {c},{f},{f}|fctid {f},{f}|fcfid {f},{f}|frsp {f},{f}|mffs {f}
mtfsf 0xfc,{f}|mtfsb0 {n}|mtfsfi 7,0|fsqrt {f},{f}|fadds {f},{f},{f}|fsel {f},{f},{f},{f}
lvx {v},0,r28|stvx {v},0,r28|vaddubm {v},{v},{v}|vand {v},{v},{v}|vsldoi {v},{v},{v},3
vspltisw {v},5|vcmpequw. {v},{v},{v}|vperm {v},{v},{v},{v}|mfvscr {v}|vaddudm {v},{v},{v}
lxvd2x {x},0,r28|stxvd2x {x},0,r28|xxlor {x},{x},{x}|xsadddp {x},{x},{x}|xvmuldp {x},{x},{x}
mtvsrd {x},{a}|mfvsrd {d},{x}|xxpermdi {x},{x},{x},1|lxsdx {x},0,r28|xxspltw {x},{x},2
lxv {x},{o16}(r28)|stxvx {x},0,r28|lxsd {v},{o4}(r28)|mtvsrdd {x},{a},{b}|xsaddqp {v},{v},{v}
"""
PREFIXED = """
pli {d},0x12345678|paddi {d},{a},-0x5678|pld {d},{o4}(r28),0|pstw {d},{o}(r28),0|pnop
plwz {d},{o}(r28),0|plfd {f},{o}(r28),0|pstd {d},{o4}(r28),0|paddi {d},0,64,1|plxv {x},{o16}(r28),0
brd {d},{a}|setbc {d},{n}|cfuged {d},{a},{b}|pdepd {d},{a},{b}|xxspltiw {x},0x1234567
"""
# L0 is the next piece, L1 and L2 those behind it; . is the instruction itself.
BRANCHES = """
b L1|b L2|b L0|bl L1|beq {c},L1|bne {c},L2|bgt {c},L1|bsol {c},L1|bdnz L1|bdz L2|bdnzt {n},L1
bdzf {n},L2|bcl 20,31,.+4|li {t},3;mtctr {t};addi {d},{d},1;bdnz .-4|li {t},4;mtctr {t};bdnz .
bcl 20,31,.+4;mflr {t};addi {t},{t},20;mtctr {t};bctr;nop
bcl 20,31,.+4;mflr {t};addi {t},{t},19;mtlr {t};blr;nop
bcl 20,31,.+4;mflr {t};addi {t},{t},24;mtspr 815,{t};bctar 20,0,0;nop;nop
bcl 20,31,.+4;mflr {t};addi {t},{t},20;mtctr {t};bnectrl {c};nop
bcl 20,31,.+4;mflr {t};addi {t},{t},16;mtlr {t};beqlrl {c}
"""
RETURN = (
    "bcl 20,31,.+4;mflr {t};addi {t},{t},{r};mtsrr0 {t};mfmsr {t};{change};mtsrr1 {t};rfid;nop;nop"
)
CHANGES = [
    *("nop", "xori {t},{t},0x2000", "xori {t},{t},2", "ori {t},{t},0x30", "xori {t},{t},0x30"),
    *("oris {t},{t},0x783f", "xoris {t},{t},0x280", "ori {t},{t},0x400", "rldicl {t},{t},0,1"),
]
# Instructions that switch translation on or off; only for programs with address translation.
MAPS = re.compile(r"(ori|xori) \{t\},\{t\},0x(10|20|30)\b")
# or rx,rx,rx: under TCG a native step at it also does the next instruction.
HINT = re.compile(r"\bor (\d+),\1,\1\b")


def _choices(text: str) -> list[str]:
    return [piece.strip() for piece in text.replace("\n", "|").split("|") if piece.strip()]


WEIGHTS = {
    ARITHMETIC: 30,
    STORAGE: 22,
    BRANCHES: 16,
    SPRS: 10,
    FLOATING: 10,
    INTERRUPTS: 8,
    MSR: 6,
    ATOMIC: 1,
    BARRIERS: 3,
}


class _Maker:
    def __init__(self, seed: int, cpu: str, translated: bool) -> None:
        self.random = random.Random(f"{seed} {cpu} {translated}")
        self.cpu = cpu
        self.translated = translated

    def piece(self) -> str:
        """Some instructions that belong together, with `;` between them."""
        chance = self.random.random()
        if chance < 0.04:
            change = self.random.choice(CHANGES)
            text = RETURN.replace("{change}", change).replace(
                "{r}", self.random.choice(("28", "31"))
            )
        elif chance < 0.045:
            text = USER
        elif chance < 0.09 and self.cpu == "POWER10":
            text = self.random.choice(_choices(PREFIXED))
        else:
            (kind,) = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))
            text = self.random.choice(_choices(kind))
        if not self.translated and (text == USER or MAPS.search(text)):
            text = "nop"
        if text == "rfscv_here":
            text = "bcl 20,31,.+4;mflr {t};addi {t},{t},24;mtlr {t};mfmsr {t};mtctr {t};rfscv;nop"
        return self._filled(text)

    def _filled(self, text: str) -> str:
        pick = self.random.randrange
        text = text.replace("{t}", str(self.random.choice(range(3, 27))))
        kinds: dict[str, Callable[[], int]] = {
            "{s}": lambda: pick(-0x8000, 0x8000),
            "{u}": lambda: pick(0x10000),
            "{n}": lambda: pick(32),
            "{m}": lambda: pick(64),
            "{c}": lambda: pick(8),
            "{o}": lambda: pick(-1000, 1000),
            "{o4}": lambda: 4 * pick(-250, 250),
            "{o16}": lambda: 16 * pick(-60, 60),
            **dict.fromkeys(("{d}", "{a}", "{b}"), lambda: self.random.choice(FREE)),
            **dict.fromkeys(("{f}", "{v}"), lambda: pick(8)),
            "{x}": lambda: self.random.choice((*range(8), *range(32, 40))),
        }
        for name, value in kinds.items():
            while name in text:
                text = text.replace(name, str(value()), 1)
        return HINT.sub("nop", text)


def program(seed: int, cpu: str, translated: bool) -> Program:
    """The program of a seed for a CPU model, with address translation or in real mode."""
    maker = _Maker(seed, cpu, translated)
    lines = []
    for number in range(LENGTH):
        lines.append(f"P{number}:")
        for line in maker.piece().split(";"):
            for step in range(3):
                line = line.replace(f"L{step}", f"P{min(number + 1 + step, LENGTH)}")
            lines.append(line)
    lines.append(f"P{LENGTH}: b .")
    chosen = maker.random
    edges = [0, 1, 0x7F, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 63) - 1, (1 << 64) - 1]
    registers = {
        f"r{number}": chosen.choice([*edges, chosen.getrandbits(64), chosen.getrandbits(16)])
        for number in range(32)
    }
    registers.update(r28=DATA + 0x800, r30=UNMAPPED, r1=DATA + 0x400)
    registers.update(
        lr=chosen.getrandbits(64) & ~3,
        ctr=chosen.choice([0, 1, 2, 5, chosen.getrandbits(64)]),
        cr=chosen.getrandbits(32),
        xer=chosen.getrandbits(32) & 0xE000007F,
        srr0=chosen.getrandbits(64),
        srr1=chosen.getrandbits(64),
    )
    states = [(0, 0), (FP, 0), (FP | VEC_VSX, 0), (0, SF), (SE, 0), (BE, 0), (IR, DR), (DR, IR)]
    states += [(PR, 0), (PR | FP | VEC_VSX, 0)] if translated else []
    weights = [6, 6, 6, 2, 1, 1, 1, 1, 2, 2][: len(states)]
    (state,) = chosen.choices(states, weights)
    if not translated:
        state = state[0] & ~(IR | DR), state[1]
    return Program(seed, lines, registers, state)


def source(programs: list[Program]) -> str:
    """All programs as one assembler source; each takes SIZE bytes, and the first is at CODE."""
    text = [".machine power10", ".text"]
    for number, one in enumerate(programs):
        text.append(f".org {number * SIZE:#x}, 0x60")
        text += [line.replace("P", f"P{number}_") if "P" in line else line for line in one.lines]
    text.append(f".org {len(programs) * SIZE:#x}, 0x60")
    return "\n".join(text) + "\n"

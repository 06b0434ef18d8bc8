# SPDX-License-Identifier: MIT
"""Decoding, branch targets and trap conditions, against binutils and against words by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gdb_ppc_sstep.ppc import isa
from gdb_ppc_sstep.ppc.isa import Instruction, Kind

AS = "powerpc64le-linux-gnu-as"
OBJDUMP = "powerpc64le-linux-gnu-objdump"
SF = 1 << 63
BASE = 0xC000000000100000
SLOT = 64


def nothing(name: str) -> int:
    """A reader for what may not read registers."""
    raise AssertionError(f"{name} was read")


# -- against binutils

ALWAYS, EITHER = True, False

# What goes to a place that is in the instruction; `.` is the instruction's own address.
DIRECT = [
    ("b .+0x20", ALWAYS),
    ("b .-0x20", ALWAYS),
    ("b .", ALWAYS),
    ("b .+0x1fffffc", ALWAYS),
    ("b .-0x2000000", ALWAYS),
    ("bl .+0x1000", ALWAYS),
    ("bl .-0x1000", ALWAYS),
    ("ba 0x100", ALWAYS),
    ("ba -0x100", ALWAYS),
    ("bla 0x1fffffc", ALWAYS),
    ("bla -0x2000000", ALWAYS),
    ("bdnz .+0x7ffc", EITHER),
    ("bdnz .-0x8000", EITHER),
    ("bdnzl .-0x10", EITHER),
    ("bdz .+8", EITHER),
    ("bdza 0x700", EITHER),
    ("beq .+0x40", EITHER),
    ("beq .-0x40", EITHER),
    ("beq cr6,.+0x40", EITHER),
    ("bne+ cr7,.-0x100", EITHER),
    ("blt- cr1,.+0x100", EITHER),
    ("bge .+8", EITHER),
    ("bgt .-4", EITHER),
    ("ble .-8", EITHER),
    ("bsol cr3,.+0x10", EITHER),
    ("bdnzt 4*cr1+eq,.+0x10", EITHER),
    ("bdnzf lt,.-0x10", EITHER),
    ("bdzt gt,.+0x20", EITHER),
    ("bdzf 4*cr7+so,.-0x20", EITHER),
    ("bca 12,2,0x1000", EITHER),
    ("bcla 4,2,-0x1000", EITHER),
    ("bc 20,0,.+0x10", ALWAYS),
    ("bcl 20,31,.+4", ALWAYS),
    ("bcl 20,31,.-0x7000", ALWAYS),
    ("bc 16,0,.+0x10", EITHER),
    ("bc 18,0,.+0x10", EITHER),
    ("bc 12,0,.+0x10", EITHER),
    ("bc 8,0,.+0x10", EITHER),
]

# What goes to a place that is in a register.
INDIRECT = [
    ("blr", "lr", ALWAYS),
    ("blrl", "lr", ALWAYS),
    ("bclr 20,0,3", "lr", ALWAYS),
    ("beqlr", "lr", EITHER),
    ("bnelr cr5", "lr", EITHER),
    ("bltlrl", "lr", EITHER),
    ("bdnzlr", "lr", EITHER),
    ("bdzlr", "lr", EITHER),
    ("bctr", "ctr", ALWAYS),
    ("bctrl", "ctr", ALWAYS),
    ("bcctr 20,0,3", "ctr", ALWAYS),
    ("beqctr", "ctr", EITHER),
    ("bnectrl cr2", "ctr", EITHER),
    ("btar", "tar", ALWAYS),
    ("btarl", "tar", ALWAYS),
    ("bctar 20,0,3", "tar", ALWAYS),
    ("bctar 12,2", "tar", EITHER),
    ("bctarl 16,0", "tar", EITHER),
]

OTHERS = [
    *(
        (text, Kind.TRAP)
        for text in (
            "trap",
            "tw 31,0,0",
            "tw 4,3,4",
            "twi 31,0,0",
            "twi 5,3,-1",
            "td 16,3,4",
            "tdi 2,3,0x7fff",
            "tweq 3,4",
            "twlge 3,4",
            "tdne 3,4",
            "tdlgt 3,4",
            "twnei 3,0",
            "tdlti 3,-0x8000",
            "tdnei 0,0",
        )
    ),
    ("sc", Kind.SYSTEM_CALL),
    ("sc 1", Kind.SYSTEM_CALL),
    ("sc 2", Kind.SYSTEM_CALL),
    ("scv 0", Kind.SYSTEM_CALL_VECTORED),
    ("scv 1", Kind.SYSTEM_CALL_VECTORED),
    ("scv 127", Kind.SYSTEM_CALL_VECTORED),
    ("rfid", Kind.RFID),
    ("hrfid", Kind.HRFID),
    ("rfscv", Kind.RFSCV),
    ("mfmsr 0", Kind.MFMSR),
    ("mfmsr 31", Kind.MFMSR),
    ("mtmsr 5", Kind.MTMSR),
    ("mtmsr 5,1", Kind.MTMSR),
    ("mtmsrd 5", Kind.MTMSRD),
    ("mtmsrd 5,0", Kind.MTMSRD),
    ("mtmsrd 5,1", Kind.MTMSRD),
    *((f"mt{spr} 5", Kind.MTSPR) for spr in ("srr0", "srr1", "lr", "ctr", "xer", "sprg0")),
    *((f"mf{spr} 5", Kind.MFSPR) for spr in ("srr0", "srr1", "lr", "ctr", "xer", "sprg0")),
    *((f"mtspr {number},5", Kind.MTSPR) for number in (259, 275, 314, 315, 318)),
    *((f"mfspr 5,{number}", Kind.MFSPR) for number in (259, 275, 314, 315, 318)),
    ("mftb 5", Kind.MFSPR),
    *(
        (text, Kind.ORDINARY)
        for text in (
            "nop",
            "addi 3,1,-32",
            "addis 2,12,1",
            "ori 3,3,0xffff",
            "add 3,4,5",
            "mulld. 3,4,5",
            "cmpldi cr7,3,0",
            "isel 3,4,5,2",
            "lwz 3,0(4)",
            "ld 3,8(4)",
            "std 3,-8(1)",
            "stdu 1,-112(1)",
            "lwarx 3,0,4",
            "ldarx 3,0,4",
            "stwcx. 3,0,4",
            "stdcx. 3,0,4",
            "sync",
            "lwsync",
            "isync",
            "eieio",
            "slbia",
            "tlbie 3,4",
            "mfcr 3",
            "mtcrf 255,3",
            "crxor 0,0,0",
            "mcrf 1,2",
            "addpcis 3,4",
            "dcbz 0,3",
            "icbi 0,3",
            "fadd 1,2,3",
            "xxlor 1,2,3",
            "vaddudm 1,2,3",
            "rldicl 3,3,0,32",
            "stop",
        )
    ),
]

PREFIXED = ["paddi 3,4,0x12345678", "pld 3,0x1000(4)", "plwz 3,0x20(0),1", "pstd 3,-8(1)"]

SOURCES = [text for table in (DIRECT, INDIRECT, OTHERS) for text, *_ in table] + PREFIXED


class Line(NamedTuple):
    """What objdump prints about an instruction."""

    pc: int
    word: int
    size: int
    text: str

    @property
    def target(self) -> int:
        """The branch target among the operands.  objdump shows 32 bits of an absolute one."""
        mnemonic, *_, shown = re.split(r"[ ,]+", re.sub(r" <.*>$", "", self.text))
        target = int(shown, 16)
        absolute = mnemonic.endswith("a")
        return target | 0xFFFFFFFF << 32 if absolute and target >> 31 else target


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Line]:
    """Every source line, assembled and disassembled."""
    for tool in (AS, OBJDUMP):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} (binutils-powerpc64le-linux-gnu) is not installed")
    folder: Path = tmp_path_factory.mktemp("isa")
    source, binary = folder / "all.s", folder / "all.o"
    source.write_text(
        ".machine power10\n.text\n"
        + "".join(f".org {SLOT * n}\n{text}\n" for n, text in enumerate(SOURCES))
    )
    subprocess.run([AS, "-mpower10", "-many", source, "-o", binary], check=True, timeout=60)
    printed = subprocess.run(
        [OBJDUMP, "-d", "-z", "-Mpower10", f"--adjust-vma={BASE:#x}", binary],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    ).stdout
    assert "elf64-powerpcle" in printed
    found: dict[str, Line] = {}
    pattern = r"^ *([0-9a-f]+):\t((?:[0-9a-f]{2} ){4})(?:\t(.*?))?\s*$"
    for address, raw, text in re.findall(pattern, printed, re.MULTILINE):
        index, rest = divmod(int(address, 16) - BASE, SLOT)
        if rest == 0 and index < len(SOURCES):
            word = int.from_bytes(bytes.fromhex(raw), "little")
            found[SOURCES[index]] = Line(int(address, 16), word, 4, text)
        elif rest == 4 and not text:  # the second word of a prefixed one
            found[SOURCES[index]] = found[SOURCES[index]]._replace(size=8)
    assert list(found) == SOURCES
    return found


@pytest.mark.parametrize(("source", "kind"), OTHERS, ids=lambda value: str(value))
def test_decode_agrees_with_the_assembler(lines: dict[str, Line], source: str, kind: Kind) -> None:
    line = lines[source]
    assert isa.decode(line.word) == Instruction(kind, line.word, 4)
    assert line.size == 4


@pytest.mark.parametrize("source", [text for text, *_ in [*DIRECT, *INDIRECT]])
def test_every_branch_is_a_branch(lines: dict[str, Line], source: str) -> None:
    assert isa.decode(lines[source].word) == Instruction(Kind.BRANCH, lines[source].word, 4)


@pytest.mark.parametrize(("source", "always"), DIRECT)
def test_branch_goes_where_objdump_says(lines: dict[str, Line], source: str, always: bool) -> None:
    line = lines[source]
    successors = isa.successors(isa.decode(line.word), line.pc, SF, nothing)
    assert successors == ((line.target,) if always else (line.pc + 4, line.target)), line.text


@pytest.mark.parametrize(("source", "always"), DIRECT)
def test_branch_target_has_32_bits_without_sf(
    lines: dict[str, Line], source: str, always: bool
) -> None:
    line = lines[source]
    pc, target = line.pc & 0xFFFFFFFF, line.target & 0xFFFFFFFF
    successors = isa.successors(isa.decode(line.word), pc, 0, nothing)
    assert successors == ((target,) if always else (pc + 4, target))


@pytest.mark.parametrize("low", range(4))
@pytest.mark.parametrize(("source", "register", "always"), INDIRECT)
def test_indirect_branch_goes_where_its_register_says(
    lines: dict[str, Line], source: str, register: str, always: bool, low: int
) -> None:
    """The low two bits of LR, CTR and TAR are no part of the target."""
    line = lines[source]
    read = {register: 0xC0000000DEADBEE0 | low}.__getitem__
    successors = isa.successors(isa.decode(line.word), line.pc, SF, read)
    target = (0xC0000000DEADBEE0,)
    assert successors == (target if always else (line.pc + 4, *target)), line.text
    narrow = isa.successors(isa.decode(line.word), 0x1000, 0, read)
    assert narrow == ((0xDEADBEE0,) if always else (0x1004, 0xDEADBEE0))


@pytest.mark.parametrize("source", [text for text, _ in OTHERS])
def test_what_is_no_branch_goes_on(lines: dict[str, Line], source: str) -> None:
    line = lines[source]
    assert isa.successors(isa.decode(line.word), line.pc, SF, nothing) == (line.pc + 4,)


@pytest.mark.parametrize("source", PREFIXED)
def test_prefixed_instruction_is_eight_bytes(lines: dict[str, Line], source: str) -> None:
    line = lines[source]
    assert line.size == 8
    instruction = isa.decode(line.word)
    assert instruction == Instruction(Kind.ORDINARY, line.word, 8)
    assert isa.successors(instruction, line.pc, SF, nothing) == (line.pc + 8,)


@pytest.mark.parametrize("level", [0, 1, 127])
def test_level_of_scv(lines: dict[str, Line], level: int) -> None:
    assert isa.decode(lines[f"scv {level}"].word).lev == level


@pytest.mark.parametrize(("source", "level"), [("sc", 0), ("sc 1", 1), ("sc 2", 2)])
def test_level_of_sc(lines: dict[str, Line], source: str, level: int) -> None:
    assert isa.decode(lines[source].word).lev == level


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("mtmsrd 5", True),
        ("mtmsrd 5,0", True),
        ("mtmsrd 5,1", False),
        ("mtmsr 5", True),
        ("mtmsr 5,1", False),
        ("mfmsr 31", False),
        ("mtsrr1 5", False),
        ("rfid", False),
        ("nop", False),
    ],
)
def test_writes_se_only_by_mtmsr_with_l_0(
    lines: dict[str, Line], source: str, writes: bool
) -> None:
    assert isa.decode(lines[source].word).writes_se is writes


@pytest.mark.parametrize(
    ("source", "number", "privileged"),
    [
        ("mtsrr0 5", 26, True),
        ("mtsrr1 5", 27, True),
        ("mfsrr0 5", 26, True),
        ("mfsrr1 5", 27, True),
        ("mtspr 314,5", 314, True),  # hsrr0
        ("mfspr 5,315", 315, True),  # hsrr1
        ("mfspr 5,318", 318, True),  # lpcr
        ("mtspr 275,5", 275, True),  # sprg3
        ("mfspr 5,259", 259, False),  # sprg3 for problem state
        ("mtsprg0 5", 272, True),
        ("mtlr 5", 8, False),
        ("mflr 5", 8, False),
        ("mtctr 5", 9, False),
        ("mfctr 5", 9, False),
        ("mfxer 5", 1, False),
        ("mftb 5", 268, False),
    ],
)
def test_spr_number_and_privilege(
    lines: dict[str, Line], source: str, number: int, privileged: bool
) -> None:
    instruction = isa.decode(lines[source].word)
    assert instruction.spr == number
    assert instruction.rt == "r5"
    assert instruction.privileged is privileged


@pytest.mark.parametrize(
    ("source", "privileged"),
    [
        ("rfid", True),
        ("hrfid", True),
        ("rfscv", True),
        ("mfmsr 31", True),
        ("mtmsr 5", True),
        ("mtmsrd 5,1", True),
        ("sc", False),
        ("scv 0", False),
        ("trap", False),
        ("nop", False),
    ],
)
def test_privileged(lines: dict[str, Line], source: str, privileged: bool) -> None:
    assert isa.decode(lines[source].word).privileged is privileged


# -- words by hand, which need no binutils

BY_HAND = [
    (0x60000000, Kind.ORDINARY, "nop"),
    (0x00000000, Kind.ORDINARY, "no instruction"),
    (0xFFFFFFFF, Kind.ORDINARY, "fnmadd. of all ones"),
    (0x48000000, Kind.BRANCH, "b ."),
    (0x4BFFFFFC, Kind.BRANCH, "b .-4"),
    (0x4200FFFC, Kind.BRANCH, "bdnz .-4"),
    (0x4E800020, Kind.BRANCH, "blr"),
    (0x4E800420, Kind.BRANCH, "bctr"),
    (0x4E800460, Kind.BRANCH, "btar"),
    (0x7FE00008, Kind.TRAP, "trap"),
    (0x0FE00000, Kind.TRAP, "twui r0,0"),
    (0x0BE00000, Kind.TRAP, "tdui r0,0"),
    (0x7FE00088, Kind.TRAP, "tdu r0,r0"),
    (0x44000002, Kind.SYSTEM_CALL, "sc"),
    (0x44000022, Kind.SYSTEM_CALL, "sc 1"),
    (0x44000001, Kind.SYSTEM_CALL_VECTORED, "scv 0"),
    (0x44000000, Kind.ORDINARY, "opcode 17 that is no system call"),
    (0x4C000024, Kind.RFID, "rfid"),
    (0x4C000224, Kind.HRFID, "hrfid"),
    (0x4C0000A4, Kind.RFSCV, "rfscv"),
    (0x4C00012C, Kind.ORDINARY, "isync"),
    (0x7C6000A6, Kind.MFMSR, "mfmsr r3"),
    (0x7C600124, Kind.MTMSR, "mtmsr r3"),
    (0x7C600164, Kind.MTMSRD, "mtmsrd r3"),
    (0x7C610164, Kind.MTMSRD, "mtmsrd r3,1"),
    (0x7C7A03A6, Kind.MTSPR, "mtsrr0 r3"),
    (0x7C7A02A6, Kind.MFSPR, "mfsrr0 r3"),
    (0x7C0802A6, Kind.MFSPR, "mflr r0"),
    (0x7C0802A7, Kind.MFSPR, "mflr r0 with a bit that is reserved"),
]


@pytest.mark.parametrize(("word", "kind", "text"), BY_HAND, ids=[text for *_, text in BY_HAND])
def test_decode_by_hand(word: int, kind: Kind, text: str) -> None:
    assert isa.decode(word) == Instruction(kind, word, 4)


@pytest.mark.parametrize("word", [0x06000000, 0x04000000, 0x07FFFFFF])
def test_primary_opcode_1_is_a_prefix(word: int) -> None:
    """Power ISA 3.1B Book I 1.6: primary opcode 1 is the prefix of an 8-byte instruction."""
    assert isa.decode(word).length == 8


@pytest.mark.parametrize(
    ("word", "pc", "state", "expected"),
    [
        (0x48000000, 0x1000, SF, (0x1000,)),
        (0x4BFFFFFC, 0x1000, SF, (0xFFC,)),
        (0x4BFFFFFC, 0, SF, (0xFFFFFFFFFFFFFFFC,)),
        (0x4BFFFFFC, 0, 0, (0xFFFFFFFC,)),
        (0x48000103, 0xC000000000001000, SF, (0x100,)),  # bla 0x100
        (0x4200FFFC, 0x1000, SF, (0x1004, 0xFFC)),
        (0x60000000, 0xFFFFFFFFFFFFFFFC, SF, (0,)),
        (0x60000000, 0xFFFFFFFC, 0, (0,)),
        (0x60000000, 0xFFFFFFFC, SF, (0x100000000,)),
        (0x06000000, 0xFFFFFFF8, 0, (0,)),
    ],
)
def test_successors_by_hand(word: int, pc: int, state: int, expected: tuple[int, ...]) -> None:
    assert isa.successors(isa.decode(word), pc, state, nothing) == expected


@pytest.mark.parametrize(
    "bo", [0b00000, 0b00010, 0b00100, 0b01000, 0b01010, 0b01100, 0b10000, 0b10010]
)
@pytest.mark.parametrize("hint", [0, 1])
def test_bo_that_tests_something_has_two_successors(bo: int, hint: int) -> None:
    """Power ISA 3.1B Book I, figure "BO field encodings"; only 1z1zz is "branch always"."""
    word = 16 << 26 | (bo | hint) << 21 | 0x40
    assert isa.successors(isa.decode(word), 0x1000, SF, nothing) == (0x1004, 0x1040)


@pytest.mark.parametrize("bo", [0b10100, 0b10101, 0b10110, 0b10111, 0b11100, 0b11111])
def test_bo_that_branches_always_has_one(bo: int) -> None:
    word = 16 << 26 | bo << 21 | 0x40
    assert isa.successors(isa.decode(word), 0x1000, SF, nothing) == (0x1040,)


@pytest.mark.parametrize("word", [0x4C000124, 0x4C000924], ids=["rfebb 0", "rfebb 1"])
def test_return_from_event_based_branch_is_no_ordinary_instruction(word: int) -> None:
    """FACTS: a Trace interrupt follows rfebb no more than rfid, so a step that arms MSR[SE] and
    waits at the Trace vector ends one instruction late."""
    assert isa.decode(word).kind is not Kind.ORDINARY


@pytest.mark.parametrize(
    ("first", "last", "value"),
    [(0, 5, 31), (6, 10, 3), (11, 15, 26), (16, 20, 0), (21, 30, 467), (31, 31, 0), (0, 31, None)],
)
def test_field_is_numbered_from_the_left(first: int, last: int, value: int | None) -> None:
    word = 0x7C7A03A6  # mtsrr0 r3
    assert isa.decode(word).field(first, last) == (word if value is None else value)


def test_names_of_the_register_fields() -> None:
    instruction = isa.decode(31 << 26 | 5 << 21 | 17 << 16 | 31 << 11 | 266 << 1)
    assert (instruction.rt, instruction.ra, instruction.rb) == ("r5", "r17", "r31")


# -- traps


def signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value if value < 1 << (width - 1) else value - (1 << width)


def conditions(a: int, b: int, width: int) -> int:
    """The TO bits of which each is a condition that holds for two registers, from the left:
    less, greater, equal, less and greater as unsigned (Power ISA 3.1B Book I 3.3.11)."""
    below = a % (1 << width) < b % (1 << width)
    above = a % (1 << width) > b % (1 << width)
    less = signed(a, width) < signed(b, width)
    greater = signed(a, width) > signed(b, width)
    equal = not below and not above
    return int("".join(str(int(one)) for one in (less, greater, equal, below, above)), 2)


EDGES = [
    0,
    1,
    2,
    0x7FFF,
    0x8000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x100000000,
    0x1FFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    0x8000000000000000,
    0xFFFFFFFF00000000,
    0xFFFFFFFF80000000,
    0xFFFFFFFFFFFF8000,
    0xFFFFFFFFFFFFFFFF,
]
REGISTERS: list[tuple[str, int, int]] = [("tw", 4, 32), ("td", 68, 64)]
IMMEDIATES: list[tuple[str, int, int]] = [("twi", 3, 32), ("tdi", 2, 64)]


@pytest.mark.parametrize("to", range(32))
@pytest.mark.parametrize(("name", "extended", "width"), REGISTERS)
def test_trap_on_registers(name: str, extended: int, width: int, to: int) -> None:
    instruction = isa.decode(31 << 26 | to << 21 | 3 << 16 | 4 << 11 | extended << 1)
    wrong = [
        (hex(a), hex(b))
        for a in EDGES
        for b in EDGES
        if isa.trap_taken(instruction, {"r3": a, "r4": b}.__getitem__)
        != bool(conditions(a, b, width) & to)
    ]
    assert not wrong, name


@pytest.mark.parametrize("to", range(32))
@pytest.mark.parametrize(("name", "opcode", "width"), IMMEDIATES)
def test_trap_on_an_immediate(name: str, opcode: int, width: int, to: int) -> None:
    """The immediate is extended by its sign, for the unsigned comparisons as well."""
    wrong = []
    for immediate in (0, 1, -1, 2, 0x7FFF, -0x8000):
        instruction = isa.decode(opcode << 26 | to << 21 | 3 << 16 | immediate & 0xFFFF)
        wrong += [
            (hex(a), immediate)
            for a in EDGES
            if isa.trap_taken(instruction, {"r3": a}.__getitem__)
            != bool(conditions(a, immediate, width) & to)
        ]
    assert not wrong, name


def test_the_reference_for_traps_itself() -> None:
    """LLT 16, LGT 8, EQ 4, unsigned less 2, unsigned greater 1."""
    assert conditions(5, 5, 64) == 4
    assert conditions(0xFFFFFFFFFFFFFFFF, 1, 64) == 16 | 1
    assert conditions(1, -1, 64) == 8 | 2
    assert conditions(2, 1, 32) == 8 | 1
    assert conditions(0x100000001, 1, 32) == 4
    assert conditions(0x100000001, 1, 64) == 8 | 1


@pytest.mark.parametrize(
    ("word", "registers", "taken"),
    [
        (0x7FE00008, {"r0": 7}, True),  # trap
        (0x0B090000, {"r9": 0}, False),  # tdnei r9,0: Linux WARN_ON
        (0x0B090000, {"r9": 1}, True),
        (0x0C830000, {"r3": 0x100000000}, True),  # tweqi r3,0: 32 bits
        (0x08830000, {"r3": 0x100000000}, False),  # tdeqi r3,0: 64 bits
        (0x08800000, {"r0": 0}, True),  # r0 is the register, not 0
        (0x08800000, {"r0": 1}, False),
    ],
)
def test_trap_by_hand(word: int, registers: dict[str, int], taken: bool) -> None:
    read: Callable[[str], int] = registers.__getitem__
    assert isa.trap_taken(isa.decode(word), read) is taken


# -- atomic sequences

TBEGIN, TEND = 0x7C00051D, 0x7C00055D
LARX, STCX, FILL, BNE = 0x7C601828, 0x7C60192D, 0x38630001, 0x40820000


def left_at(*words: int, pc: int = 0x1000) -> tuple[int, ...]:
    code = {pc + 4 * n: isa.decode(word) for n, word in enumerate(words)}
    nop = isa.decode(0x60000000)
    sequence = isa.atomic_sequence(pc, 1 << 63, lambda address: code.get(address, nop))
    if sequence is None:
        return ()
    assert list(sequence.code) == list(range(pc, sequence.exits[0], 4))
    return sequence.exits


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ((LARX, FILL, STCX, BNE), (0x100C,)),
        ((LARX, BNE | 0x40, STCX), (0x100C, 0x1044)),
        ((LARX, BNE | 0x40, BNE | 0x50, STCX), (0x1010, 0x1044, 0x1058)),
        ((LARX, BNE | 0xFFFC, STCX), (0x100C,)),  # back to the larx: spins inside
        ((LARX, BNE | 0xFF00, STCX), (0x100C, 0xF04)),
        ((LARX, BNE | 8, FILL, STCX), (0x1010,)),  # forward, inside
        ((LARX, 0x48000041, STCX), (0x100C, 0x1044)),  # bl
        ((LARX, 0x4D820020, STCX), (0x100C, 0x1004)),  # beqlr: a place of its own
        ((LARX, 0x44000002, STCX), (0x100C, 0x1004)),  # sc
        ((LARX, LARX, STCX, STCX), (0x100C,)),  # nested: the first store ends it
        ((LARX, *[FILL] * 40, STCX), (0x10A8,)),
        ((TBEGIN, BNE | 0x40, FILL, STCX, TEND), (0x1014, 0x1044)),
        ((TBEGIN, BNE | 8, 0x48000041, TEND), (0x1010,)),  # a call comes back
        ((TBEGIN, FILL, STCX), ()),
        ((FILL, LARX, STCX), ()),
        ((LARX, FILL, TEND), ()),
        ((LARX, FILL), ()),
        ((LARX, *[FILL] * 200, STCX), ()),
    ],
)
def test_atomic_sequence(words: tuple[int, ...], places: tuple[int, ...]) -> None:
    assert left_at(*words) == places


@pytest.mark.parametrize("words", [(0x7C601828, 0x7C60192D), (0x7C6018A8, 0x7C6019AD)])
def test_reserving_and_storing(words: tuple[int, int]) -> None:
    larx, stcx = map(isa.decode, words)
    assert larx.reserves and not larx.stores_conditionally
    assert stcx.stores_conditionally and not stcx.reserves

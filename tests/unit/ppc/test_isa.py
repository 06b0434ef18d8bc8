# SPDX-License-Identifier: MIT
"""Decoding and branch targets, against binutils and against words by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from gdb_ppc_sstep.ppc import isa
from gdb_ppc_sstep.ppc.isa import Instruction, Kind

from .sources import DIRECT, INDIRECT, OTHERS, PREFIXED, SOURCES

AS = "powerpc64le-linux-gnu-as"
OBJDUMP = "powerpc64le-linux-gnu-objdump"
SF = 1 << 63
BASE = 0xC000000000100000
SLOT = 64


def nothing(name: str) -> int:
    """A reader for what may not read registers."""
    raise AssertionError(f"{name} was read")


# -- against binutils


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
    """A Trace interrupt follows rfebb no more than rfid, so a step that arms MSR[SE] and
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

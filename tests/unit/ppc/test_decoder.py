# SPDX-License-Identifier: MIT
"""The decoder against binutils: every primary and extended opcode, with random operands."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gdb_ppc_sstep.ppc import faults, isa, msr
from gdb_ppc_sstep.ppc.isa import Kind

OBJDUMP = "powerpc64le-linux-gnu-objdump"
ALL_ON = 0x8000000002A03033  # FP, VEC and VSX too
UNKNOWN = (".long", "invalid")

# objdump's mnemonics (with operands, `1` stands for a first operand of 1).
KINDS = [
    (Kind.TRAP, r"(tw|td)(lgt|llt|lle|lge|lnl|lng|lt|le|eq|ge|gt|nl|ne|ng|u|)i?|trap"),
    (Kind.SYSTEM_CALL, r"sc"),
    (Kind.SYSTEM_CALL_VECTORED, r"scv"),
    (Kind.RFID, r"rfid"),
    (Kind.HRFID, r"hrfid"),
    (Kind.RFSCV, r"rfscv"),
    (Kind.RFEBB, r"rfebb"),
    (Kind.MFMSR, r"mfmsr"),
    (Kind.MTMSR, r"mtmsr"),
    (Kind.MTMSRD, r"mtmsrd"),
    (
        Kind.BRANCH,
        r"b(c|dn?zt?|dn?zf|dn?z|lt|le|eq|ge|gt|nl|ne|ng|so|ns|un|nu|)(ctr|lr|tar|)l?a?[-+]?",
    ),
]
# Of the fixed-point and branch facilities, which every CPU has and which take no interrupt.
HARMLESS = re.compile(
    r"(add|sub|neg|mul[hl]|div|mulli|and|or|xor|nand|nor|not|eqv|ext|cnt|popcnt|prty|cmp|bperm|"
    r"rl|rot|cl|sl[dw]|sr[dw]|sra|ins|extr|isel|cr|mcrf\b|mfcr|mtcr|mfocrf|mtocrf|li\b|lis\b|la\b|"
    r"mr|nop|xnop|b|isync|sync|[hlp]w?sync|lwsync|ptesync|phwsync|plwsync|stncisync|stcisync|stsync|"
    r"eieio|yield|md|miso|mt(xer|lr|ctr|srr|sprg)|mf(xer|lr|ctr|srr|sprg)|exser|dcs)"
)


def words() -> list[int]:
    """Each primary opcode with each extended opcode, and random bits between."""
    pick = random.Random(4)
    found = []
    for opcode in range(64):
        if opcode == 1:  # prefixed, see below
            continue
        for extended in range(2048):
            found.append(opcode << 26 | pick.getrandbits(15) << 11 | extended)
            if opcode in (17, 19, 31):  # reserved fields are 0, and RT is one that may be
                found.append(opcode << 26 | pick.getrandbits(5) << 21 | extended)
                found.append(opcode << 26 | extended)
    return found


@pytest.fixture(scope="module")
def disassembled(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Words and what objdump makes of them."""
    if shutil.which(OBJDUMP) is None:
        pytest.skip(f"{OBJDUMP} (gcc-powerpc64le-linux-gnu) is not installed")
    image: Path = tmp_path_factory.mktemp("decoder") / "words"
    image.write_bytes(b"".join(word.to_bytes(4, "big") for word in words()))
    options = ("-D", "-z", "-b", "binary", "-EB", "-m", "powerpc:common64", "-Mpower10")
    printed = subprocess.run(
        [OBJDUMP, *options, image], check=True, timeout=100, capture_output=True, text=True
    ).stdout
    pattern = r"^ *[0-9a-f]+:\t((?:[0-9a-f]{2} ){4})\s*(\S+)"
    found = [(int(raw.replace(" ", ""), 16), m) for raw, m in re.findall(pattern, printed, re.M)]
    assert [word for word, _ in found] == words()
    return found


def test_kind_of_every_opcode(disassembled: list[tuple[int, str]]) -> None:
    seen = set()
    for word, mnemonic in disassembled:
        if mnemonic.startswith(UNKNOWN):
            continue
        wanted = next((kind for kind, text in KINDS if re.fullmatch(text, mnemonic)), None)
        got = isa.decode(word).kind
        if got in (Kind.MTSPR, Kind.MFSPR):
            assert re.match(r"m[tf]", mnemonic), f"{word:08x} {mnemonic}"
            continue
        assert got is (wanted or Kind.ORDINARY), f"{word:08x} {mnemonic}: {got}"
        seen.add(got)
    assert seen == set(Kind) - {Kind.MTSPR, Kind.MFSPR}


def test_what_takes_no_interrupt_is_harmless(disassembled: list[tuple[int, str]]) -> None:
    """The other way round only time is lost."""
    harmless = set()
    for word, mnemonic in disassembled:
        instruction = isa.decode(word)
        if instruction.kind in isa.RETURNS or instruction.kind in (
            *(Kind.SYSTEM_CALL, Kind.SYSTEM_CALL_VECTORED, Kind.TRAP, Kind.RFEBB),
            *(Kind.MFMSR, Kind.MTMSR, Kind.MTMSRD),
        ):
            continue
        if any(faults.vectors(instruction, ALL_ON)) or mnemonic.startswith(UNKNOWN):
            continue
        assert HARMLESS.match(mnemonic), f"{word:08x} {mnemonic}"
        harmless.add(mnemonic)
    assert len(harmless) > 150


def test_loads_and_stores_take_storage_interrupts(disassembled: list[tuple[int, str]]) -> None:
    seen = set()
    for word, mnemonic in disassembled:
        if re.match(r"(l[bhwdqfxm]|st[bhwdqfxm]|dcbz)", mnemonic) and "sync" not in mnemonic:
            taken = set(faults.vectors(isa.decode(word), ALL_ON))
            assert set(faults.STORAGE) <= taken, f"{word:08x} {mnemonic}"
            seen.add(mnemonic)
    assert len(seen) > 100


def test_unknown_words_may_take_a_program_interrupt(disassembled: list[tuple[int, str]]) -> None:
    """But for reserved bits in what completes: those are ignored or not (Book I 1.3.2)."""
    for word, mnemonic in disassembled:
        instruction = isa.decode(word)
        if not mnemonic.startswith(UNKNOWN) or word >> 26 in (19, 31, 17, 30):
            continue
        if instruction.kind is Kind.ORDINARY:
            taken = set(faults.vectors(instruction, ALL_ON))
            assert msr.PROGRAM in taken, f"{word:08x} {mnemonic}"


def test_facilities_that_are_off() -> None:
    fadd, lfd, vaddubm, ld = (
        isa.decode(w) for w in (0xFC22182A, 0xC8350000, 0x10221800, 0xE8830000)
    )
    off = ALL_ON & ~0x2802000
    assert set(faults.vectors(fadd, off)) >= {0x800, msr.PROGRAM}
    assert set(faults.vectors(lfd, off)) == {0x800}
    assert set(faults.vectors(lfd, ALL_ON)) == set(faults.STORAGE)
    assert 0xF20 in set(faults.vectors(vaddubm, off))
    assert 0xF20 not in set(faults.vectors(vaddubm, ALL_ON))
    assert set(faults.vectors(ld, off)) == set(faults.STORAGE)
    assert msr.EMULATION_ASSISTANCE in set(faults.vectors(isa.decode(0), ALL_ON | msr.HV))


@pytest.mark.parametrize(
    ("word", "valid"),
    [
        (0x84640008, True),  # lwzu r3,8(r4)
        (0x84840008, False),  # lwzu r4,8(r4)
        (0x84600008, False),  # lwzu r3,8(0)
        (0xF821FF81, True),  # stdu r1,-128(r1)
        (0xF8000009, False),  # stdu r0,8(0)
        (0xBBA40000, True),  # lmw r29,0(r4)
        (0xBBBE0000, False),  # lmw r29,0(r30)
    ],
)
def test_invalid_forms_may_take_a_program_interrupt(word: int, valid: bool) -> None:
    assert (msr.PROGRAM not in set(faults.vectors(isa.decode(word), ALL_ON))) is valid

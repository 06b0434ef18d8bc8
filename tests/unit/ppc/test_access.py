# SPDX-License-Identifier: MIT
"""What an instruction accesses: every mnemonic, and what holds of every word.

That CASES leaves no mnemonic out was found with `objdump -Mpower10` (and power9, power8) of all
1024 extended opcodes of opcode 31 with bit 31 both 0 and 1, of all primary opcodes with all low
bits, and of all prefixed forms; tests/system/test_access.py does that again.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdb_ppc_sstep.ppc import isa
from gdb_ppc_sstep.ppc.access import Access, access, may_access
from gdb_ppc_sstep.ppc.msr import SF

from .accesses import CASES, NOTHING, PC, REGISTERS, Case, words

WORDS = st.integers(0, 2**32 - 1) | st.integers(31 << 26, (32 << 26) - 1)
VALUES = st.integers(0, 2**64 - 1)


def read(name: str) -> int:
    """A register that is known; others may not matter."""
    return REGISTERS[name]


def nothing(name: str) -> int:
    """A reader for what may not read registers."""
    raise AssertionError(f"{name} was read")


def accessed(code: str, state: int = SF, **registers: int) -> Access | None:
    word, suffix = words(code)
    known = {**REGISTERS, **registers}
    return access(isa.decode(word), suffix, PC, state, known.__getitem__)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text)
def test_every_mnemonic(case: Case) -> None:
    word, suffix = case.words
    assert may_access(isa.decode(word), suffix)
    got = access(isa.decode(word), suffix, PC, SF, read)
    assert got == Access(case.address, case.length, *case.does)


@pytest.mark.parametrize("code", [code for _, code in NOTHING], ids=[text for text, _ in NOTHING])
def test_what_accesses_nothing(code: str) -> None:
    word, suffix = words(code)
    assert not may_access(isa.decode(word), suffix)
    assert access(isa.decode(word), suffix, PC, SF, nothing) is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text)
def test_the_suffix_matters_to_prefixed_instructions_only(case: Case) -> None:
    word, suffix = case.words
    instruction = isa.decode(word)
    if instruction.length == 4:
        assert accessed(f"{word:x} {~suffix & 0xFFFFFFFF:x}") == accessed(case.code)
    else:
        assert not may_access(instruction, 0x60000000)


@pytest.mark.parametrize("code", ["7cc42c2a", "7cc42d2a", "7d04321b", "7c84335a"])
def test_no_byte_is_no_access(code: str) -> None:
    """lswx, stswx, lxvl and stxvll with a length of 0."""
    assert accessed(code, xer=0xFFFFFF80, r6=1) is None
    assert may_access(isa.decode(words(code)[0]), 0)


@pytest.mark.parametrize(("xer", "length"), [(1, 1), (127, 127), (128 + 3, 3)])
def test_strings_by_xer(xer: int, length: int) -> None:
    assert accessed("7cc42c2a", xer=xer) == Access(0x12FF, length, True, False)


@pytest.mark.parametrize(("count", "length"), [(1, 1), (15, 15), (16, 16), (17, 16), (255, 16)])
def test_vectors_with_a_length(count: int, length: int) -> None:
    assert accessed("7d04321b", r6=count << 56 | 99) == Access(0x1000, length, True, False)


@pytest.mark.parametrize(
    ("code", "state", "address"),
    [
        ("80640004", SF, 3),  # lwz 3,4(4): around the end
        ("80640004", 0, 3),
        ("80600000", 0, 0),
        ("8060fff8", 0, 0xFFFFFFF8),  # lwz 3,-8(0)
        ("7c64282e", 0, 0x2FE),  # lwzx 3,4,5
    ],
)
def test_addresses_wrap(code: str, state: int, address: int) -> None:
    got = accessed(code, state, r4=2**64 - 1)
    assert got is not None and got.address == address


def test_32_bit_mode_takes_the_low_word() -> None:
    assert accessed("7c64282e", 0, r4=0x1_8000_0000) == Access(0x800002FF, 4, True, False)
    assert accessed("7c64282e", SF, r4=0x1_8000_0000) == Access(0x1800002FF, 4, True, False)


def test_update_with_ra_0_is_taken_as_without() -> None:
    """An invalid form: lwzu 3,8(0)."""
    assert accessed("84600008") == Access(8, 4, True, False)


def test_lxvx_has_a_bit_that_is_ignored() -> None:
    """Bit 25 is reserved: both are lxvx 4,4,5."""
    assert accessed("7c842a18") == accessed("7c842a58") == Access(0x12FF, 16, True, False)


@given(WORDS, WORDS, VALUES, st.sampled_from([0, SF]), VALUES)
@example(0x7C64282E, 0, PC, SF, 2**64 - 1)
@example(0x06000000, 0x80640000, 2**64 - 4, SF, 2**64 - 1)
def test_every_word(word: int, suffix: int, pc: int, state: int, value: int) -> None:
    instruction = isa.decode(word)
    got = access(instruction, suffix, pc, state, lambda name: value)
    if got is None:
        return
    assert may_access(instruction, suffix)
    assert 0 <= got.address < (2**64 if state else 2**32)
    assert 1 <= got.length <= 128
    assert got.loads or got.stores


def test_every_opcode() -> None:
    """Each primary opcode with all that may extend it: nothing is raised, and both agree."""
    for word in (opcode << 26 | 0x00E52000 | low for opcode in range(64) for low in range(2048)):
        instruction = isa.decode(word)
        got = access(instruction, word, PC, SF, lambda name: 0x8000000000001001)
        assert (got is not None) == may_access(instruction, word), f"{word:08x}"
        assert got is None or 1 <= got.length <= 128, f"{word:08x}"


@given(WORDS, WORDS, VALUES)
def test_what_may_not_access_does_not(word: int, suffix: int, value: int) -> None:
    """And reads no register for it."""
    instruction = isa.decode(word)
    if not may_access(instruction, suffix):
        assert access(instruction, suffix, PC, SF, nothing) is None


@given(st.sampled_from(CASES), VALUES)
def test_random_addresses(case: Case, value: int) -> None:
    word, suffix = case.words
    got = access(isa.decode(word), suffix, value, SF, lambda name: value)
    assert got is None or (got.loads, got.stores) == case.does

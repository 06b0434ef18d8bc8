# SPDX-License-Identifier: MIT
"""What is found in a Linux kernel's code, and what is left alone because it differs by a word."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gdb_ppc_sstep.ppc import linux_code
from gdb_ppc_sstep.ppc.linux_code import Hypercall, MatchCall

from .. import linux
from .. import machine as m
from .. import words as w
from ..machine import VIRTUAL

VECTOR = VIRTUAL | 0x300


class Code:
    """Of the small kernel."""

    def __init__(self, order: linux.Order = "little", *, filters: bool = True) -> None:
        self.machine = linux.booted(order=order, filters=filters)
        self.order: linux.Order = order

    def __call__(self, address: int, count: int) -> Sequence[int]:
        """The words there; those that are not there are 0."""
        return [self.word(address + 4 * n) for n in range(count)]

    def word(self, address: int) -> int:
        raw = self.machine.word_at(address) or bytes(4)
        return int.from_bytes(raw, self.order)

    def put(self, address: int, word: int) -> None:
        self.machine.put(address, word, order=self.order)


@pytest.mark.parametrize("order", ["little", "big"])
def test_call_of_do_break(order: linux.Order) -> None:
    code = Code(order)
    assert linux_code.match_call(VECTOR, code) == MatchCall(
        linux.SITE, linux.REAL_COMMON + 8, w_bl(linux.DO_BREAK - linux.SITE)
    )


def w_bl(offset: int) -> int:
    return m.b(offset, link=True)


def test_a_kernel_of_another_shape() -> None:
    assert linux_code.match_call(VECTOR, Code(filters=False)) is None
    assert linux_code.match_call(VECTOR, lambda address, count: [0] * count) is None


@pytest.mark.parametrize(
    ("place", "word"),
    [
        (linux.FILTER + 4, m.NOP),  # no addi r3,r1
        (linux.FILTER + 8, w.andis(0, 4, 0x80)),  # another bit
        (linux.FILTER + 12, w.beq(12)),
        (linux.FILTER + 12, m.NOP),
        (linux.SITE, m.b(linux.DO_BREAK - linux.SITE)),  # no call
        (linux.SITE, m.NOP),
    ],
)
def test_one_other_word(place: int, word: int) -> None:
    code = Code()
    code.put(place, word)
    assert linux_code.match_call(VECTOR, code) is None


def test_a_vector_that_goes_another_way() -> None:
    code = Code()
    for n in range(32):
        if code.word(VECTOR + 4 * n) == w.BCTR:
            code.put(VECTOR + 4 * n, m.NOP)
    assert linux_code.match_call(VECTOR, code) is None


@pytest.mark.parametrize("order", ["little", "big"])
def test_hypercall_of_a_kernel_that_keeps_account_of_srr(order: linux.Order) -> None:
    machine = linux.booted(order=order)
    words = [machine.word_at(linux.HCALL + 4 * n) or b"" for n in range(11)]
    found = list(linux_code.hypercalls(b"".join(words), linux.HCALL, order))
    assert found == [Hypercall(linux.SC1, linux.SC1 + 12, linux.SRR_VALID)]


@pytest.mark.parametrize(
    "behind", [(m.NOP, m.NOP), (m.addi(4, 0, 0), m.NOP), (m.NOP, w.stb(4, 13))]
)
def test_hypercall_of_a_kernel_that_does_not(behind: tuple[int, int]) -> None:
    words = [m.NOP, w.SC1, *behind]
    code = b"".join(word.to_bytes(4, "little") for word in words)
    assert list(linux_code.hypercalls(code, 0x1000, "little")) == [Hypercall(0x1004, 0x1008, None)]


def test_hypercalls_at_the_end_and_beside_words() -> None:
    """What follows has to be there, and the word in its place."""
    sc = w.SC1.to_bytes(4, "little")
    assert list(linux_code.hypercalls(bytes(4) + sc, 0, "little")) == []
    assert list(linux_code.hypercalls(bytes(2) + sc + bytes(10), 0, "little")) == []
    assert list(linux_code.hypercalls(sc + bytes(8), 0, "big")) == []
    both = list(linux_code.hypercalls(sc * 2 + bytes(8), 0x100, "little"))
    assert [one.address for one in both] == [0x100, 0x104]

# SPDX-License-Identifier: MIT
"""Finds places in a Linux kernel's code without its symbols.  Pure.

Seen in Linux 6.1 and 6.12 (arch/powerpc/kernel/exceptions-64s.S data_access_common,
arch/powerpc/platforms/pseries/hvCall.S).  No version is assumed: a place is found only if it has
exactly these words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from . import isa

Code = Callable[[int, int], Sequence[int]]
"""code(address, count): so many words of code from an address on."""

KERNEL_BASE = 0xC000000000000000
REGISTERS = {"gpr1": 8, "nip": 256, "msr": 264, "trap": 320, "dar": 328, "dsisr": 336}
"""Offsets in `struct pt_regs` (arch/powerpc/include/uapi/asm/ptrace.h; they never changed)."""
REGISTERS_LENGTH = 344

_VECTOR_WORDS, _HANDLER_WORDS = 32, 160
_MTCTR, _BCTR = 0x7C0903A6, 0x4E800420
_SC_1, _LI_R4_0 = 0x44000022, 0x38800000
_STB_R4_R13 = 38 << 26 | 4 << 21 | 13 << 16


class MatchCall(NamedTuple):
    """The `bl do_break` at which the handler of Data Storage interrupts arrives for matches alone.

    address: of the call; its argument, in r3, is the `struct pt_regs`.  handler: where it begins.
    word: the call.
    """

    address: int
    handler: int
    word: int


def match_call(vector: int, code: Code) -> MatchCall | None:
    """Follow the code from the Data Storage vector to that call; None where it is not as in Linux.

    vector:  ...; ori rX,rX,HANDLER; mtctr rX; bctr
    HANDLER: ...; addi r3,r1,REGS; andis. rA,rDSISR,0x40; bne 1f; ...; 1: bl do_break
    """
    words = code(vector, _VECTOR_WORDS)
    for first, second, third in zip(words, words[1:], words[2:]):
        if first >> 26 == 24 and second & ~(31 << 21) == _MTCTR & ~(31 << 21) and third == _BCTR:
            handler = KERNEL_BASE | first & 0xFFFF
            break
    else:
        return None
    words = code(handler, _HANDLER_WORDS)
    tests = (n for n, word in enumerate(words[:-1]) if word >> 26 == 29 and word & 0xFFFF == 0x40)
    n = next(tests, None)
    if n is None:
        return None
    branch = words[n + 1]
    bo, bi = branch >> 21 & 31, branch >> 16 & 31
    if branch >> 26 != 16 or branch & 3 or bo & 0b11100 != 0b00100 or bi != 2:
        return None  # no bne cr0
    if not any(one >> 16 == 0x3861 for one in words[max(n - 4, 0) : n]):
        return None  # no addi r3,r1,...
    place = handler + 4 * (n + 1)
    *_, address = isa.successors(isa.decode(branch), place, ~0, isa.no_register)
    (word,) = code(address, 1)
    if word >> 26 != 18 or word & 3 != 1:
        return None
    return MatchCall(address, handler, word)


class Hypercall(NamedTuple):
    """An `sc 1` in the kernel's code.

    address: of the `sc 1`.  end: the address at which the code may be left again.  srr_valid: the
    offset from r13 at which the kernel notes whether SRR0 and SRR1 are still those of an interrupt,
    None for a kernel that does not.  Up to `end` it notes that they are not
    (`li r4,0; stb r4,srr_valid(r13)`, since Linux 5.15).
    """

    address: int
    end: int
    srr_valid: int | None


def hypercalls(code: bytes, address: int, order: str) -> Iterator[Hypercall]:
    """The hypercalls in some code, which begins at an address."""
    little = order == "little"
    sought = _SC_1.to_bytes(4, "little" if little else "big")
    at = code.find(sought)
    while at >= 0:
        if at % 4 == 0 and at + 12 <= len(code):
            words = [
                int.from_bytes(code[at + n : at + n + 4], "little" if little else "big")
                for n in (4, 8)
            ]
            tells = words[0] == _LI_R4_0 and words[1] & ~0xFFFF == _STB_R4_R13
            offset = words[1] & 0xFFFF if tells else None
            yield Hypercall(address + at, address + at + (12 if tells else 4), offset)
        at = code.find(sought, at + 1)

# SPDX-License-Identifier: MIT
"""Breakpoints that are words in the guest's memory, ours and gdb's.  No I/O."""

from __future__ import annotations

from collections import Counter

from .known import PAGE, Known

BREAKPOINT = 0x00DDDD00
"""The word that QEMU puts in memory for a breakpoint (Linux KVMPPC_INST_SW_BREAKPOINT)."""

_TEXT = b"%08x" % BREAKPOINT  # as `m` tells it; it is the same in both byte orders


def place_of(payload: bytes) -> int:
    """The address in a Z or z packet."""
    return int(payload.split(b",")[1], 16)


class Words:
    """The breakpoints of one stub, and the words that they hide.

    What a breakpoint hides is known if the word was known when it was planted.  QEMU puts that word
    back when it removes the breakpoint (target/ppc/kvm.c kvm_arch_remove_sw_breakpoint), so it then
    counts as read.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._planted: Counter[int] = Counter()  # by address, how often, as QEMU counts
        self._hidden: dict[int, bytes] = {}  # by address, the word that is hidden, as `m` tells it

    def sent(self, payload: bytes) -> None:
        """A Z or z packet is sent, and is expected to be obeyed."""
        self._count(payload, 1 if payload[:1] == b"Z" else -1)

    def refused(self, payload: bytes) -> None:
        """A Z or z packet that was sent has been refused."""
        self._count(payload, -1 if payload[:1] == b"Z" else 1)
        self._known.forget_memory(place_of(payload))

    def _count(self, payload: bytes, change: int) -> None:
        """A breakpoint comes (change 1) or goes (-1): keep account of the word that it hides."""
        place, known = place_of(payload), self._known
        if change > 0 and place not in self._planted:
            hidden = known.reply(b"m%x,4" % place)
            if hidden is not None:
                self._hidden[place] = hidden
        if place not in self._hidden:
            known.forget_memory(place)
        self._planted[place] += change
        if self._planted[place] <= 0:
            del self._planted[place]
            hidden = self._hidden.pop(place, None)
            if hidden is not None:
                known.learn_code(place, hidden)

    def clear_of(self, first: int, last: int, place: int) -> tuple[int, int]:
        """The part of first..last around `place` without a breakpoint that hides an unknown word.

        It is empty if there is one at `place` itself.
        """
        for planted in self._planted:
            at = first + (planted - first) % PAGE
            if at == planted and at in self._hidden:
                continue
            if place <= at < last:
                last = at
            elif first <= at < place:
                first = at + 4
        return (first, last) if first <= place < last else (place, place)

    def revealed(self, start: int, text: bytes) -> bytes:
        """Memory as `m` tells it, from an address on, with the words that breakpoints hide."""
        for place, hidden in self._hidden.items():
            at = 2 * (place - start)
            if 0 <= at < len(text) and text[at : at + 8] == _TEXT:
                text = text[:at] + hidden + text[at + 8 :]
        return text

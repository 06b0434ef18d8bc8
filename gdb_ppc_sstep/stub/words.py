# SPDX-License-Identifier: MIT
"""Breakpoints that are words in the guest's memory, ours and gdb's.  No I/O."""

from __future__ import annotations

from collections import Counter

from .known import PAGE, Known

BREAKPOINT = 0x00DDDD00
"""The word that QEMU puts in memory for a breakpoint (Linux KVMPPC_INST_SW_BREAKPOINT)."""

_TEXT = b"%08x" % BREAKPOINT  # as `m` tells it, in either byte order


def place_of(payload: bytes) -> int:
    """The address in a Z or z packet."""
    return int(payload.split(b",")[1], 16)


class Words:
    """Those of one stub.  What is under one is known if it was when the breakpoint was planted.

    QEMU puts it back when it removes the breakpoint (target/ppc/kvm.c
    kvm_arch_remove_sw_breakpoint), so it is as good as read.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._planted: Counter[int] = Counter()  # how often, as QEMU counts
        self._hidden: dict[int, bytes] = {}  # what is under them, as `m` tells it

    def sent(self, payload: bytes) -> None:
        """A Z or z packet is sent, and will be obeyed."""
        self._count(payload, 1 if payload[:1] == b"Z" else -1)

    def refused(self, payload: bytes) -> None:
        """One that was sent is not obeyed."""
        self._count(payload, -1 if payload[:1] == b"Z" else 1)
        self._known.forget_memory(place_of(payload))

    def _count(self, payload: bytes, change: int) -> None:
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
        """The part of first..last around `place` that has no word under which is what is not known;
        empty if `place` itself has one.
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
        """Memory from an address on as `m` tells it, with what is under words of breakpoints."""
        for place, hidden in self._hidden.items():
            at = 2 * (place - start)
            if 0 <= at < len(text) and text[at : at + 8] == _TEXT:
                text = text[:at] + hidden + text[at + 8 :]
        return text

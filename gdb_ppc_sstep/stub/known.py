# SPDX-License-Identifier: MIT
"""What the stub has replied about one thread since the guest stopped, and would reply again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..ppc import isa

MEMORY = re.compile(rb"[mx]([0-9a-f]+),([0-9a-f]+)$")
"""A packet that asks for memory: the address, and how many bytes."""
_HEX = re.compile(rb"(?:[0-9a-f]{2})+")

# Where registers are in QEMU's reply to `g` (QEMU 7.2 gdb-xml/power64-core.xml).
_GENERAL = {**{f"r{n}": 16 * n for n in range(32)}, "pc": 512, "msr": 528, "lr": 552}

PAGE = 4096
"""Bytes of the smallest page: no translation changes the place of an address in its page."""


def may_show(start: int, length: int, word: int) -> bool:
    """Whether `length` bytes from `start` on may show the word at the address `word`.

    Only the place in the page counts: two addresses may name the same memory, such as a real one
    and a translated one.
    """
    return (word - start) % PAGE < length or (start - word) % PAGE < 4


class Known:
    """Replies of the stub, and what they say of registers and code.

    replies: by packet.  values: registers by name, as integers.  `Stub` reads both directly, as
    they are on hot paths, and notes in `values` what it has decoded; the methods change all else.
    """

    def __init__(self, asks: Mapping[str, bytes]) -> None:
        """asks: by the name of a register, the packet that asks for it."""
        self._asks = asks
        self._names = {asked: name for name, asked in asks.items() if name in _GENERAL}
        self._laid_out: bool | None = None  # whether `g` is as `_GENERAL` says; None: not checked
        self.replies: dict[bytes, bytes] = {}
        self._blocks: list[tuple[int, bytes]] = []
        self.values: dict[str, int] = {}

    def reply(self, payload: bytes) -> bytes | None:
        """What the stub would reply to a packet; None if that is unknown."""
        reply = self.replies.get(payload)
        if reply is not None:
            return reply
        name = self._names.get(payload)
        if name is not None:
            return self.register(name)
        if self._blocks and payload[:1] == b"m" and (asked := MEMORY.match(payload)):
            reply = self._in_blocks(int(asked[1], 16), int(asked[2], 16))
            if reply is not None:
                self.replies[payload] = reply
        return reply

    def register(self, name: str) -> bytes | None:
        """What the stub would reply if it were asked for a register; None if that is unknown."""
        text = self.replies.get(self._asks[name])
        if text is None and name in _GENERAL and (general := self._general()) is not None:
            at = _GENERAL[name]
            text = general[at : at + 16]
        return None if text is None or not _HEX.fullmatch(text) else text

    @property
    def trusts_general(self) -> bool:
        """Whether the reply to `g` is laid out as this room assumes, as far as that was checked."""
        return self._laid_out is not False

    @property
    def has_general(self) -> bool:
        """Whether the stub has replied to `g`, and has not refused it."""
        return bool(_HEX.match(self.replies.get(b"g", b"")))

    def given(self, payload: bytes) -> bool:
        """Whether the reply to `g` has what a packet asks for; False if that was not checked."""
        return self._laid_out is True and payload in self._names

    def has_code(self, address: int) -> bool:
        """Whether the word at an address is known."""
        return self._in_blocks(address, 4) is not None

    def learn(self, payload: bytes, reply: bytes) -> None:
        """Remember the reply to a packet, unless it is a refusal."""
        if _HEX.fullmatch(reply):
            self.replies[payload] = reply

    def learn_all(self, payloads: Iterable[bytes], replies: Iterable[bytes]) -> None:
        """Remember the replies to packets, refusals too: what is refused will be refused again."""
        self.replies.update(zip(payloads, replies))
        if self._laid_out is None:
            self._general()
        if self.replies.get(b"g") == b"":
            self._laid_out = False  # the stub knows no `g`

    def learn_code(self, address: int, text: bytes) -> None:
        """Remember the code at an address, as `m` tells it, unless it is a refusal."""
        if _HEX.fullmatch(text):
            self._blocks.append((address, text))

    def wrote(self, name: str, text: bytes, value: int, *, reads_back: bool) -> None:
        """A register is written.  reads_back: the stub will give the value as it is written."""
        general = self._general()
        self.replies.pop(b"g", None)
        if not reads_back:
            self.forget_register(name)
            return
        self.replies[self._asks[name]], self.values[name] = text, value
        at = _GENERAL.get(name)
        if general is not None and at is not None:
            self.replies[b"g"] = general[:at] + text + general[at + len(text) :]
        elif general is not None and name in isa.SRR.values():  # `g` does not have these
            self.replies[b"g"] = general

    def forget(self) -> None:
        """Forget all, as anything may have changed."""
        self.replies.clear()
        self.values.clear()
        self._blocks.clear()

    def forget_register(self, name: str) -> None:
        """Forget a register: its value is not what was written."""
        self.replies.pop(self._asks[name], None)
        self.values.pop(name, None)

    def forget_reply(self, payload: bytes) -> None:
        """Forget the reply to a packet: it may be another one the next time."""
        self.replies.pop(payload, None)

    def forget_memory(self, word: int | None = None) -> None:
        """Forget the memory that may show the word at the address `word`; None: all of it."""
        for payload in [asked for asked in self.replies if asked[:1] in (b"m", b"x")]:
            asked = MEMORY.match(payload)
            if word is None or not asked or may_show(int(asked[1], 16), int(asked[2], 16), word):
                del self.replies[payload]
        if word is None:
            self._blocks.clear()
        else:
            self._blocks = [
                one for one in self._blocks if not may_show(one[0], len(one[1]) // 2, word)
            ]

    def forget_refusals(self) -> None:
        """Forget the refusals: the stub may answer the next time."""
        for payload in [asked for asked, reply in self.replies.items() if reply[:1] == b"E"]:
            del self.replies[payload]

    def _general(self) -> bytes | None:
        """The reply to `g`, if it is known and laid out as QEMU's is, as `_GENERAL` says.

        That is checked once, by where pc and MSR are in it: a stub does not change the layout.
        """
        if not self.has_general:
            return None  # a refusal has nothing in it
        general = self.replies[b"g"]
        if self._laid_out is not None:
            return general if self._laid_out else None
        if "msr" not in self._asks or "pc" not in self._asks:
            return None
        pc, state = self.replies.get(self._asks["pc"]), self.replies.get(self._asks["msr"])
        if pc is None or state is None or not _HEX.fullmatch(pc + state):
            return None
        if not state.strip(b"0"):
            return None  # an MSR of zeros would be found in many places
        self._laid_out = general[_GENERAL["pc"] :][:32] == pc + state
        return general if self._laid_out else None

    def _in_blocks(self, address: int, length: int) -> bytes | None:
        for start, text in self._blocks:
            at = 2 * (address - start)
            if at >= 0 and length and at + 2 * length <= len(text):
                return text[at : at + 2 * length]
        return None

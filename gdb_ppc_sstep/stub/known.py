# SPDX-License-Identifier: MIT
"""What the stub has replied since the guest stopped, and would reply again.  Of one thread."""

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
"""The smallest page: however an address is translated, its place in the page stays."""


def may_show(start: int, length: int, word: int) -> bool:
    """Whether so many bytes from `start` on may show the word at an address.

    They may be two names of the same memory, such as a real address and a translated one.
    """
    return (word - start) % PAGE < length or (start - word) % PAGE < 4


class Known:
    """Replies, the values of registers, and code.

    replies: by packet.  values: registers by name, as integers.  Both are read by others, on hot
    paths, and changed by the methods.
    """

    def __init__(self, asks: Mapping[str, bytes]) -> None:
        """asks: the packets that ask for registers, by their names."""
        self._asks = asks
        self._names = {asked: name for name, asked in asks.items() if name in _GENERAL}
        self._laid_out: bool | None = None  # whether `g` is as `_GENERAL` says; None: not yet seen
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
        """What it would reply if it were asked for a register; None if that is unknown."""
        text = self.replies.get(self._asks[name])
        if text is None and name in _GENERAL and (general := self._general()) is not None:
            at = _GENERAL[name]
            text = general[at : at + 16]
        return None if text is None or not _HEX.fullmatch(text) else text

    @property
    def trusts_general(self) -> bool:
        """Whether the reply to `g` is laid out as is known here, as far as that was checked."""
        return self._laid_out is not False

    @property
    def has_general(self) -> bool:
        """Whether the stub has replied to `g`, and has not refused it."""
        return bool(_HEX.match(self.replies.get(b"g", b"")))

    def given(self, payload: bytes) -> bool:
        """Whether the reply to `g` has what a packet asks for, as far as that has been checked."""
        return self._laid_out is True and payload in self._names

    def has_code(self, address: int) -> bool:
        """Whether the word at an address is known."""
        return self._in_blocks(address, 4) is not None

    def learn(self, payload: bytes, reply: bytes) -> None:
        """The stub has replied to a packet; a refusal is not remembered."""
        if _HEX.fullmatch(reply):
            self.replies[payload] = reply

    def learn_all(self, payloads: Iterable[bytes], replies: Iterable[bytes]) -> None:
        """The stub has replied to packets; what it refuses it will refuse again."""
        self.replies.update(zip(payloads, replies))
        if self._laid_out is None:
            self._general()
        if self.replies.get(b"g") == b"":
            self._laid_out = False  # the stub knows no `g`

    def learn_code(self, address: int, text: bytes) -> None:
        """The stub has replied to a question for code; a refusal is not remembered."""
        if _HEX.fullmatch(text):
            self._blocks.append((address, text))

    def wrote(self, name: str, text: bytes, value: int, *, reads_back: bool) -> None:
        """A register is written.  reads_back: it will be read as it is written."""
        general = self._general()
        self.replies.pop(b"g", None)
        if not reads_back:
            self.forget_register(name)
            return
        self.replies[self._asks[name]], self.values[name] = text, value
        at = _GENERAL.get(name)
        if general is not None and at is not None:
            self.replies[b"g"] = general[:at] + text + general[at + len(text) :]
        elif general is not None and name in isa.SRR.values():  # they are not in it
            self.replies[b"g"] = general

    def forget(self) -> None:
        """Anything may have changed."""
        self.replies.clear()
        self.values.clear()
        self._blocks.clear()

    def forget_register(self, name: str) -> None:
        """It is not what was written."""
        self.replies.pop(self._asks[name], None)
        self.values.pop(name, None)

    def forget_reply(self, payload: bytes) -> None:
        """It may be another one the next time."""
        self.replies.pop(payload, None)

    def forget_memory(self, word: int | None = None) -> None:
        """Memory is seen in another way, or (`word`) the word at this address has changed."""
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
        """What was refused may be answered the next time."""
        for payload in [asked for asked, reply in self.replies.items() if reply[:1] == b"E"]:
            del self.replies[payload]

    def _general(self) -> bytes | None:
        """The reply to `g` if it is known and laid out as QEMU's is: as `_GENERAL` says.

        That is checked once, by where pc and MSR are in it: a stub does not change it.
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
            return None  # zeros are in many places
        self._laid_out = general[_GENERAL["pc"] :][:32] == pc + state
        return general if self._laid_out else None

    def _in_blocks(self, address: int, length: int) -> bytes | None:
        for start, text in self._blocks:
            at = 2 * (address - start)
            if at >= 0 and length and at + 2 * length <= len(text):
                return text[at : at + 2 * length]
        return None

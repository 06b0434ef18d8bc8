# SPDX-License-Identifier: MIT
"""The last packets of a connection.  They are always kept, for a report of a bug."""

from __future__ import annotations

from collections import deque

MOST = 500
"""Packets that are kept."""

LONGEST = 4096
"""Bytes that are kept of each.  QEMU's packets have no more; a client cannot fill our memory."""


class RecentPackets:
    """Those of both ends, in the order in which they were sent or came.

    keep: keeps a packet, and who has sent it to whom as in the debug log; no more than `LONGEST`
    bytes of it.  It is called for every packet, so it is no function of Python.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[str, bytes]] = deque(maxlen=MOST)
        self.keep = self._kept.append

    def note(self, line: str, payload: bytes) -> None:
        """`keep` the beginning of a packet."""
        self.keep((line, payload[:LONGEST]))

    def texts(self) -> list[str]:
        """A line for each.  What is no printable ASCII is written as `\\xNN`."""
        return [line + printable(payload) for line, payload in list(self._kept)]


def printable(payload: bytes) -> str:
    """A packet on one line, from which it can be made again."""
    text = payload.decode("latin-1")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(one if _is_plain(one) else f"\\x{ord(one):02x}" for one in text)


def _is_plain(one: str) -> bool:
    return " " <= one <= "~" and one != "\\"

# SPDX-License-Identifier: MIT
"""The last packets of a connection, which are always kept for a bug report."""

from __future__ import annotations

from collections import deque

MOST = 500
"""The number of packets that are kept."""

LONGEST = 4096
"""The bytes that are kept of each packet.

QEMU's packets have no more, and so a client cannot fill our memory.
"""


class RecentPackets:
    """The last packets of gdb's end and the stub's, in the order in which they were sent or came.

    keep: called with a packet (its first `LONGEST` bytes at most), behind a text that says who has
    sent it to whom, as in the debug log.  It is called for every packet, so it is not a function in
    Python.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[str, bytes]] = deque(maxlen=MOST)
        self.keep = self._kept.append

    def note(self, line: str, payload: bytes) -> None:
        """Keep the first `LONGEST` bytes of a packet.  line: who has sent it to whom."""
        self.keep((line, payload[:LONGEST]))

    def texts(self) -> list[str]:
        """A line for each packet.  A byte that is not printable ASCII is written as `\\xNN`."""
        return [line + printable(payload) for line, payload in list(self._kept)]


def printable(payload: bytes) -> str:
    """A packet as text on one line, from which its bytes can be read again."""
    text = payload.decode("latin-1")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(one if _is_plain(one) else f"\\x{ord(one):02x}" for one in text)


def _is_plain(one: str) -> bool:
    return " " <= one <= "~" and one != "\\"

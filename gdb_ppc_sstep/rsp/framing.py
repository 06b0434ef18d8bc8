# SPDX-License-Identifier: MIT
"""Packets from bytes, and bytes from packets.  Pure.

GDB manual, appendix "GDB Remote Serial Protocol".  Payloads are bytes as they stand between `$` and
`#`, escapes and run lengths included, unless said otherwise.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, Union

from ..errors import Endless


class Packet(NamedTuple):
    """A complete packet with a right checksum."""

    payload: bytes


class Notification(NamedTuple):
    """A complete `%` notification with a right checksum."""

    payload: bytes


class Bad(NamedTuple):
    """A packet or notification whose checksum is wrong."""

    payload: bytes


class Byte(NamedTuple):
    """One of ACK, NAK and INTERRUPT."""

    value: bytes


Item = Union[Packet, Notification, Bad, Byte]  # evaluated, so no `|` in Python 3.9

ACK, NAK, INTERRUPT = b"+", b"-", b"\x03"


LONGEST = 1 << 20
"""The most bytes of a packet.  QEMU's largest has 128 KiB, and gdb asks for no larger one."""

# Most packets are equal to an earlier one.
again = functools.lru_cache(maxsize=256)


@again
def frame(payload: bytes, start: bytes = b"$") -> bytes:
    """The payload with its start, end and checksum."""
    return b"%s%s#%02x" % (start, payload, sum(payload) & 0xFF)


_BYTES = {one: Byte(one) for one in (ACK, NAK, INTERRUPT)}
_ITEMS = re.compile(rb"([+\-\x03])?(?:([$%])([^$#]*)#(..))?", re.DOTALL)
_PACKETS = re.compile(rb"(\+?)\$([^$#]*)#(..)", re.DOTALL)


class Parser:
    """Cuts a stream of bytes into items; what belongs to no item is dropped, as gdb and QEMU do."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Item]:
        """The items that are complete with `data`; the rest is kept for the next call.

        Endless: the rest is longer than a packet may be.
        """
        buffer, at = self._buffer + data, 0
        items: list[Item] = []
        for ack, payload, check in _PACKETS.findall(buffer):  # mostly the buffer has nothing else
            if ack:
                items.append(_BYTES[ACK])
            items.append(_checked(b"$", payload, check))
            at += len(ack) + len(payload) + 4
        if at == len(buffer):
            self._buffer = b""
            return items
        items.clear()
        at = 0
        while at < len(buffer):
            found = _ITEMS.match(buffer, at)
            assert found is not None
            byte, first, payload, check = found.groups()
            if byte is not None:
                items.append(_BYTES[byte])
            if first is not None:
                items.append(_checked(first, payload, check))
            if found.end() > at:
                at = found.end()
            elif buffer[at] not in b"$%":
                at += 1
            else:
                again = buffer.rfind(b"$", at + 1, buffer.find(b"#", at) + 1)
                if again < 0:
                    break
                at = again  # a payload has no `$`: the packet before it was cut off
        self._buffer = buffer[at:]
        if len(self._buffer) > LONGEST:
            raise Endless(f"it sent a packet of more than {LONGEST >> 20} MiB")
        return items


@again
def _checked(first: bytes, payload: bytes, check: bytes) -> Item:
    if check.lower() != b"%02x" % (sum(payload) & 0xFF):
        return Bad(payload)
    return Packet(payload) if first == b"$" else Notification(payload)


def plain(payload: bytes) -> bytes:
    """A payload with run lengths and escapes undone."""
    if b"*" not in payload and b"}" not in payload:
        return payload
    expanded = re.sub(
        rb"(.)\*([ -~])", lambda m: m[1] * (m[2][0] - 29 + 1), payload, flags=re.DOTALL
    )
    return re.sub(rb"\}(.)", lambda m: bytes([m[1][0] ^ 0x20]), expanded, flags=re.DOTALL)


def shown(payload: bytes) -> str:
    """A payload as an error line has it: quoted, and cut off where it is long."""
    text = payload.decode("latin-1")
    return repr(text if len(text) <= 80 else text[:80] + "...")

# SPDX-License-Identifier: MIT
"""The Remote Serial Protocol: framing, and the few packets that matter here.  Pure.

GDB manual, appendix "GDB Remote Serial Protocol".  Payloads are bytes as they stand between `$`
and `#`, escapes and run lengths included, unless said otherwise.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, Union

from .errors import BadPacket


class Packet(NamedTuple):
    """A whole packet with a right checksum."""

    payload: bytes


class Notification(NamedTuple):
    """A whole `%` notification."""

    payload: bytes


class Bad(NamedTuple):
    """A packet whose checksum is wrong."""

    payload: bytes


class Byte(NamedTuple):
    """One of ACK, NAK and INTERRUPT."""

    value: bytes


Item = Union[Packet, Notification, Bad, Byte]  # evaluated, so no `|` in Python 3.9

ACK, NAK, INTERRUPT = b"+", b"-", b"\x03"


# Most packets are like others before.
_again = functools.lru_cache(maxsize=256)


@_again
def frame(payload: bytes, start: bytes = b"$") -> bytes:
    """The payload with its start, end and checksum."""
    return b"%s%s#%02x" % (start, payload, sum(payload) & 0xFF)


_BYTES = {one: Byte(one) for one in (ACK, NAK, INTERRUPT)}
_ITEMS = re.compile(rb"([+\-\x03])?(?:([$%])([^$#]*)#(..))?", re.DOTALL)
_PACKETS = re.compile(rb"(\+?)\$([^$#]*)#(..)", re.DOTALL)


class Parser:
    """Cuts a stream of bytes into items; what is no item is dropped, as gdb and QEMU do."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Item]:
        """The items that are complete with `data`; the rest is kept for the next call."""
        buffer, at = self._buffer + data, 0
        items: list[Item] = []
        for ack, payload, check in _PACKETS.findall(buffer):  # as a rule there is nothing else
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
                at = again  # `$` cannot be in a payload: what is before it was cut off
        self._buffer = buffer[at:]
        return items


@_again
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


@_again
def thread_id(text: bytes) -> bytes:
    """A thread-id as gdb writes it: without the leading zeros of QEMU's p01.01."""
    return re.sub(rb"(^|[p.])0+(?=[0-9a-f])", rb"\1", text)


class Action(NamedTuple):
    """One action of a vCont packet.

    verb: `c`, `s`, `r` or `t`, with upper case for a signal.  argument: the signal or range, as
    text.  thread: the thread-id as text, None for all that no other action names.
    """

    verb: bytes
    argument: bytes = b""
    thread: bytes | None = None

    @property
    def steps(self) -> bool:
        """Whether the thread is to be stepped."""
        return self.verb in (b"s", b"S", b"r")

    @property
    def range(self) -> tuple[int, int]:
        """Of an `r`: the first address, and that behind the last."""
        start, end = (int(one, 16) for one in self.argument.split(b","))
        return start, end

    def continued(self) -> Action:
        """The same with the thread running freely."""
        if not self.steps:
            return self
        if self.verb == b"S":
            return Action(b"C", self.argument, self.thread)
        return Action(b"c", b"", self.thread)

    def stepped(self) -> Action:
        """The same with a thread that runs freely stepped."""
        verb = {b"c": b"s", b"C": b"S"}.get(self.verb, self.verb)
        return Action(verb, self.argument, self.thread)


class Resume(NamedTuple):
    """A packet that resumes the guest.  vcont: False for the old `c`, `s`, `C`, `S`."""

    actions: tuple[Action, ...]
    vcont: bool = True

    @property
    def stepping(self) -> Action | None:
        """The action that asks for a step.  gdb asks for at most one (all-stop mode)."""
        return next((action for action in self.actions if action.steps), None)

    @property
    def alone(self) -> bytes | None:
        """The thread that is resumed while all others stand still, None if there are several."""
        if len(self.actions) != 1:
            return None
        thread = self.actions[0].thread
        return None if thread is None or thread.endswith(b"-1") else thread

    def continued(self) -> Resume:
        """The same with every step made a continue: the form a stub obeys."""
        return Resume(tuple(action.continued() for action in self.actions), self.vcont)

    def without_ranges(self) -> Resume:
        """The same with every range made a step, for a stub that knows no ranges."""
        step = (
            action._replace(verb=b"s", argument=b"") if action.verb == b"r" else action
            for action in self.actions
        )
        return Resume(tuple(step), self.vcont)

    def stepped(self) -> Resume:
        """The same with every continue made a step."""
        return Resume(tuple(action.stepped() for action in self.actions), self.vcont)

    def payload(self) -> bytes:
        """The packet."""
        if not self.vcont:
            return self.actions[0].verb + self.actions[0].argument
        parts = [b"vCont"]
        for verb, argument, thread in self.actions:
            parts.append(verb + argument + (b"" if thread is None else b":" + thread))
        return b";".join(parts)


THREAD_ID = re.compile(rb"-1|[0-9a-fA-F]+|p(?:-1|[0-9a-fA-F]+)(?:\.(?:-1|[0-9a-fA-F]+))?")
_ACTION = re.compile(rb"[cst]|[CS][0-9a-fA-F]{2}|r[0-9a-fA-F]{1,16},[0-9a-fA-F]{1,16}")
_OLD_RESUME = re.compile(
    rb"c(?:[0-9a-fA-F]{1,16})?|s|C[0-9a-fA-F]{2}(?:;[0-9a-fA-F]{1,16})?|S[0-9a-fA-F]{2}"
)


@_again
def parse_resume(payload: bytes) -> Resume | None:
    """The Resume that a packet from gdb is, None for any other packet.

    BadPacket: it is to resume the guest, and it cannot be read.  That includes the old `s` and `S`
    with an address, which gdb never sends.
    """
    if payload.startswith(b"vCont;"):
        return Resume(tuple(map(_action, payload[len(b"vCont;") :].split(b";"))))
    if payload[:1] in (b"c", b"s", b"C", b"S"):
        if not _OLD_RESUME.fullmatch(payload):
            raise BadPacket(f"malformed packet {shown(payload)}")
        return Resume((Action(payload[:1], payload[1:]),), vcont=False)
    return None


def _action(text: bytes) -> Action:
    what, colon, thread = text.partition(b":")
    if not _ACTION.fullmatch(what) or (colon and not THREAD_ID.fullmatch(thread)):
        raise BadPacket(f"malformed action {shown(text)} in vCont")
    return Action(what[:1], what[1:], thread_id(thread) if colon else None)


def shown(payload: bytes) -> str:
    """A payload as an error line has it: quoted, and cut off where it is long."""
    text = payload.decode("latin-1")
    return repr(text if len(text) <= 80 else text[:80] + "...")


class StopReply(NamedTuple):
    """What a resume ended with.  signal and thread are None where the reply has none."""

    payload: bytes
    signal: int | None
    thread: bytes | None

    def __str__(self) -> str:
        return self.payload.decode("latin-1")

    @classmethod
    @_again
    def parse(cls, payload: bytes) -> StopReply:
        """Of a T or S packet; others (W, X, N, E.., empty) have neither signal nor thread."""
        if not re.match(rb"[TS][0-9a-fA-F]{2}", payload):
            return cls(payload, None, None)
        thread = re.search(rb"(?:^...|;)thread:([^;]*)", payload, re.DOTALL)
        return cls(payload, int(payload[1:3], 16), thread_id(thread[1]) if thread else None)

    @property
    def is_breakpoint(self) -> bool:
        """Whether nothing but a breakpoint need have caused it: SIGTRAP and no watchpoint."""
        return self.signal == 5 and b"watch:" not in self.payload


def stopped(thread: bytes | None, signal: int = 5) -> StopReply:
    """The reply for a thread that stopped with `signal` (5: SIGTRAP, as after a step)."""
    payload = b"T%02x" % signal + (b"thread:" + thread + b";" if thread else b"")
    return StopReply(payload, signal, thread)


def is_final(payload: bytes) -> bool:
    """Whether a packet from a stub that was resumed ends the resume (console output does not)."""
    return payload == b"OK" or payload[:1] in (b"", b"T", b"S", b"W", b"X", b"N", b"E")

# SPDX-License-Identifier: MIT
"""Parses each packet from gdb once: the parse boundary of the layer.  Pure.

`parse` says what the layer has to know of a packet: whether it resumes the guest, what it may
change, which thread it is about, and how gdb shows an error in reply to it.  A packet whose meaning
is the stub's business and that cannot be read is forwarded as it came, and may change anything.
GDB manual, appendix "GDB Remote Serial Protocol", section "Packets".
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, Union

from . import private
from .breakpoints import Breakpoint
from .resume import THREAD_ID, Resume, parse_resume, thread_id


class Selects(NamedTuple):
    """`Hg`: from now on gdb means registers and memory of this thread; `Hc`: so does its old `s`.

    A thread-id for any or all changes nothing (QEMU gdbstub handle_set_thread).
    """

    thread: bytes
    to_resume: bool = False


class Changes(NamedTuple):
    """`Z` and `z`: gdb inserts a breakpoint or watchpoint, or removes it."""

    breakpoint: Breakpoint
    inserts: bool


class Writes(NamedTuple):
    """`P`: gdb writes the register with this number."""

    register: int


Meaning = Union[Resume, private.OwnRequest, Selects, Changes, Writes, None]
"""What one packet asks for; None where the layer need not know."""


class Request(NamedTuple):
    """A packet from gdb.

    asks: it changes neither registers, memory nor threads.  of_thread: it is about the thread that
    gdb has selected.
    """

    payload: bytes
    meaning: Meaning = None
    asks: bool = False
    of_thread: bool = False

    @property
    def writes_registers(self) -> bool:
        """Whether it is `G` or `P`, which write registers, if the stub can read it."""
        return self.payload[:1] in (b"G", b"P")

    @property
    def detaches(self) -> bool:
        """Whether gdb lets the guest go with it: `D`."""
        return self.payload[:1] == b"D"

    @property
    def has_reply(self) -> bool:
        """Whether the stub replies at all: it does not to `k` and `R`."""
        return self.payload[:1] not in (b"k", b"R")

    @property
    def shows_error_text(self) -> bool:
        """Whether gdb prints the text of an error in reply to it."""
        return isinstance(self.meaning, Resume) or self.payload.startswith(
            (b"g", b"G", b"p", b"P", b"qRcmd", b"qppc", b"Qppc")
        )

    def error(self, text: str) -> bytes:
        """The reply that says in one line why it cannot be done.

        Characters that frame a packet, or that gdb would take for a run length, are written as
        escapes.
        """
        if self.payload[:1] in (b"m", b"x"):
            return b"E22"  # gdb would take a text for memory
        plain = _SPECIAL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
        return b"E.ppc-sstep: " + plain.encode("ascii", "backslashreplace")


_SPECIAL = re.compile(r"[\x00-\x1f\x7f#$*}]")
_BREAKPOINT = re.compile(
    rb"([Zz])([0-4]),([0-9a-fA-F]{1,16}),([0-9a-fA-F]{1,16})(?:;.*)?", re.DOTALL
)
_REGISTER = re.compile(rb"P([0-9a-fA-F]{1,8})=(?:[0-9a-fA-F]{2})+")
_THREAD = re.compile(rb"H([cg])(%s)" % THREAD_ID.pattern)

_ASKING = (b"g", b"p", b"m", b"x", b"T", b"q")
_OF_THREAD = (b"g", b"G", b"p", b"P", b"m", b"M", b"x", b"X", b"z", b"Z")


@functools.lru_cache(maxsize=256)
def parse(payload: bytes) -> Request:
    """The request that a packet is.  BadPacket: it is for us to answer, and it is malformed."""
    kind = payload[:1]
    asks = kind in _ASKING and not payload.startswith(b"qRcmd")
    return Request(payload, _meaning(payload), asks, kind in _OF_THREAD)


def _meaning(payload: bytes) -> Meaning:
    resume = parse_resume(payload)
    if resume is not None:
        return resume
    if private.is_private(payload):
        return private.parse(payload)
    thread = _THREAD.fullmatch(payload)
    if thread is not None:
        return Selects(thread_id(thread[2]), to_resume=thread[1] == b"c")
    register = _REGISTER.fullmatch(payload)
    if register is not None:
        return Writes(int(register[1], 16))
    changed = _BREAKPOINT.fullmatch(payload)
    if changed is not None:
        kind, address, length = int(changed[2]), int(changed[3], 16), int(changed[4], 16)
        return Changes(Breakpoint(kind, address, length), inserts=changed[1] == b"Z")
    return None

# SPDX-License-Identifier: MIT
"""The packets between the control surface in gdb and the layer: never seen by a stub.  Pure.

`qppc-sstep.layer` is answered OK, whoever has started the layer; `qppc-sstep.status` with a JSON
object, `qppc-sstep.report` with a larger one; `qppc-sstep.left:RECORD` and
`qppc-sstep.clean:RECORD` with a list of leftovers, RECORD being what is known of a session that was
killed (see `record`) in hexadecimal, or empty; `Qppc-sstep.NAME=VALUE` sets something and is
answered OK.  `Qppc-sstep.lines=THREAD;START,SIZE,SIZE,...;...` says what gdb is about to step
through by lines, and with no value that it no longer is.  Named in lower case as gdb's manual asks
of packets outside its own reserved names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Union

from ..errors import BadPacket
from ..options import SWITCH, Options
from .resume import THREAD_ID, thread_id

LAYER = "qppc-sstep.layer"
STATUS = "qppc-sstep.status"
REPORT = "qppc-sstep.report"
LEFT = "qppc-sstep.left"
CLEAN = "qppc-sstep.clean"
SET = "Qppc-sstep."

LINES = "lines"
NO_LINES = ""

Stretch = tuple[int, int]

LEFT_BEHIND = "left by a session that was killed (if the guest does not single-step itself)"
"""How what `left` gives is told."""


_LINES = re.compile(rf"(?:{THREAD_ID.pattern.decode()})(?:;[0-9a-f]{{1,16}}(?:,[0-9a-f]{{1,8}})+)+")


class AskLayer(NamedTuple):
    """Whether a layer is there."""


class AskStatus(NamedTuple):
    """What `info ppc-sstep` shows."""


class AskReport(NamedTuple):
    """What the report of a bug has of a layer."""


class AskLeftovers(NamedTuple):
    """What a killed session has left.  record: its record, or empty.  clean: it is undone."""

    record: str
    clean: bool


class SetOption(NamedTuple):
    """One of the `Options`."""

    name: str
    value: str


class SetActive(NamedTuple):
    """Whether the layer steps, or forwards step requests as the rest."""

    active: bool


class SetLogging(NamedTuple):
    """Whether packets and decisions are logged."""

    logs: bool


class SetLogFile(NamedTuple):
    """Where the log goes; an empty path is the log that gdb reads."""

    path: str


class SetLines(NamedTuple):
    """The code that gdb is about to step a thread through by lines.

    thread: its thread-id, None where gdb is not.  stretches: of each piece the first address and
    that behind the last, in the order of addresses, none within another.  As a step by lines ends
    within none of them, they may be run through at once.
    """

    thread: bytes | None
    stretches: tuple[Stretch, ...]


OwnRequest = Union[
    AskLayer,
    AskStatus,
    AskReport,
    AskLeftovers,
    SetOption,
    SetActive,
    SetLogging,
    SetLogFile,
    SetLines,
]
OWN_REQUESTS = (
    AskLayer,
    AskStatus,
    AskReport,
    AskLeftovers,
    SetOption,
    SetActive,
    SetLogging,
    SetLogFile,
    SetLines,
)


def is_private(payload: bytes) -> bool:
    """Whether a packet from gdb is for the layer itself."""
    return payload.startswith((b"qppc-sstep.", SET.encode()))


def parse(payload: bytes) -> OwnRequest:
    """What a private packet asks for.  BadPacket: it cannot be read."""
    try:
        text = payload.decode("ascii")
    except UnicodeDecodeError:
        raise BadPacket("a packet of ppc-sstep is not ASCII") from None
    if text == LAYER:
        return AskLayer()
    if text == STATUS:
        return AskStatus()
    if text == REPORT:
        return AskReport()
    asked = re.fullmatch(rf"({LEFT}|{CLEAN}):((?:[0-9a-f]{{2}})*)", text)
    if asked is not None:
        return AskLeftovers(_unhex(asked[2]), clean=asked[1] == CLEAN)
    set_ = re.fullmatch(rf"{SET}([a-z-]+)=(.*)", text)
    if set_ is None:
        raise BadPacket(f"malformed packet {text[:80]!r}")
    name, value = set_[1], set_[2]
    if name in ("active", "log"):
        if value not in SWITCH:
            raise BadPacket(f"{name} cannot be {value!r}")
        return SetActive(SWITCH[value]) if name == "active" else SetLogging(SWITCH[value])
    if name == "log-file":
        path = _unhex(value)
        if "\0" in path:
            raise BadPacket("the name of a log file cannot have a null character")
        return SetLogFile(path)
    if name == LINES:
        return _parse_lines(value)
    Options().with_text(name, value)
    return SetOption(name, value)


def lines_text(thread: bytes, stretches: Iterable[Stretch]) -> str:
    """The value of `lines` for a thread that is about to be stepped by lines."""
    text, behind = thread.decode(), None
    for start, end in stretches:
        if start != behind:
            text += f";{start:x}"
        text += f",{end - start:x}"
        behind = end
    return text


def _parse_lines(text: str) -> SetLines:
    if text == NO_LINES:
        return SetLines(None, ())
    if not _LINES.fullmatch(text):
        raise BadPacket(f"malformed lines {text[:80]!r}")
    thread, *runs = text.split(";")
    stretches = []
    behind = 0
    for run in runs:
        start, *sizes = (int(number, 16) for number in run.split(","))
        if start < behind or 0 in sizes:
            raise BadPacket(f"lines that are not one behind the other: {text[:80]!r}")
        for size in sizes:
            behind = start + size
            stretches.append((start, behind))
            start = behind
    return SetLines(thread_id(thread.encode()), tuple(stretches))


def _unhex(text: str) -> str:
    try:
        return bytes.fromhex(text).decode()
    except ValueError:
        raise BadPacket(f"{text[:80]!r} is not text in hexadecimal") from None

# SPDX-License-Identifier: MIT
"""The packets between gdb's side and the layer, which a stub never sees.  Pure.

- `qppc-sstep.layer` is answered OK, whoever has started the layer.
- `qppc-sstep.status` is answered with a JSON object, in hexadecimal.
- `qppc-sstep.report` is answered with a larger one, for the report of a bug.
- `qppc-sstep.left:RECORD` and `qppc-sstep.clean:RECORD` are answered with a JSON list of leftovers,
  in hexadecimal.  RECORD is the record of a killed session (see `record`) in hexadecimal, or empty.
- `Qppc-sstep.NAME=VALUE` sets something, and is answered OK.
- `Qppc-sstep.lines=THREAD;START,SIZE,SIZE,...;...` is one of these: it says what gdb is about to
  step through by lines, and with an empty value that gdb no longer is.

The names are in lower case, as gdb's manual asks of packets outside its own reserved names.
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
"""What the user is told behind each leftover that `left` finds."""


_LINES = re.compile(rf"(?:{THREAD_ID.pattern.decode()})(?:;[0-9a-f]{{1,16}}(?:,[0-9a-f]{{1,8}})+)+")


class AskLayer(NamedTuple):
    """Asks whether a layer is there."""


class AskStatus(NamedTuple):
    """Asks for what `info ppc-sstep` shows."""


class AskReport(NamedTuple):
    """What the report of a bug has of a layer."""


class AskLeftovers(NamedTuple):
    """Asks what a killed session has left.  record: its record, or empty.  clean: also undo it."""

    record: str
    clean: bool


class SetOption(NamedTuple):
    """Sets one of the `Options`, both name and value in their text form."""

    name: str
    value: str


class SetActive(NamedTuple):
    """Sets whether the layer steps, or forwards step requests as it forwards all else."""

    active: bool


class SetLogging(NamedTuple):
    """Sets whether packets and decisions are logged."""

    logs: bool


class SetLogFile(NamedTuple):
    """Sets the file to which the log goes; an empty path stands for the log that gdb reads."""

    path: str


class SetLines(NamedTuple):
    """Tells of the code that gdb is about to step a thread through by lines.

    thread: its thread-id, None where gdb is not about to.  stretches: of each piece the first
    address and the one behind the last, in the order of addresses, none within another.  As a step
    by lines ends within none of them, the layer may run through each at once.
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
    """The value of `lines` for a thread that gdb is about to step by lines."""
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

# SPDX-License-Identifier: MIT
"""gdb's table of breakpoints, as it prints it.  Pure.

gdb's Python API leaves out what is needed here: dprintf, gdb's own momentary breakpoints, and up to
version 12 the addresses.  The format is that of gdb/breakpoint.c print_one_breakpoint_location.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ROW = re.compile(
    r"^(?P<number>-?\d+)(?:\.\d+)?\s+"
    r"(?:(?P<kind>\S.*?)\s+(?P<disposition>keep|del|dis|dstp)\s+)?"
    r"(?P<enabled>[ynNR]\S*)\s+(?P<what>.*)$"
)
_FRAME = re.compile(r"^\tstop only in stack frame at (0x[0-9a-f]+)")


class Row(NamedTuple):
    """One location.  number: negative and 0 are gdb's own (0: momentary).  kind: as in "Type".

    address: None where there is none (a watchpoint, a pending breakpoint).  frame: the stack
    address of the frame that it stops in, None for any.  function: which one it is in, empty where
    gdb knows of none.
    """

    number: int
    kind: str
    enabled: bool
    address: int | None
    frame: int | None = None
    function: str = ""


def parse(text: str) -> Iterator[Row]:
    """The locations in what `info breakpoints` or `maintenance info breakpoints` prints."""
    parent = Row(0, "", False, None)
    rows: list[Row] = []
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if frame and rows:
            rows[-1] = rows[-1]._replace(frame=int(frame[1], 16))
        found = _ROW.match(line)
        if not found:
            continue
        address = re.match(r"0x[0-9a-f]+", found["what"])
        function = re.match(r"0x[0-9a-f]+ in (.*) at ", found["what"])
        row = Row(
            int(found["number"]),
            found["kind"] or parent.kind,
            found["enabled"].startswith("y") and (found["kind"] is not None or parent.enabled),
            int(address[0], 16) if address else None,
            function=function[1] if function else "",
        )
        if found["kind"] is not None:
            parent = row
        elif rows and rows[-1] is parent and parent.address is not None:
            rows.pop()  # `maintenance` has a row for the only location as well, and says more there
        rows.append(row)
    yield from rows

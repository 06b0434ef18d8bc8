# SPDX-License-Identifier: MIT
"""Where gdb's `until` ends as a step by lines has, so that it can tell of that step's end.

gdb/infcmd.c until_next_command, which steps over calls, and gdb/infrun.c process_event_stop_test.
"""

from __future__ import annotations

from typing import NamedTuple

from . import source
from .frames import Frame
from .report import Since


class Begin(NamedTuple):
    """Where a step began.  line: the line that it is to leave."""

    pc: int
    frame: Frame
    line: tuple[int, str | None]


class End(NamedTuple):
    """Where a step has ended.

    hidden: how many inlined calls that begin there are not shown as frames.  hides: how many gdb
    hides by itself.  same: whether the frame is still the one that the step went through last.
    """

    pc: int
    frame: Frame
    hidden: int
    hides: int
    same: bool


def since(begin: Begin, end: End, *, direct: bool) -> Since | None:
    """Where gdb's `until` ends at `end` from; None where it would go on.

    direct: whether gdb still believes the guest where the step began, which has entered no call.
    """
    pc, frame = end.pc, end.frame
    line = source.line_at(pc)
    if not line.number or pc != line.start or not source.is_statement(pc):
        return None
    unhidden = (
        end.hidden != end.hides or frame.still_hidden(pc, end.hides, begin.frame) != end.hides
    )
    if unhidden or frame.is_inside(begin.frame):
        return None
    start = source.function_entry(begin.pc)
    here: tuple[int, str | None] = (line.number, line.file)
    if end.hidden and frame.is_same(begin.frame):
        here = source.inlined_at(pc)[end.hidden - 1].call
    # From code below its function's entry `until` fails an assertion of gdb's (13.1 infrun.c).
    passed = (
        start is not None and start <= begin.pc and not start <= pc < source.until_end(begin.pc)
    )
    if direct and passed and here != begin.line:
        # Where the step came to another frame in the middle of a line, that is the one to show.
        return Since(begin.pc, elsewhere=False, tells_frame=frame.is_same(begin.frame) == end.same)
    first = source.line_at(start) if start is not None else line
    shown = len(source.inlined_at(pc)) - end.hidden
    if start is None or shown or end.hidden or not first.number:
        return None
    if pc in first or (line.number, line.file) == first[::3]:
        return None
    elsewhere = source.function_entry(pc) != start
    return Since(start, elsewhere=True, tells_frame=elsewhere)

# SPDX-License-Identifier: MIT
"""Ranges for a gdb that does not ask for any: what its side has told of the lines that it steps.

From version 14 on gdb asks what a stub can do (`vCont?`) while it connects, before the layer is
there, and then steps through a line instruction by instruction, each with a packet of its own.
What its side tells (`session.lines`) makes a range of such a step, as if gdb had asked for one.
"""

from __future__ import annotations

from bisect import bisect_right

from ..rsp.private import SetLines
from ..rsp.resume import Resume
from ..stub.stub import Stub

_NONE = SetLines(None, ())


class Lines:
    """What was told last."""

    def __init__(self) -> None:
        self._told = _NONE
        self._ends: list[int] = []

    def tell(self, told: SetLines) -> None:
        """gdb is about to step through these, or no longer is."""
        self._told = told
        self._ends = [end for _, end in told.stretches]

    def forget(self) -> None:
        """gdb's command may have ended."""
        self.tell(_NONE)

    def applied(self, request: Resume, stub: Stub) -> Resume:
        """A request of gdb's, with a step at such code made one of a range.

        One that resumes a single thread stays as it is: gdb has lifted a breakpoint for it.
        SstepError: the pc is not to be had.
        """
        action = request.stepping
        if action is None or action.thread != self._told.thread or action.thread is None:
            return request
        if action.verb != b"s" or request.alone is not None:
            return request
        stub.select(action.thread)
        pc = stub.read("pc")
        index = bisect_right(self._ends, pc)
        if index == len(self._ends) or pc < self._told.stretches[index][0]:
            return request
        return request.through(*self._told.stretches[index])

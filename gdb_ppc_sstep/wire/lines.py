# SPDX-License-Identifier: MIT
"""Ranges for a gdb that asks for none: from the lines that gdb's side says it steps through.

From version 14 on gdb asks what a stub can do (`vCont?`) while it connects, before the layer is
there.  So it steps through a line instruction by instruction, each with a packet of its own.  gdb's
side (`session.lines`) tells the layer of the line, and the layer makes a range of such a step.
"""

from __future__ import annotations

from bisect import bisect_right

from ..rsp.private import SetLines
from ..rsp.resume import Resume
from ..stub.stub import Stub

_NONE = SetLines(None, ())


class Lines:
    """The stretches of code that gdb's side told of last."""

    def __init__(self) -> None:
        self._told = _NONE
        self._ends: list[int] = []

    def tell(self, told: SetLines) -> None:
        """gdb is about to step through these stretches; with none, it no longer is."""
        self._told = told
        self._ends = [end for _, end in told.stretches]

    def forget(self) -> None:
        """Forget the stretches, as gdb's command may have ended."""
        self.tell(_NONE)

    def applied(self, request: Resume, stub: Stub) -> Resume:
        """The resume that gdb asked for, with its step made a range if the pc is in a stretch.

        A resume of a single thread stays as it is: gdb has lifted a breakpoint for it.  SstepError:
        the stub does not give the pc.
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

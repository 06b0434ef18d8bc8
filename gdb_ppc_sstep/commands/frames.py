# SPDX-License-Identifier: MIT
"""Which frame a step is in, as far as that can be told without unwinding."""

from __future__ import annotations

import gdb

from . import source, versions
from .source import Inlined


class Frame:
    """What gdb's frame id tells apart, as far as a step can change it."""

    def __init__(
        self, pc: int, left: int, inlined: tuple[Inlined, ...], unwound: gdb.Frame | None
    ) -> None:
        """unwound: gdb's own, where the code does not say enough."""
        self._function = source.function_at(pc) or source.symbol_at(pc)
        self._unwound = unwound
        self._left = left
        self.inlined = inlined

    def is_same(self, other: Frame) -> bool:
        """Whether the frame ids would be equal."""
        if self._unwound is not None and other._unwound is not None:
            return self._unwound == other._unwound
        return self._is_same_call(other) and self.inlined == other.inlined

    def is_inside(self, other: Frame) -> bool:
        """Whether it is of a call inlined into the other."""
        outer = other.inlined
        inner = self.inlined[len(self.inlined) - len(outer) :]
        return self._is_same_call(other) and len(self.inlined) > len(outer) and inner == outer

    def _is_same_call(self, other: Frame) -> bool:
        return (self._function, self._left) == (other._function, other._left)

    def still_hidden(self, pc: int, hidden: int, since: Frame) -> int:
        """How many of the inlined calls hidden at pc stay so in a step that is in `since`.

        Code of an inlined call may be in several pieces.  Where another piece begins gdb hides the
        call as if it were entered; but the step has been in it.
        """
        within = since.inlined and versions.shows_where_it_was() and self._is_same_call(since)
        return min(hidden, source.beside(pc, since.inlined[0].entry)) if within else hidden

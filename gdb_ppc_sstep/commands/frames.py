# SPDX-License-Identifier: MIT
"""Which frame a step is in, as far as that can be told without unwinding."""

from __future__ import annotations

import re

import gdb

from . import source
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


def compares_inlined() -> bool:
    """Whether this gdb shows the frame where a step has left an inlined call for its function."""
    version = re.search(r"\d+", gdb.VERSION)
    return version is not None and int(version[0]) >= 18

# SPDX-License-Identifier: MIT
"""What the guards need of a door."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Stepper(Protocol):
    """What the guards need of a door."""

    def step_off(self, pc: int, planted: frozenset[int]) -> bool:
        """Step the selected thread off pc, unless it might arrive at one of these addresses, where
        breakpoints of gdb's are.  False for an error.
        """

    def leave(self, pc: int) -> Iterable[int]:
        """Step the selected thread, if it is at pc, while gdb still believes it to be there.

        Where gdb's own request for this step will end: where the thread has arrived.  Where it is
        at pc after all, the addresses where its next instruction may arrive.
        """

    def landings(self) -> Iterable[int]:
        """Where the selected thread's next instruction may arrive."""

    def vectors(self) -> Iterable[int]:
        """Where interrupted steps will come home."""

    def comes_home(self, planted: frozenset[int]) -> bool:
        """Whether an interrupted step has come home in the selected thread; it is collected."""

# SPDX-License-Identifier: MIT
"""What the guards need of a door."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Protocol


class Stepper(Protocol):
    """What the guards need of a door."""

    def step_off(self, planted: frozenset[int]) -> bool:
        """Step the selected thread off, unless it might arrive at one of these addresses, where
        breakpoints of gdb's are.  False for an error.
        """

    def leave(self, pc: int) -> int | None:
        """Step the selected thread, if it is at pc, while gdb still believes it to be there.

        Where it has arrived; None: the guest is where it was.
        """

    def landings(self, among: Container[int] | None) -> Iterable[int]:
        """Where the selected thread's next instruction may arrive, if it is at one of `among`.

        None: wherever it is.
        """

    def vectors(self) -> Iterable[int]:
        """Where interrupted steps will come home."""

    def comes_home(self, planted: frozenset[int]) -> bool:
        """Whether an interrupted step has come home in the selected thread; it is collected."""

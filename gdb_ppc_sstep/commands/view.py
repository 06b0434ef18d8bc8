# SPDX-License-Identifier: MIT
"""What gdb believes of the guest, while we move it behind gdb's back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gdb

from ..errors import SstepError
from ..stub.stub import Stub


class View:
    """thread: the thread-id that gdb has selected.  busy: whether the guest is being moved.

    several: whether there is another thread that gdb, or the stub, may have selected.
    """

    def __init__(self, stub: Stub, quiesce: Callable[[], None]) -> None:
        """quiesce: called before gdb may look, to take what is ours out of the guest."""
        self._stub = stub
        self._quiesce = quiesce
        self.thread: bytes | None = None
        self.busy = False
        self.several = len(gdb.selected_inferior().threads()) > 1
        self._touched = False  # the stub was sent packets that gdb does not know of
        self._moved = False  # and these have moved the guest

    @contextmanager
    def behind(self, thread: bytes | None, *, seen: bool = True) -> Iterator[None]:
        """The stub is sent packets that gdb does not know of; gdb sees what they did afterwards.

        thread: the one that gdb has selected.  seen: gdb is to look at once.  Else it does when the
        guest has been resumed: while it is about to do that its registers must not be flushed
        (gdb/infrun.c proceed has a pointer to them).
        """
        before, self.busy = self.busy, True
        try:
            self.thread = thread
            self.touched()
            try:
                yield
            finally:
                if seen:
                    self.flush()
                else:
                    self._settle()
        finally:
            self.busy = before

    def touched(self) -> None:
        """The stub is sent a packet that gdb does not know of."""
        self._touched = True

    def moved(self) -> None:
        """The guest is resumed, or its registers are written."""
        self._touched = self._moved = True

    def seen(self) -> None:
        """gdb has seen the guest stop: all that it knows is of that stop."""
        self._touched = self._moved = False

    def flush(self) -> None:
        """Have gdb see where the guest is now.

        gdb remembers which thread it has selected in the stub; that is this one at the latest when
        the last command has read its registers (gdb/top.c execute_command looks for the selected
        frame at its end).  So it reads them anew where that may be another one.
        """
        self._settle()
        thread = gdb.selected_thread()
        if self._touched and thread is not None:  # else the connection is gone
            gdb.execute("maintenance flush dcache", to_string=True)
            registers = "maintenance flush register-cache"
            if self._moved:
                gdb.execute(registers, to_string=True)
            elif self.several:  # a frame that the user has selected stays selected
                gdb.execute(f"thread apply {thread.num} -q {registers}", to_string=True)
        self._touched = self._moved = False

    def _settle(self) -> None:
        """Have gdb find nothing of ours in the stub, which has the thread that gdb has selected."""
        with suppress(SstepError):
            self._quiesce()
        if self._touched and gdb.selected_thread() is not None:
            self._stub.select(self.thread)


def selected() -> tuple[int, int, int] | None:
    """Which thread gdb has selected (its ptid); None for none."""
    thread = gdb.selected_thread()
    return thread.ptid if thread is not None else None


def stopped_at() -> int | None:
    """The pc of the last stop that gdb has seen: where that is still the selected thread's, gdb
    resumes the thread by a step if a breakpoint is there.
    """
    found = re.search(r"stopped at (0x[0-9a-f]+)", gdb.execute("info program", to_string=True))
    return int(found[1], 16) if found else None

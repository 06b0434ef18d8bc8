# SPDX-License-Identifier: MIT
"""By which MSR QEMU with KVM translates addresses, and how breakpoints are reached.  No I/O.

It is the MSR of a vCPU that was written last through the stub, not the one that the vCPU has (QEMU
7.2 target/ppc ppc_cpu_get_phys_page_debug goes by hflags, which only a write brings up to date).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import StubRefused
from ..ppc import msr
from .pipeline import Queued


class Written(NamedTuple):
    """An MSR, and the packet that writes it."""

    state: int
    packet: bytes


class Reach(NamedTuple):
    """The MSR by which a breakpoint is reached (`through`), and the thread's own (`back`)."""

    through: Written
    back: Written


class View:
    """The MSRs by which one stub translates addresses."""

    def __init__(self, decode: Callable[[bytes], int | None]) -> None:
        """decode: gives the MSR that a packet writes, None for any other packet."""
        self._decode = decode
        self._last: dict[bytes | None, Written] = {}  # by thread, the MSR that was written last
        self._since_stop = False  # whether the selected thread's was written since its stop
        self._planting: bytes | None = None  # the thread by whose MSR breakpoints come and go
        self._reach: dict[bytes, Reach] = {}  # by the Z or z packet that is queued

    # -- what happens to it

    def stopped(self, thread: bytes | None) -> None:
        """The guest has run, and this thread has stopped."""
        self._since_stop, self._planting = False, thread

    def selected(self) -> None:
        """Another thread is selected."""
        self._since_stop = False

    def changed(self, thread: bytes | None) -> None:
        """Somebody else has written registers of this thread; None: of any, or the stub refused."""
        self._since_stop = False
        if thread is None:
            self._last.clear()
            self._planting = None
        else:
            self._last.pop(thread, None)

    # -- what it tells

    def was_written(self, thread: bytes | None) -> bool:
        """Whether it is known by which MSR memory of the selected thread is given."""
        return thread in self._last

    def shows(self, thread: bytes | None, state: int) -> bool:
        """Whether the stub gives memory of the selected thread as it is seen with this MSR."""
        last = self._last.get(thread)
        return last is not None and _same(last.state, state)

    def reaches(self, thread: bytes | None, state: int) -> bool:
        """Whether breakpoints come and go by this MSR: it was written since the thread stopped."""
        return self._since_stop and self.shows(thread, state)

    def selection(self, thread: bytes | None) -> bytes | None:
        """The packet that makes breakpoints come and go by this thread, None if none is needed.

        The thread is selected.  QEMU has breakpoints come by the vCPU of the last stop or `Hc`, not
        of `Hg` (QEMU 7.2 gdbstub.c gdb_breakpoint_insert: c_cpu).
        """
        if thread is None or self._planting == thread:
            return None
        self._planting = thread
        return b"Hc" + thread

    # -- what is queued

    def plan(self, payload: bytes, reach: Reach) -> None:
        """A Z or z packet is queued, and is reached as `reach` says."""
        self._reach[payload] = reach

    def arranged(
        self,
        queue: Sequence[Queued],
        thread: bytes | None,
        sent: Callable[[bytes], None],
        put_back: Callable[[bytes], Queued],
    ) -> list[Queued]:
        """The packets to send for a queue: before its breakpoints an MSR by which they are reached,
        and behind them the one that the thread has.

        sent: called with each Z and z packet.  put_back: gives what to queue for a packet that
        writes the thread's own MSR.
        """
        arranged: list[Queued] = []
        now = self._last.get(thread) if self._since_stop else None
        # The thread's own MSR, where it is known: the queue no longer tells the one of a step that
        # was armed ahead.
        own = now
        away: Written | None = None  # the thread's own MSR, while another one is written
        writes = [one for one in queue if self._decode(one.payload) is not None]
        early: list[Queued] = []
        for one in queue:
            if one in early:
                continue
            state = self._decode(one.payload)
            if state is not None:
                writes.remove(one)
                now = own = Written(state, one.payload)
                away = None
            reach = self._reach.pop(one.payload, None)
            if reach is not None:
                sent(one.payload)
                selection = self.selection(thread)
                if selection is not None:
                    arranged.append(Queued(selection, "", _ignored))
                if not _reached(now, reach) and writes:
                    last = self._decode(writes[-1].payload)
                    if last is not None and _same(last, reach.through.state):
                        # A later write in the queue does as well: it is moved before this packet.
                        now = own = Written(last, writes[-1].payload)
                        away = None
                        early.append(writes.pop())
                        arranged.append(early[-1])
                if not _reached(now, reach):
                    back, through = own or reach.back, reach.through
                    if away is not None and through.state == back.state:
                        # It is the thread's own again: if refused, it has to be written later.
                        arranged.append(put_back(through.packet))
                    else:
                        arranged.append(Queued(through.packet, "to write msr"))
                    now, away = through, back
            arranged.append(one)
        if away is not None and now != away:
            now = away
            arranged.append(put_back(away.packet))
        if now is not None:
            self._last[thread], self._since_stop = now, True
        return arranged


def _same(one: int, other: int) -> bool:
    return not (one ^ other) & msr.VIEW


def _reached(now: Written | None, reach: Reach) -> bool:
    return now is not None and _same(now.state, reach.through.state)


def _ignored(_error: StubRefused) -> bool:
    return True

# SPDX-License-Identifier: MIT
"""What of ours is in the guest, and in which phase: the one owner of that.

A step changes the MSR of a vCPU.  From before the change is sent until the stub has answered that
it is undone, the ledger has an entry for it:

    AHEAD       armed for a step that gdb has not asked for yet; what takes it back is deferred
    ARMED       the MSR is changed; the guest may run, and may come back much later
    COLLECTING  its Trace interrupt was found, and is being undone
    QUEUED      what undoes it waits in the stub's queue

    from        to          by
    -           AHEAD       arm_ahead
    -, AHEAD    ARMED       arm
    ARMED       ARMED, -    replace (MSR[EE] is left alone after all), disarm
    ARMED       COLLECTING  found
    COLLECTING  QUEUED      queued
    AHEAD       -, ARMED    sent: taken back; or refused, and to be redone
    QUEUED      -, COLLECTING  sent: undone; or refused, and to be redone

Every method that begins a change tells the journal before it returns, so before the change is sent;
every method that ends one does so after the stub's answer.  So the record of a session that is
killed is never too short (write-ahead).  While an entry is QUEUED its record is enough for the step
that is armed over it: to undo the one writes the MSR that undoes the other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, Union

from ..ppc.dawr import Window
from ..rsp.resume import StopReply
from .steps import Armed, Found, Lent
from .targets import Target


class Phase(enum.Enum):
    """How far a change of ours has come; see the table above."""

    AHEAD = "armed ahead"
    ARMED = "armed"
    COLLECTING = "being collected"
    QUEUED = "what undoes it is queued"


class Change(NamedTuple):
    """One entry.  found: its Trace interrupt, from COLLECTING on."""

    armed: Armed
    phase: Phase
    found: Found | None = None


class Watched(NamedTuple):
    """DAWR0 and DAWRX0 of a vCPU that are ours.  thread: its thread-id."""

    thread: bytes | None
    window: Window


Snapshot = tuple[Union[Change, Watched, Lent], ...]
"""Changes of ours that are still in the guest."""


def steps_of(snapshot: Snapshot) -> list[Change]:
    """Those that are steps."""
    return [one for one in snapshot if isinstance(one, Change)]


def windows_of(snapshot: Snapshot) -> list[Watched]:
    """Those that are watchpoints."""
    return [one for one in snapshot if isinstance(one, Watched)]


def lent_of(snapshot: Snapshot) -> list[Lent]:
    """Those that are threads which execute code for us."""
    return [one for one in snapshot if isinstance(one, Lent)]


class Settle(NamedTuple):
    """To be redone: put right what a stop shows.  counted: its step is counted already."""

    stop: StopReply
    target: Target | None
    counted: bool = False


class Unarm(NamedTuple):
    """To be redone: write the MSR back that was changed for a step."""

    armed: Armed


Redo = Union[Settle, Unarm, Lent]

_MOVES: dict[Phase | None, set[Phase | None]] = {
    None: {Phase.AHEAD, Phase.ARMED},
    Phase.AHEAD: {None, Phase.ARMED},
    Phase.ARMED: {None, Phase.COLLECTING},
    Phase.COLLECTING: {Phase.COLLECTING, Phase.QUEUED},
    Phase.QUEUED: {None, Phase.COLLECTING},
}


_OUTSTANDING = {Phase.ARMED, Phase.COLLECTING}


class Ledger:
    """The changes of one engine.

    outstanding: what a guest that runs would meet, ARMED or COLLECTING, the oldest first.  redo:
    what the stub has refused and is to be done again, the first one first.  windows: DAWR0 and
    DAWRX0 of the vCPUs, by thread, as we wrote them.  All are read by others, and written only
    here.
    """

    def __init__(self, journal: Callable[[Snapshot], None]) -> None:
        self._journal = journal
        self._changes: list[Change] = []
        self._queued: Armed | None = None  # the one that is QUEUED
        self._deferred: Settle | None = None  # the stop that it was found at
        self.outstanding: list[Armed] = []
        self.redo: list[Redo] = []
        self.windows: dict[bytes | None, Window] = {}
        self._lent: list[Lent] = []

    @property
    def snapshot(self) -> Snapshot:
        """All changes, the oldest first."""
        windows = [Watched(*one) for one in self.windows.items() if one[1].matches]
        return (*self._changes, *windows, *self._lent)

    @property
    def guarded(self) -> tuple[int, ...]:
        """The vectors at which outstanding Trace interrupts are collected."""
        if not self.outstanding:
            return ()
        return tuple(one.vector for one in self.outstanding if one.vector is not None)

    @property
    def collecting(self) -> Change | None:
        """The one that is being collected."""
        for change in self._changes:
            if change.phase is Phase.COLLECTING:
                return change
        return None

    # -- changes begin

    def arm_ahead(self, armed: Armed) -> None:
        """The MSR is about to be changed for a step that gdb may ask for next."""
        self._move(armed, Phase.AHEAD)
        if self._queued is None:
            self._tell()

    def arm(self, armed: Armed) -> None:
        """The MSR is about to be changed for a step."""
        self._move(armed, Phase.ARMED)
        if self._queued is None:
            self._tell()

    def watch(self, thread: bytes | None, window: Window) -> None:
        """DAWR0 and DAWRX0 of a vCPU are about to be written, or (no access matches) were."""
        self.windows[thread] = window
        self._tell()

    def lend(self, lent: Lent) -> None:
        """A thread is about to be given other registers for a little code."""
        self._lent.append(lent)
        self._tell()

    def adopt(self, snapshot: Snapshot) -> None:
        """These were made by a session that was killed."""
        self.windows.update(windows_of(snapshot))
        for armed, _phase, found in steps_of(snapshot):
            self._move(armed, Phase.ARMED)
            if found is not None:
                self._move(armed, Phase.COLLECTING, found)
        self._tell()

    def found(self, armed: Armed, found: Found) -> None:
        """Its Trace interrupt is about to be undone."""
        assert armed is not self._queued
        self._move(armed, Phase.COLLECTING, found)
        self._tell()

    # -- changes end

    def replace(self, armed: Armed, other: Armed | None) -> None:
        """The MSR was changed less than was planned, or (None) not at all."""
        self._move(armed, None)
        if other is not None:
            self._move(other, Phase.ARMED)
        self._tell()

    def disarm(self, armed: Armed) -> None:
        """Its MSR is as it was, wherever that is kept."""
        self._move(armed, None)
        self._tell()

    def given_back(self, lent: Lent, done: bool) -> None:
        """The thread has its own registers again; not done: the stub has refused that."""
        if not done:
            self.must_redo(lent)
        elif lent in self._lent:
            self._lent.remove(lent)
        self._tell()

    def queued(self, armed: Armed) -> None:
        """All that undoes it is in the stub's queue; `sent` is called when that is sent."""
        assert self._queued is None
        self._move(armed, Phase.QUEUED)
        self._queued = armed

    def defer(self, settle: Settle) -> None:
        """What is QUEUED may wait; it was this stop's.  It is to be redone if that is refused."""
        if self._queued is not None:
            self._deferred = settle

    def sent(self, armed: Armed, done: bool) -> None:
        """What takes it back, or undoes it, was sent; done: the stub has done all of it."""
        phase = self._phase(armed)
        if phase is Phase.QUEUED:
            self._queued = None
            if done:
                self._move(armed, None)
            else:
                self._move(armed, Phase.COLLECTING)
                if self._deferred is not None:
                    self.must_redo(self._deferred._replace(counted=True))
            self._deferred = None
        elif phase is Phase.AHEAD:
            if done:
                self._move(armed, None)
            else:
                self._move(armed, Phase.ARMED)
                self.must_redo(Unarm(armed))
        else:
            return  # ahead once, and then gdb asked for that step; or the guest is gone
        self._tell()

    def must_redo(self, item: Redo) -> None:
        """This is to be done (again), before all else that is."""
        self.redo.insert(0, item)

    def redone(self, item: Redo) -> None:
        """That is done, unless the guest has ended meanwhile."""
        if item in self.redo:
            self.redo.remove(item)

    def drop_masked(self) -> None:
        """At a stop that gdb sees nothing is left of those that only MSR[EE] was changed for."""
        for armed in list(self.outstanding):
            if armed.vector is None:
                self.disarm(armed)

    def gone(self) -> None:
        """The guest has ended, or is somebody else's: nothing of it concerns us any more."""
        self._changes.clear()
        self._queued = self._deferred = None
        self.outstanding = []
        self.redo.clear()
        self.windows.clear()
        self._lent.clear()
        self._tell()

    # -- how

    def _phase(self, armed: Armed) -> Phase | None:
        for change in self._changes:
            if change.armed is armed:
                return change.phase
        return None

    def _move(self, armed: Armed, phase: Phase | None, found: Found | None = None) -> None:
        changes = self._changes
        place, before = 0, None
        while place < len(changes) and changes[place].armed is not armed:
            place += 1  # by identity: two steps of `b .` have equal values
        if place < len(changes):
            before = changes[place].phase
            found = found or changes[place].found
        assert phase in _MOVES[before], (before, phase)
        changes[place : place + 1] = [] if phase is None else [Change(armed, phase, found)]
        if before in _OUTSTANDING:
            if phase not in _OUTSTANDING:
                self.outstanding = [one for one in self.outstanding if one is not armed]
        elif phase in _OUTSTANDING:
            self.outstanding = [*self.outstanding, armed]

    def _tell(self) -> None:
        self._journal(self.snapshot)

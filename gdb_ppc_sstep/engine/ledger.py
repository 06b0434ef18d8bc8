# SPDX-License-Identifier: MIT
"""The ledger: which changes of ours are in the guest, and in which phase each of them is.

A step changes the MSR of a vCPU.  The ledger has an entry for that from before the change is sent
until the stub has answered that it is undone:

    AHEAD       armed for a step that gdb has not asked for yet; the undoing write is deferred
    ARMED       the MSR is changed; the guest may run, and its Trace interrupt may come much later
    COLLECTING  its Trace interrupt was found, and is being undone
    QUEUED      the writes that undo it wait in the stub's queue

    from        to          by
    -           AHEAD       arm_ahead
    -, AHEAD    ARMED       arm
    ARMED       ARMED, -    replace (MSR[EE] is left alone after all), disarm
    ARMED       COLLECTING  found
    COLLECTING  QUEUED      queued
    AHEAD       -, ARMED    sent: undone; or the stub refused, and it is in `redo`
    QUEUED      -, COLLECTING  sent: undone; or the stub refused, and it may be in `redo`

Every method that begins a change tells the journal before it returns, so before the change is sent;
every method that ends one does so after the stub's answer.  So the record of a killed session is
never too short (write-ahead).  The record of a QUEUED step also covers the step that is armed over
it: what undoes the older one puts the MSR back to what it was before the newer one.
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
    """One step in the ledger.  found: its Trace interrupt, from COLLECTING on."""

    armed: Armed
    phase: Phase
    found: Found | None = None


class Watched(NamedTuple):
    """A vCPU whose DAWR0 and DAWRX0 have a window of ours.  thread: its thread-id."""

    thread: bytes | None
    window: Window


Snapshot = tuple[Union[Change, Watched, Lent], ...]
"""The changes of ours that are still in the guest, at one moment."""


def steps_of(snapshot: Snapshot) -> list[Change]:
    """The entries of a snapshot that are steps."""
    return [one for one in snapshot if isinstance(one, Change)]


def windows_of(snapshot: Snapshot) -> list[Watched]:
    """The entries of a snapshot that are windows of watchpoints."""
    return [one for one in snapshot if isinstance(one, Watched)]


def lent_of(snapshot: Snapshot) -> list[Lent]:
    """The entries of a snapshot that are threads with other registers than their own."""
    return [one for one in snapshot if isinstance(one, Lent)]


class Settle(NamedTuple):
    """A stop to settle; in `redo` until that is done.  counted: its step is counted already."""

    stop: StopReply
    target: Target | None
    counted: bool = False


class Unarm(NamedTuple):
    """A thread whose MSR, changed for a step, is to be written back; as `Settle` in `redo`."""

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
    """The changes of one engine.  Others read the three attributes; only the methods write them.

    outstanding: the steps that are ARMED or COLLECTING, the oldest first.  redo: what has to be
    done again as the stub refused it, in this order.  windows: by thread, DAWR0 and DAWRX0 as we
    wrote them.
    """

    def __init__(self, journal: Callable[[Snapshot], None]) -> None:
        self._journal = journal
        self._changes: list[Change] = []
        self._queued: Armed | None = None  # the step that is QUEUED
        self._deferred: Settle | None = None  # the stop at which its Trace interrupt was found
        self.outstanding: list[Armed] = []
        self.redo: list[Redo] = []
        self.windows: dict[bytes | None, Window] = {}
        self._lent: list[Lent] = []

    @property
    def snapshot(self) -> Snapshot:
        """All changes, the oldest step first; windows that match no access are left out."""
        windows = [Watched(*one) for one in self.windows.items() if one[1].matches]
        return (*self._changes, *windows, *self._lent)

    @property
    def guarded(self) -> tuple[int, ...]:
        """The vectors at which the Trace interrupts of outstanding steps are collected."""
        if not self.outstanding:
            return ()
        return tuple(one.vector for one in self.outstanding if one.vector is not None)

    @property
    def collecting(self) -> Change | None:
        """The step whose Trace interrupt is being undone, None if there is none."""
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
        """A thread is about to be given other registers, to execute a little code."""
        self._lent.append(lent)
        self._tell()

    def adopt(self, snapshot: Snapshot) -> None:
        """Take over what a killed session changed, so that it is undone as our own changes are."""
        self.windows.update(windows_of(snapshot))
        for armed, _phase, found in steps_of(snapshot):
            self._move(armed, Phase.ARMED)
            if found is not None:
                self._move(armed, Phase.COLLECTING, found)
        self._tell()

    def found(self, armed: Armed, found: Found) -> None:
        """The Trace interrupt of this step was found, and is about to be undone."""
        assert armed is not self._queued
        self._move(armed, Phase.COLLECTING, found)
        self._tell()

    # -- changes end

    def replace(self, armed: Armed, other: Armed | None) -> None:
        """Less was changed in the MSR than planned: only `other`, or (None) nothing."""
        self._move(armed, None)
        if other is not None:
            self._move(other, Phase.ARMED)
        self._tell()

    def disarm(self, armed: Armed) -> None:
        """The change of this step is undone: its MSR is as it was, wherever that is kept."""
        self._move(armed, None)
        self._tell()

    def given_back(self, lent: Lent, done: bool) -> None:
        """The thread has its own registers again; or (not done) the stub has refused that."""
        if not done:
            self.must_redo(lent)
        elif lent in self._lent:
            self._lent.remove(lent)
        self._tell()

    def queued(self, armed: Armed) -> None:
        """All writes that undo this step are in the stub's queue; `sent` is called for them."""
        assert self._queued is None
        self._move(armed, Phase.QUEUED)
        self._queued = armed

    def defer(self, settle: Settle) -> None:
        """The writes of the QUEUED step may wait; if they are refused, `settle` is redone."""
        if self._queued is not None:
            self._deferred = settle

    def sent(self, armed: Armed, done: bool) -> None:
        """The writes that undo this step were sent; done: the stub has obeyed all of them."""
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
            return  # armed ahead, and gdb has asked for that step since; or the guest is gone
        self._tell()

    def must_redo(self, item: Redo) -> None:
        """This has to be done (again), before all else that has to be."""
        self.redo.insert(0, item)

    def redone(self, item: Redo) -> None:
        """This is done; it is no longer in `redo` if the guest has ended meanwhile."""
        if item in self.redo:
            self.redo.remove(item)

    def drop_masked(self) -> None:
        """Drop the outstanding steps that changed only MSR[EE]; called before gdb sees a stop."""
        for armed in list(self.outstanding):
            if armed.vector is None:
                self.disarm(armed)

    def gone(self) -> None:
        """The guest has ended, or is somebody else's: forget all changes."""
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
            place += 1  # compared by identity, as two steps of `b .` have equal values
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

# SPDX-License-Identifier: MIT
"""Finds and undoes what a session that was killed in the middle of a step has left in the guest."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from ..errors import StubRefused
from ..ppc import msr
from ..ppc.dawr import Window
from ..stub.stub import Stub
from .alone import Alone
from .ledger import Change, Ledger, Snapshot, lent_of, steps_of, windows_of
from .matches import Matches
from .steps import Lent
from .undo import Undoing
from .vcpu import Vcpu
from .windows import Windows


class Leftover(NamedTuple):
    """What was left on one vCPU.

    home, state: the pc and MSR that the vCPU has without it.  what: what was left, in words.
    """

    thread: bytes
    home: int
    state: int
    what: str


class Salvage:
    """Finds leftovers and undoes them."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        ledger: Ledger,
        undoing: Undoing,
        alone: Alone,
        windows: Windows,
        matches: Matches,
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._ledger = ledger
        self._undoing = undoing
        self._alone = alone
        self._windows = windows
        self._matches = matches

    def leftovers(self, known: Snapshot) -> list[Leftover]:
        """Find what was left in the guest, which is stopped.

        known: the record of the killed session; what does not fit the guest is ignored.  Without a
        record this finds MSR[SE], Trace interrupts and a DAWR that belong to no step or watchpoint
        of ours: they may be the guest's own.
        """
        lent = [left for left, _ in self._lent(known)]
        return [*lent, *self._steps(known), *(left for left, _ in self._watched(known))]

    def _steps(self, known: Snapshot) -> list[Leftover]:
        """What is left of steps, by the record and by what the vCPUs show."""
        threads = self._stub.threads()
        selected = self._stub.thread or next(iter(threads), None)
        try:
            found = [self._on(thread) for thread in threads]
            ours, away = self._surviving(known)
            told = [change.armed.thread for change in ours]
            return [
                *(_told(change) for change in ours),
                *(one for one in found if one and one.thread not in told),
                *(_told(change, " that may be in a handler") for change in away),
            ]
        finally:
            self._stub.select(selected)

    def clean(self, known: Snapshot) -> list[Leftover]:
        """Undo all of `leftovers`, and return them; steps in a handler are outstanding then.

        Without a record SRR0 and SRR1 are lost, and MSR[EE] is set again only in problem state: the
        killed session may have masked interrupts.
        """
        lent = self._lent(known)
        for _, borrowed in lent:
            self._alone.give_back(borrowed)
        found = [*(left for left, _ in lent), *self.leftovers(known)]
        ours, away = self._surviving(known)
        self._ledger.adopt((*ours, *(change._replace(found=None) for change in away)))
        for change in ours:
            self._undoing.take_back(change.armed, change.found)
        for one in self._steps(()):
            self._stub.select(one.thread)
            self._stub.write("msr", one.state | (msr.EE if one.state & msr.PR else 0))
            self._stub.write("pc", one.home)
            self._stub.send_queued()
        for left, window in self._watched(known):
            self._ledger.watch(left.thread, window)
            self._matches.take_back(left.thread)
        self._windows.disarm()
        return found

    def _lent(self, known: Snapshot) -> list[tuple[Leftover, Lent]]:
        """The threads that stand in code which they execute for the killed session."""
        selected, found = self._stub.thread, []
        for lent in lent_of(known):
            with suppress(StubRefused):  # the record is of another guest
                self._stub.select(lent.thread)
                pc, own = self._stub.read("pc"), dict(lent.registers)
                first, *ends = lent.places
                if first <= pc <= max(ends[:1], default=first) or pc in ends:
                    what = f"code at {first:#x} that is executed for the session"
                    home = Leftover(lent.thread or b"", own["pc"], own["msr"], what)
                    found.append((home, lent))
        self._stub.select(selected)
        return found

    def _watched(self, known: Snapshot) -> list[tuple[Leftover, Window]]:
        """The vCPUs whose DAWR has a window: now, or by the record if the stub gives no DAWR."""
        told = {one.thread: one.window for one in windows_of(known)}
        selected, found = self._stub.thread, []
        for thread in self._stub.threads():
            self._stub.select(thread)
            window = self._windows.given() or told.get(thread)
            if window is not None and window.matches:
                what = f"a watchpoint (DAWR) at {window.address:#x}"
                pc, state = self._stub.read("pc"), self._stub.read("msr")
                found.append((Leftover(thread, pc, state, what), window))
        self._stub.select(selected)
        return found

    def _on(self, thread: bytes) -> Leftover | None:
        """What one vCPU shows of a step, by its registers and without a record."""
        self._stub.select(thread)
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        if state & msr.SE:
            return Leftover(thread, pc, state & ~msr.SE, f"MSR[SE] is set at {pc:#x}")
        srrs = self._vcpu.given_srrs() if msr.is_vector(pc, msr.TRACE) else None
        if srrs is None or not srrs[1] & msr.SE:
            return None
        what = f"a Trace interrupt from before {srrs[0]:#x}"
        return Leftover(thread, srrs[0], msr.after_trace(srrs[1]) & ~msr.SE, what)

    def _surviving(self, known: Snapshot) -> tuple[list[Change], list[Change]]:
        """The recorded steps that a vCPU shows now; and those that may be in a handler.

        Such a handler of the guest will return with our MSR[SE].
        """
        ours: list[Change] = []
        away: list[Change] = []
        for change in steps_of(known):
            armed, _phase, found = change
            try:
                self._stub.select(armed.thread if found is None else found.thread)
            except StubRefused:
                continue  # the record is of another guest
            state, pc = self._stub.read("msr"), self._stub.read("pc")
            srrs = self._vcpu.given_srrs() if pc == armed.vector else None
            masked = armed.vector is None and msr.is_vector(pc)
            saved = self._vcpu.saved_by(pc) if masked else None
            if (
                (saved is not None and armed.was_interrupted(*saved))
                or (found is not None and pc in (armed.vector, found.srr0))
                or (srrs is not None and srrs[0] in armed.successors)
                or (state == armed.written and armed.is_before(armed.thread, pc, state))
                or (pc == armed.pc and armed.is_reaching(state))
            ):
                ours.append(change)
            elif armed.vector is not None and pc not in (armed.pc, *armed.successors):
                away.append(change)
        return ours, away


def _told(change: Change, where: str = "") -> Leftover:
    armed = change.armed
    what = f"a step from {armed.pc:#x}{where}"
    return Leftover(armed.thread or b"", armed.pc, armed.state, what)

# SPDX-License-Identifier: MIT
"""Breakpoints of gdb's that the user does not see, where gdb itself would ask a stub for a step.

gdb asks for one to get off a breakpoint: one that it stopped at, or one that it does not stop at
(a false condition, an ignore count, a dprintf, another thread's).  A guard at the breakpoint steps
off by the engine before gdb decides how to go on: gdb then finds pc elsewhere, and asks for no
step (gdb/infrun.c thread_still_needs_step_over_bp).  Where gdb has stopped at a breakpoint the
guards are at the next instructions: gdb's ignored request ends there.  What a breakpoint decides,
counts and prints stays gdb's business, and so do continue, finish, advance and MI.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import gdb

from . import table
from .link import interrupt_pending, interrupts_held


class Mode(enum.Enum):
    """What a guard does where no breakpoint of the user's stops."""

    FREE = "step off, and let gdb go on"
    ASK = "stop silently"
    SHOW = "stop as gdb does anyway, like after a step"


class _Guard(gdb.Breakpoint):
    """One guard; it never stops noisily.

    users: the numbers of the user's breakpoints at the address, all older than the guard.
    """

    def __init__(self, guards: Guards, address: int, users: frozenset[int]) -> None:
        super().__init__(f"*{address:#x}", internal=True)
        self.silent = True
        self.users = users
        self._guards = guards
        self._address = address

    def stop(self) -> bool:
        """gdb asks this after the user's breakpoints at the address: they are older."""
        stop = True
        try:
            with interrupts_held():
                stop = self._guards.hit(self._address)
                self._guards.interrupted = interrupt_pending()
        except KeyboardInterrupt:
            return True
        # Not every gdb makes a KeyboardInterrupt of one that was held back (16 does not always).
        return stop or self._guards.interrupted


class Stepper(Protocol):
    """What the guards need of a door."""

    def step_off(self, planted: frozenset[int]) -> bool:
        """Step the selected thread off, unless it might arrive at one of these addresses, where
        breakpoints of gdb's are.  False for an error.
        """

    def landings(self, among: Container[int]) -> Iterable[int]:
        """Where the selected thread's next instruction may arrive, if it is at one of `among`."""

    def vectors(self) -> Iterable[int]:
        """Where interrupted steps will come home."""

    def comes_home(self, planted: frozenset[int]) -> bool:
        """Whether an interrupted step has come home in the selected thread; it is collected."""


class Guards:
    """The guards of one connection."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._guards: dict[int, _Guard] = {}
        self._landings: frozenset[int] = frozenset()
        """Where guards are only for the step that gdb asks for when it goes on from here."""
        self._hits: dict[int, tuple[int, int]] = {}
        self._retired: list[_Guard] = []
        self.mode = Mode.FREE
        self.stayed = False
        """Whether the last hit was one that a breakpoint of the user's stops at."""
        self.interrupted = False
        """Whether Ctrl-C came during the last hit; gdb has then stopped and printed nothing."""
        self.return_address: int | None = None
        """Where a command of gdb's waits for a function to return, and not in every frame."""

    def refresh(self) -> None:
        """Guard what has to be guarded now, and nothing else; for when the target is at rest."""
        self.add()
        for guard in self._retired:
            if guard.is_valid():
                guard.delete()
        self._retired.clear()

    def add(self) -> None:
        """`refresh` without deleting any: other extensions may be looking at those of a stop."""
        wanted = dict.fromkeys(self._stepper.vectors(), frozenset[int]())
        if self.return_address is not None:
            wanted[self.return_address] = frozenset()
        wanted.update(_users())
        landings = self._stepper.landings(wanted) if wanted else ()
        self._landings = frozenset(landings) - wanted.keys()
        wanted.update(dict.fromkeys(self._landings, frozenset[int]()))
        for address, guard in list(self._guards.items()):
            if address not in wanted or not wanted[address] <= guard.users:
                self._retire(address)
        for address in wanted.keys() - self._guards.keys():
            try:
                self._guards[address] = _Guard(self, address, wanted[address])
            except gdb.error:
                continue  # no breakpoint of the user's can be there either
        self._hits = _hits()

    def only_at(self, addresses: frozenset[int]) -> None:
        """Have no guards elsewhere while a command of ours steps: they would show in its stop."""
        for address in self._guards.keys() - addresses:
            self._retire(address)

    def _retire(self, address: int) -> None:
        guard = self._guards.pop(address)
        if guard.is_valid():
            guard.enabled = False
            self._retired.append(guard)

    @contextmanager
    def at(self, address: int) -> Iterator[None]:
        """With a guard at an address, whatever is there."""
        added = address not in self._guards
        if added:
            self._guards[address] = _Guard(self, address, frozenset())
        try:
            yield
        finally:
            if added:
                self._retire(address)

    def clear(self) -> None:
        """Remove all guards."""
        for address in list(self._guards):
            self._retire(address)
        for guard in self._retired:
            guard.delete()
        self._retired.clear()

    def hit(self, address: int) -> bool:
        """Whether gdb has to stop because of the guard."""
        before, self._hits = self._hits, _hits()
        self.stayed = any(
            hits != before.get(number, (0, 0))[0] and ignored >= before.get(number, (0, 0))[1]
            for number, (hits, ignored) in self._hits.items()
        )
        if self.stayed:
            if self.mode is Mode.SHOW:  # a breakpoint is always shown with its function
                gdb.execute("set print frame-info auto")
            return False
        if self.mode is not Mode.FREE:
            return self.mode is Mode.ASK
        users = users_addresses()
        if address in self._landings and address not in users:
            # Its step has ended.  Where gdb finds no breakpoint enabled it asks for no other step.
            self._retire(address)
            return False
        if _momentary(address):
            return False
        planted = users | self._guards.keys()
        if address in self._stepper.vectors() and self._stepper.comes_home(planted):
            return False
        return not self._stepper.step_off(planted)


def users_addresses() -> frozenset[int]:
    """Where the user's enabled breakpoints and dprintfs are."""
    return frozenset(_users())


def _users() -> dict[int, frozenset[int]]:
    """The same, with the numbers of those that are at each address."""
    found: dict[int, frozenset[int]] = {}
    for row in table.parse(gdb.execute("info breakpoints", to_string=True)):
        if row.enabled and row.address is not None:
            found[row.address] = found.get(row.address, frozenset()) | {row.number}
    return found


def _hits() -> dict[int, tuple[int, int]]:
    """Hits and remaining ignores of each of the user's breakpoints that can stop, by number."""
    return {
        one.number: (one.hit_count, one.ignore_count) for one in gdb.breakpoints() if one.visible
    }


def _momentary(address: int) -> bool:
    """Whether a breakpoint of a command of gdb's (finish, until, advance) stops at an address."""
    return any(
        row.number == 0
        and row.address == address
        # What a gdb.Frame is printed as is its frame id (gdb/frame.c frame_id::to_string).
        and (row.frame is None or f"{{stack={row.frame:#x}," in str(gdb.newest_frame()))
        for row in table.parse(gdb.execute("maintenance info breakpoints", to_string=True))
    )

# SPDX-License-Identifier: MIT
"""Breakpoints of gdb's that the user does not see, where gdb itself would ask a stub for a step.

gdb asks for one to get off a breakpoint: one that it stopped at, or one that it does not stop at
(a false condition, an ignore count, a dprintf, another thread's).  A guard at the breakpoint steps
off by the engine before gdb decides how to go on: gdb then finds pc elsewhere, and asks for no
step (gdb/infrun.c thread_still_needs_step_over_bp).  Where gdb has stopped at a breakpoint the step
off it is made when gdb goes on, and a guard is where it arrives: gdb's ignored request ends there.
What a breakpoint decides, counts and prints stays gdb's business, and so do continue, finish,
advance and MI.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import gdb

from . import internal, placed, watches
from .link import interrupt_pending, interrupts_held
from .stepper import Stepper
from .view import selected


class Mode(enum.Enum):
    """What a guard does where no breakpoint of the user's stops."""

    FREE = "step off, and let gdb go on"
    ASK = "stop silently"
    SHOW = "stop as gdb does anyway, like after a step; silently where gdb does not and comes again"


class _Guard(internal.Internal):
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
                free = self._guards.mode is Mode.FREE
                self._guards.interrupted = free and interrupt_pending()
        except KeyboardInterrupt:
            return True
        # Not every gdb makes a KeyboardInterrupt of one that was held back (16 does not always).
        return stop or self._guards.interrupted


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
        self.repeated = False
        """Whether gdb came again to where it was to stop at once, and was stopped silently."""
        self._comes = 0
        self._added: _Guard | None = None
        self.interrupted = False
        """Whether Ctrl-C came during the last hit; gdb has then stopped and printed nothing."""
        self._return_address: int | None = None
        """Where a command of gdb's waits for a function to return, and not in every frame."""
        self._follows = False
        """Whether that command may make gdb step by itself, until its next stop."""
        self._followed: tuple[int, int, int] | None = None
        """The thread that a command of gdb's, or a watchpoint of its own, makes gdb step itself."""
        self._patience = watches.Patience()
        self._places: dict[int, _Guard] = {}
        """Guards that served to follow, disabled by now: code is often come to again."""

    def expect(self, *, returning: int | None, following: bool) -> None:
        """Guard as a command of gdb's needs it that is about to begin, until its next stop.

        returning: the address to which a function returns, if it waits for that.  following: it may
        make gdb step by itself.
        """
        self._return_address, self._follows = returning, following

    def over(self) -> None:
        """What was expected of a command of gdb's is over."""
        self._return_address, self._follows, self._followed = None, False, None

    def refresh(self, *, resuming: bool = False) -> None:
        """Guard what has to be guarded now, and nothing else; for when the guest is at rest.

        resuming: gdb is about to resume the guest, and may step it by itself.
        """
        wanted = dict.fromkeys(self._stepper.vectors(), frozenset[int]())
        if self._return_address is not None:
            wanted[self._return_address] = frozenset()
        wanted.update(placed.users())
        follows = resuming and (self._follows or bool(watches.numbers()))
        self._followed = selected() if follows else None
        landings = self._stepper.landings() if follows else ()
        self._landings = frozenset(landings) - wanted.keys()
        wanted.update(dict.fromkeys(self._landings, watches.numbers()))
        for address, guard in list(self._guards.items()):
            if address not in wanted or not wanted[address] <= guard.users:
                self._retire(address)
        for address in wanted.keys() - self._guards.keys():
            self._guard(address, wanted[address])
        self._hits = placed.hits()
        for guard in (*self._retired, *self._places.values()):
            if guard.is_valid():
                guard.delete()
        self._retired.clear()
        self._places.clear()

    def _guard(self, address: int, users: frozenset[int]) -> None:
        with suppress(gdb.error):  # no breakpoint of the user's can be there either
            self._guards[address] = _Guard(self, address, users)

    def begin(self, mode: Mode) -> None:
        """gdb is about to resume in place."""
        self.mode, self.stayed, self.repeated, self._comes = mode, False, False, 0

    def leave(self, address: int) -> None:
        """Before gdb lifts what breakpoints it has at an address, and asks for a step of the thread
        that stands there alone.

        The stub ignores that, so the guest would run on, with interrupts whose handlers may wait
        for the other threads.  So the step is made now.  gdb still believes the guest at the
        breakpoint, and its request ends where it begins: at a guard, or at a breakpoint of gdb's.
        """
        if address not in self._guards:
            return
        for place in self._stepper.leave(address):
            if place not in self._guards:
                self._guard(place, frozenset())
                self._landings |= {place}

    def only_at(self, addresses: frozenset[int]) -> None:
        """Have no guards elsewhere while a command of ours steps: they would show in its stop."""
        for address in self._guards.keys() - addresses:
            self._retire(address)

    def inserted_at_rest(self) -> frozenset[int]:
        """Where gdb's breakpoints are in the guest while gdb is at rest.

        With `breakpoint always-inserted` that is everywhere, but where gdb has stepped off one: it
        inserts that one when a breakpoint is enabled the next time (gdb/breakpoint.c
        update_global_location_list).  So one is, and they are everywhere.
        """
        if not gdb.parameter("breakpoint always-inserted"):
            return frozenset()
        for guard in self._guards.values():
            guard.enabled = False
            guard.enabled = True
            break
        return placed.users_addresses() | self._guards.keys()

    def _retire(self, address: int) -> None:
        guard = self._guards.pop(address)
        if guard.is_valid():
            guard.enabled = False
            self._retired.append(guard)

    def of_users(self, address: int) -> bool:
        """Whether a breakpoint of the user's is at an address."""
        return address in self._guards and bool(self._guards[address].users)

    @contextmanager
    def at(self, address: int) -> Iterator[None]:
        """With a guard at an address, whatever is there."""
        added = address not in self._guards
        if added:
            self._guards[address] = self._added = _Guard(self, address, frozenset())
        try:
            yield
        finally:
            if added and address in self._guards:
                self._retire(address)

    def vanish(self) -> None:
        """gdb has stopped, and tells of it without the guard that `at` has added."""
        added, self._added = self._added, None
        if added is not None and added.is_valid():
            self._guards = {one: guard for one, guard in self._guards.items() if guard is not added}
            added.delete()

    def clear(self) -> None:
        """Remove all guards."""
        for address in list(self._guards):
            self._retire(address)
        for guard in (*self._retired, *self._places.values()):
            if guard.is_valid():
                guard.delete()
        self._retired.clear()
        self._places.clear()

    def hit(self, address: int) -> bool:
        """Whether gdb has to stop because of the guard."""
        before, self._hits = self._hits, placed.hits()
        self.stayed = any(
            hits != before.get(number, (0, 0))[0] and ignored >= before.get(number, (0, 0))[1]
            for number, (hits, ignored) in self._hits.items()
        )
        if self.stayed:
            if self.mode is Mode.SHOW:  # a breakpoint is always shown with its function
                gdb.execute("set print frame-info auto")
            return False
        if self.mode is not Mode.FREE:
            self._comes += 1
            self.repeated = self.mode is Mode.SHOW and self._comes > 1
            return self.mode is Mode.ASK or self.repeated
        users = placed.users_addresses()
        if self._followed is not None and self._followed == selected():
            self._patience.stepped()
            if self._follows_on(address, users):
                return False
        elif address in self._landings and address not in users:
            # Its step has ended.  Where gdb finds no breakpoint enabled it asks for no other step.
            self._retire(address)
            return False
        if placed.is_momentary(address):
            return False
        planted = users | self._guards.keys()
        if address in self._stepper.vectors() and self._stepper.comes_home(planted):
            return False
        return not self._stepper.step_off(address, planted)

    def _follows_on(self, address: int, users: frozenset[int]) -> bool:
        """gdb has come to a guard with the thread that it steps: guard where its next step ends.

        False where it does not step but runs to a place, and has to be got off a breakpoint here.
        """
        places: list[int] = []
        for row in placed.momentary_rows():
            if (
                row.kind in _PLACES
                and row.address is not None
                and not (row.address == address and placed.in_frame(row))
            ):
                places.append(row.address)
        if places and not watches.numbers():
            if address not in users and address not in places:
                self._rest(address)
                self._plant(places)
                return True
            self._plant(places)
            return False
        self._plant(self._stepper.landings())
        # A breakpoint of the user's here is gdb's to get off: its step may just have ended.
        if address not in users:
            self._rest(address)
        return True

    def _plant(self, places: Iterable[int]) -> None:
        for place in places:
            if place not in self._guards:
                if place in self._places:
                    guard = self._guards[place] = self._places.pop(place)
                    guard.enabled = True
                else:
                    self._guard(place, frozenset())

    def _rest(self, address: int) -> None:
        guard = self._guards.pop(address)
        guard.enabled = False
        self._places[address] = guard


_PLACES = ("step resume", "hp step resume", "until", "finish")
"""gdb's breakpoints for where it runs to while a command of its own is not done."""

# SPDX-License-Identifier: MIT
"""Our breakpoints while the guest runs, and gdb's breakpoints that are lifted meanwhile."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from ..errors import StubGone, StubRefused
from ..rsp.breakpoints import Breakpoint
from ..stub.stub import Stub

_LATELY = 8  # steps: a fault's vector that none of so many has needed is removed


class Undo(enum.Enum):
    """When a step's changes in the guest are undone, and its temporary breakpoints removed."""

    AT_ONCE = "before the stop is told"
    KEEP_PLANTED = "at once, but breakpoints stay planted until `quiesce`"
    DEFER = "with the next packet that it could matter for, or at `quiesce`"


class TemporaryBreakpoints:
    """The temporary breakpoints of one engine."""

    def __init__(self, stub: Stub, log: Callable[..., None], undo: Undo) -> None:
        self._stub = stub
        self._log = log
        self._undo = undo
        self._planted: dict[int, None] = {}
        self._needed: dict[int, int] = {}  # by vector of a fault, which step needed it last
        self._count = 0  # of steps
        self._resuming = False

    @contextmanager
    def planted(
        self, must: tuple[int, ...], may: tuple[int, ...] = ()
    ) -> Iterator[Collection[int]]:
        """Plant temporary breakpoints at these addresses and nowhere else, while the guest runs.

        Gives all the addresses.  may: those at which the stub may refuse one.  Such a block cannot
        be within another: the outer one's breakpoints would be removed.  StubRefused: the stub
        refuses one of `must`.
        """
        assert not self._resuming, "temporary breakpoints within temporary breakpoints"
        wanted = dict.fromkeys(must, True)
        wanted.update((address, False) for address in may if address not in wanted)
        self._resuming = True
        try:
            self._remove([address for address in self._planted if address not in wanted])
            for address, needed in wanted.items():
                if address not in self._planted:
                    self._plant(address, needed=needed)
            yield wanted
        except BaseException:
            with suppress(StubGone, StubRefused):
                self.quiesce()
            raise
        finally:
            self._resuming = False
        if self._undo is Undo.AT_ONCE:
            with suppress(StubRefused):  # what the stub refuses is removed with the next packets
                self.remove_all()

    def refused(self, wanted: Collection[int]) -> bool:
        """Whether the stub has refused a breakpoint at one of these addresses."""
        return any(address not in self._planted for address in wanted)

    def resumed(self) -> None:
        """Remove the breakpoints of a resume that has ended, unless they are to stay planted."""
        if self._undo is not Undo.KEEP_PLANTED:
            self.remove_all()

    def remove_all(self) -> None:
        """Remove all, now or with the next packets."""
        self._remove(list(self._planted))

    def quiesce(self) -> None:
        """Another client may look at the guest: remove all, and send whatever is queued."""
        self.remove_all()
        self._stub.send_queued()

    def with_earlier_vectors(
        self, faults: tuple[int, ...], pc: int, stops: tuple[int, ...]
    ) -> tuple[int, ...]:
        """The vectors of faults to plant for a step at `pc` that stops at `stops`.

        These are its own `faults`, and those that a step needed lately and that the stub still has:
        so they need not be planted again for the next load.
        """
        if self._undo is Undo.AT_ONCE:
            return faults
        self._count = now = self._count + 1
        needed = self._needed
        for one in faults:
            needed[one] = now
        if len(needed) == len(faults):
            return faults
        for one, last in list(needed.items()):
            there = one in self._planted or self._stub.removes(one)
            if now - last > _LATELY or (last != now and not there):
                del needed[one]
        return tuple(one for one in needed if one != pc and one not in stops)

    @contextmanager
    def lifted(self, breakpoints: list[Breakpoint]) -> Iterator[None]:
        """Lift gdb's breakpoints at the pc of a step during it: a stub that steps ignores them.

        gdb itself lifts one where it stopped at it, but not where pc was set to it, or another vCPU
        stands at it.
        """
        lifted: list[Breakpoint] = []
        try:
            for one in breakpoints:
                self._stub.expect_ok(one.removal, "to lift gdb's breakpoint")
                lifted.append(one)
            yield
        finally:
            with suppress(StubGone):
                for one in lifted:
                    try:
                        self._stub.expect_ok(one.insertion, "")
                    except StubRefused as error:
                        self._log("{}", error)  # tried once more, as it is the user's
                        self._stub.expect_ok(one.insertion, "to put gdb's breakpoint back")

    def _plant(self, address: int, *, needed: bool) -> None:
        def refused(error: StubRefused) -> bool:
            self._planted.pop(address, None)
            if not needed:
                self._log("not planted, and not needed: {}", error)
            return not needed

        self._planted[address] = None
        self._stub.insert(address, refused)

    def _remove(self, addresses: list[int]) -> None:
        for address in reversed(addresses):
            with suppress(StubGone):
                self._remove_one(address)
            del self._planted[address]

    def _remove_one(self, address: int) -> None:
        def refused(error: StubRefused) -> bool:
            self._log("{}", error)
            return True

        self._stub.remove(address, refused)

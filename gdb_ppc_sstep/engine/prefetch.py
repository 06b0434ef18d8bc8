# SPDX-License-Identifier: MIT
"""What will be asked of the stub next, asked for at once.

A packet takes the stub less time than waiting for its reply does.  Nothing here changes what a step
does; a wrong guess costs a packet more.
"""

from __future__ import annotations

from contextlib import suppress

from ..errors import StubRefused
from ..ppc import msr
from ..rsp.breakpoints import GdbBreakpoints
from ..stub.stub import Stub
from .steps import Armed
from .targets import Target

_STATE = ("msr", "pc", "srr0", "srr1")
_TASK = ("r1", "pid")


class Prefetch:
    """The guesses of one engine."""

    def __init__(self, stub: Stub, gdbs: GdbBreakpoints) -> None:
        self._stub = stub
        self._gdbs = gdbs
        self._words = stub.breakpoints_are_words
        self._registers: tuple[str, ...] = _STATE  # that a step needs
        self._next: int | None = None  # where the next instruction is
        self._for_others: tuple[bytes, ...] = ()
        self._hit: int | None = None  # where gdb's breakpoint was that was hit last

    def at_stop_for_others(self, payloads: tuple[bytes, ...]) -> None:
        """What somebody else will ask when the guest has stopped the next time."""
        self._for_others = payloads

    def before_step(self) -> None:
        """A step is to be planned."""
        self._stub.prefetch(self._registers, () if self._next is None else (self._next,))

    def stepping(self, state: int) -> None:
        """A step is planned with this MSR; the next one will need the same registers."""
        self._registers = _STATE + (_TASK if state & msr.PR else ())
        if msr.relocates(state):
            self._registers += ("lpcr",)

    def arrived(self, pc: int) -> None:
        """A step has ended here."""
        self._next = pc

    def at_stop(self, target: Target | None, outstanding: list[Armed]) -> None:
        """The guest has stopped, and the selected thread is to be looked at."""
        registers, code = self._of_stop(target, outstanding)
        self._stub.prefetch(registers, code, self._for_others)

    def _of_stop(
        self, target: Target | None, outstanding: list[Armed]
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        untraced = target.registers if target is not None else ()
        if untraced and all(one.vector is None for one in outstanding):
            return untraced, ()
        armed = outstanding[-1]
        registers = self._registers if armed.task is None else (*self._registers, *_TASK)
        if armed.vector is None or self._words:
            return registers, ()
        # The handler's code is that of the step only if memory is the same in both.
        handler = msr.in_handler(armed.state, armed.vector)
        same = not (handler ^ armed.state) & (msr.IR | msr.DR)
        return registers, armed.successors if same else ()

    def look_ahead(self, payloads: tuple[bytes, ...]) -> None:
        """At a stop that is told: what gdb and the next step will ask for, if it is unknown."""
        stub = self._stub
        self._for_others = payloads
        if self._words:
            return
        with suppress(StubRefused):
            if stub.known_register("pc") is None:
                # Often at that which was hit last, or at that which was planted for this resume.
                guessed = (self._hit, self._gdbs.last_inserted)
                places = [place for place in guessed if place is not None and place in self._gdbs]
                stub.prefetch(_STATE, places, payloads)
                pc = stub.read("pc")
                if pc in self._gdbs:
                    self._hit = pc
            stub.prefetch(_STATE, (stub.read("pc"),), payloads)
            stub.forget_refusals()

# SPDX-License-Identifier: MIT
"""Guesses what the stub will be asked next, and asks for all of it at once.

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
from .vectors import Vectors

_PLACE = ("msr", "pc")
_STATE = (*_PLACE, "srr0", "srr1")
_TASK = ("r1", "pid")


class Prefetch:
    """The guesses of one engine."""

    def __init__(self, stub: Stub, vectors: Vectors, gdbs: GdbBreakpoints) -> None:
        self._stub = stub
        self._vectors = vectors
        self._gdbs = gdbs
        self._traced: tuple[str, ...] = _STATE  # what a step by the Trace interrupt needs
        self._relocates = False  # and whether it needs LPCR
        self._registers: tuple[str, ...] = _PLACE  # what the next step needs, if it is as the last
        self._next: int | None = None  # the address of the next instruction
        self._for_others: tuple[bytes, ...] = ()
        self._hit: int | None = None  # the address of gdb's breakpoint that was hit last

    def at_stop_for_others(self, payloads: tuple[bytes, ...]) -> None:
        """Note the packets that gdb will send when the guest has stopped the next time."""
        self._for_others = payloads
        self._registers = _PLACE

    def before_step(self, *, alone: bool) -> None:
        """Ask for what planning a step needs.  alone: no other vCPU runs during the step."""
        registers = _PLACE if alone else self._traced
        if not alone and self._relocates and not self._vectors.is_proved:
            registers += ("lpcr",)
        self._stub.prefetch(registers, () if self._next is None else (self._next,))

    def stepping(self, state: int, *, traced: bool) -> None:
        """A step is planned with this MSR: assume that the next one will need the same registers.

        traced: it is done by the Trace interrupt.
        """
        if not traced:
            self._registers = _PLACE
            return
        self._registers = self._traced = _STATE + (_TASK if state & msr.PR else ())
        self._relocates = msr.relocates(state)

    def arrived(self, pc: int) -> None:
        """A step has ended at this pc."""
        self._next = pc

    def at_stop(self, target: Target | None, outstanding: list[Armed]) -> None:
        """The guest has stopped: ask for what settling the stop of the selected thread needs."""
        registers, code = self._of_stop(target, outstanding)
        state = outstanding[-1].state if outstanding else None
        self._stub.prefetch(registers, code, self._for_others, state=state)

    def _of_stop(
        self, target: Target | None, outstanding: list[Armed]
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The registers and the addresses of code that settling the stop will read."""
        untraced = target.registers if target is not None else ()
        if target is not None and all(one.vector is None for one in outstanding):
            return (*_PLACE, *untraced), target.stops[:1]
        armed = outstanding[-1]
        registers = self._registers if armed.task is None else (*self._registers, *_TASK)
        if armed.vector is None:
            return registers, ()
        # The vCPU has the handler's MSR: it sees the step's code if translation is as it was.
        handler = msr.in_handler(armed.state, armed.vector)
        same = not (handler ^ armed.state) & (msr.IR | msr.DR)
        return registers, armed.successors if same else ()

    def look_ahead(self, payloads: tuple[bytes, ...]) -> None:
        """At a stop that gdb is told: ask for what gdb and the next step will ask for."""
        stub = self._stub
        self._for_others = payloads
        with suppress(StubRefused):
            if stub.known_register("pc") is None:
                # pc is often at the breakpoint that was hit last, or that gdb inserted last.
                guessed = (self._hit, self._gdbs.last_inserted)
                places = [place for place in guessed if place is not None and place in self._gdbs]
                stub.prefetch(self._registers, places, payloads)
                pc = stub.read("pc")
                if pc in self._gdbs:
                    self._hit = pc
            stub.prefetch(self._registers, (stub.read("pc"),), payloads)
            stub.forget_refusals()

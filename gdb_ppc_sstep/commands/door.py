# SPDX-License-Identifier: MIT
"""The commands door: the engine on gdb's own connection, behind gdb's back.

gdb believes the guest where it last saw it stop.  Raw packets move it; then gdb's caches are
flushed (`view`), and gdb is made to report the stop (`report`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import gdb

from ..engine.engine import Engine
from ..engine.release import NOT_HOME, RELEASE_TIME
from ..engine.report import Teller, leftovers
from ..engine.temporary import Undo
from ..errors import SstepError
from ..options import Options
from ..ppc.isa import Instruction
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.private import Stretch
from ..rsp.resume import Action, Resume, StopReply
from ..stub.introduce import introduce
from .guards import Guards
from .link import GdbLink, Log, interrupt_pending, interrupts_held, thread_id
from .report import Reporter
from .resuming import Resuming
from .view import View
from .watches import SoftwareOnly


class UnrequestedStop(Exception):
    """The guest stopped for something else than was asked, and gdb has not yet been told."""

    def __init__(self, stop: StopReply) -> None:
        super().__init__(stop.payload.decode("latin-1"))
        self.stop = stop


class Interrupted(Exception):
    """Ctrl-C was typed, and is still gdb's to see; the guest stands between two instructions."""


class CommandsDoor:
    """One connection that is stepped by commands (see `session.doors.Door`).

    pc: where the guest is, in `behind_gdb`.
    """

    steps_by_commands = True

    def __init__(
        self, connection: gdb.RemoteTargetConnection, fd: int, log: Log, *, kvm: bool | None
    ) -> None:
        """fd: gdb's descriptor of the connection.  kvm: see `introduce`.

        SstepError if the guest cannot be stepped.
        """
        self._log = log
        self._breakpoints = GdbBreakpoints()
        with interrupts_held():
            is_qemu = kvm is not None
            self._link = link = GdbLink(connection, fd, self._breakpoints, is_qemu=is_qemu)
            self._stub = stub = introduce(link, kvm=kvm)
        self._engine = Engine(
            stub,
            lambda line, *values: log(line.format(*values)),
            breakpoints=self._breakpoints,
            undo=Undo.KEEP_PLANTED,
        )
        self._teller = Teller(self._engine, stub, link.peer.recent, lambda: link.peer.sent)
        self._view = View(stub, self._engine.quiesce)
        self.guards = Guards(self)
        self.resuming = Resuming(self.guards, lambda: self.busy)
        self._software_only = SoftwareOnly()
        self._software_only.switch(True)
        self.reporter = Reporter(stub, self._engine, self._view, self.guards)
        self.pc = 0

    # -- as a `Door`

    @property
    def busy(self) -> bool:
        """Whether the guest is being moved behind gdb's back."""
        return self._view.busy

    @property
    def warning(self) -> str:
        """See `Door`."""
        if not self._stub.loses_breakpoints:
            return ""
        return (
            " With KVM HV `continue` and other commands may hang at a breakpoint, as gdb itself "
            "resumes the guest at this door; with `set ppc-sstep door wire`, in a new gdb, they do "
            "not."
        )

    def activate(self, active: bool) -> None:
        """See `Door`.  Who finds the door looks whether it is active."""
        self._software_only.switch(active)

    def apply(self, options: Options, *, debug: bool, debug_file: str) -> None:
        """See `Door`.  The log is of who made the door."""
        self._engine.apply(options)
        self._teller.apply(options)
        self._link.log_packets(self._log if debug else None)

    def status(self, *, active: bool) -> dict[str, Any]:
        """See `Door`."""
        with self.behind_gdb():
            return self._teller.status(active=active)

    def report(self, *, active: bool) -> dict[str, Any]:
        """See `Door`."""
        with self.behind_gdb():
            return self._teller.report(active=active)

    def log_end(self) -> str:
        """See `Door`.  The log is of who made the door."""
        return ""

    def leftovers(self, known: str, *, clean: bool) -> list[dict[str, Any]]:
        """See `Door`."""
        with self.behind_gdb():
            if clean:
                self._view.moved()
            return leftovers(self._engine, known, clean=clean)

    def expect_lines(self, thread: bytes, stretches: Sequence[Stretch]) -> None:
        """See `Door`.  It steps by lines itself."""

    def stopped(self) -> None:
        """gdb has stopped.

        Nothing is sent or flushed for that: what gdb reads to show it serves what comes next.
        """
        self.resuming.at_stop()
        if not self.busy:
            self._view.seen()
            self.guards.over()

    def leaving(self) -> None:
        """See `Door`.  Bring interrupted steps home, or say that it failed."""
        if not self._engine.outstanding:
            return
        end = time.monotonic() + RELEASE_TIME
        home = False
        with suppress(SstepError), self.behind_gdb(), self._link.interrupting_at(end):
            self._view.moved()
            home = self._engine.release(lambda: time.monotonic() < end)
        if not home:
            gdb.write(NOT_HOME + "\n", gdb.STDERR)
        self._engine.disown()

    def closed(self) -> None:
        """See `Door`."""
        self._software_only.switch(False)
        self.guards.clear()

    def news(self) -> str:
        """See `Door`.  It logs as it goes."""
        return ""

    def ended(self) -> bool:
        """See `Door`."""
        return True

    def record(self) -> str:
        """See `Door`.  gdb is what would be killed."""
        return ""

    def last(self) -> dict[str, Any]:
        """See `Door`."""
        return self._teller.without_asking()

    # -- behind gdb's back

    @contextmanager
    def behind_gdb(
        self, planted: frozenset[int] | None = None, *, seen: bool = True, at: int | None = None
    ) -> Iterator[None]:
        """Move the selected thread by raw packets; gdb sees it afterwards.

        planted: where gdb's own breakpoints are in the guest now; None: gdb is at rest.  seen: see
        `View.behind`.  at: where the thread probably is.
        """
        thread = thread_id(gdb.selected_thread())
        with interrupts_held(), self._view.behind(thread, seen=seen):
            self._breakpoints.clear()
            for address in self.guards.inserted_at_rest() if planted is None else planted:
                self._breakpoints.insert(Breakpoint(0, address, 4))
            # Not by gdb.newest_frame(), which unwinds its caller as well: a dozen packets.
            self._stub.changed(None if self._view.several else self._view.thread)
            self._stub.select(self._view.thread)
            self._stub.prefetch(("msr", "pc"), () if at is None else (at,))
            self.pc = self._stub.read("pc")
            yield

    def flush(self) -> None:
        """Have gdb see where the guest is now."""
        self._view.flush()

    def stack_pointer(self) -> int:
        """r1 of the selected thread."""
        return self._stub.read("r1")

    def _alone(self, verb: bytes) -> Resume:
        """A request to resume the selected thread while the others stand still."""
        if interrupt_pending():
            raise Interrupted
        self._view.moved()
        return Resume((Action(verb, b"", self._stub.thread),))

    def step(self) -> Instruction | None:
        """Step one instruction of the selected thread, which it gives; the others stand still.

        Interrupted, UnrequestedStop, SstepError: the guest is where it was.
        """
        with self._teller.paced():
            outcome = self._engine.resume(self._alone(b"s"))
        self._arrived(outcome.stop)
        return outcome.instruction

    def run_range(self, start: int, end: int, stops: frozenset[int]) -> bool:
        """Run the selected thread through code, but for calls and returns; the others stand still.

        False where it is to be stepped.  stops: end as well where these are.  Raises as `step`.
        """
        request = self._alone(b"c")
        with self._teller.paced():
            stop = self._engine.run_range(request, start, end, stops, into_calls=False)
        if stop is None:
            return False
        self._arrived(stop)
        return True

    def straight(self, limit: int, stops: frozenset[int]) -> int:
        """Up to so many instructions of the selected thread, as far as each leads to the next one.

        How many it has executed, 0 where it is to be stepped.  Else see `run_range`.
        """
        with self._teller.paced():
            done = self._engine.straight(self._alone(b"c"), limit, stops)
        if done is None:
            return 0
        self._arrived(done[0])
        return done[1]

    def run_to(self, stops: tuple[int, ...]) -> None:
        """Run to one of these addresses, with the threads that gdb would run as well."""
        self._view.moved()
        thread, locked = self._stub.thread, gdb.parameter("scheduler-locking") in ("on", "step")
        action = Action(b"c", b"", thread if locked else None)
        self._arrived(self._engine.run_to(Resume((action,)), stops), thread)

    def _arrived(self, stop: StopReply, thread: bytes | None = None) -> None:
        if not stop.is_breakpoint or (thread is not None and stop.thread != thread):
            raise UnrequestedStop(stop)
        self.pc = self._stub.read("pc")

    # -- for the guards (see `stepper.Stepper`)

    def landings(self) -> tuple[int, ...]:
        """See `stepper.Stepper`."""
        try:
            with self.behind_gdb(seen=False, at=self.resuming.stopped_at):
                return self._engine.landings()
        except SstepError as error:
            self._log(f"no guards at the next instruction: {error}")
            return ()

    def vectors(self) -> tuple[int, ...]:
        """See `stepper.Stepper`."""
        return self._engine.guarded

    def step_off(self, pc: int, planted: frozenset[int]) -> bool:
        """See `stepper.Stepper`."""
        # Where gdb has called a function meanwhile (dprintf-style call) its breakpoints are out.
        for lifted in (planted, frozenset[int]()):
            try:
                with self.behind_gdb(lifted, at=pc):
                    if planted.isdisjoint(self._engine.landings()):
                        self.step()
            except Interrupted:
                return False
            except (SstepError, UnrequestedStop) as error:
                said = str(error)
                if isinstance(error, UnrequestedStop):
                    break
            else:
                return True
        gdb.write(f"ppc-sstep: stopped at a breakpoint: {said}\n", gdb.STDERR)
        return False

    def leave(self, pc: int) -> tuple[int, ...]:
        """See `stepper.Stepper`."""
        try:
            with self.behind_gdb(seen=False, at=pc):
                if self.pc != pc:
                    return ()
                try:
                    self.step()
                except UnrequestedStop as unrequested:
                    self._log(f"a step off a breakpoint ended elsewhere: {unrequested}")
                    return (self._stub.read("pc"),)
                except (Interrupted, SstepError) as error:
                    self._log(f"gdb has to get off the breakpoint at {pc:#x}: {error}")
                # Behind an error gdb's breakpoints may still be in the guest.
                return (self.pc,) if self.pc != pc else self._engine.landings()
        except SstepError as error:
            self._log(f"no guards at the instruction behind {pc:#x}: {error}")
            return ()

    def comes_home(self, planted: frozenset[int]) -> bool:
        """See `stepper.Stepper`."""
        try:
            with self.behind_gdb(planted):
                self._view.moved()
                return self._engine.collect_returned_step(self._stub.thread)
        except SstepError as error:
            self._log(str(error))
            return False

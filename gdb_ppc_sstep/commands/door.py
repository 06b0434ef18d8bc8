# SPDX-License-Identifier: MIT
"""The commands door: the engine on gdb's own connection, behind gdb's back, and how gdb is told.

gdb believes the guest where it last saw it stop.  Raw packets move it; then gdb's caches are
flushed, and `show` lets gdb resume a guest that stands on a breakpoint: it stops where it is, and
gdb has one ordinary stop to report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress

import gdb

from ..engine import report
from ..engine.engine import NOT_HOME, RELEASE_TIME, Engine
from ..engine.temporary import Undo
from ..errors import SstepError
from ..ppc.isa import Instruction, Kind
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.resume import Action, Resume, StopReply
from ..session.detect import uses_kvm
from ..stub.introduce import introduce
from .guards import Guards, Mode
from .link import GdbLink, interrupt_pending, interrupts_held


class Elsewhere(Exception):
    """The guest stopped for something else than was asked, and gdb has not yet been told."""

    def __init__(self, stop: StopReply) -> None:
        super().__init__(stop.payload.decode("latin-1"))
        self.stop = stop


class Interrupted(Exception):
    """Ctrl-C was typed, and is still gdb's to see; the guest stands between two instructions."""


class CommandsDoor:
    """One connection that is stepped by commands."""

    def __init__(self, connection: gdb.RemoteTargetConnection, log: Callable[[str], None]) -> None:
        """SstepError if the guest at the other end cannot be stepped."""
        self._log = log
        with interrupts_held():
            self.stub = introduce(GdbLink(connection, log), kvm=uses_kvm())
        self._breakpoints = GdbBreakpoints()
        self.engine = Engine(
            self.stub,
            lambda line, *values: log(line.format(*values)),
            breakpoints=self._breakpoints,
            undo=Undo.KEEP_PLANTED,
        )
        self.guards = Guards(self)
        self.pc = 0
        """Where the guest is, in `behind_gdb`."""
        self._ahead = self._moved = False
        """Whether the stub was sent packets that gdb does not know of, and whether these have moved
        the guest.
        """
        self._thread: bytes | None = None
        self._patience: object = None
        """What the user has set remotetimeout to, while it is another."""
        self.busy = False
        """Whether the guest is being moved behind gdb's back."""

    # -- behind gdb's back

    @contextmanager
    def behind_gdb(self, planted: frozenset[int] = frozenset()) -> Iterator[None]:
        """Move the selected thread by raw packets; gdb sees it afterwards.

        planted: where gdb's own breakpoints are in the guest now.
        """
        with interrupts_held(), self._busy():
            self._thread = thread_id(gdb.selected_thread())
            self._breakpoints.clear()
            for address in planted:
                self._breakpoints.insert(Breakpoint(0, address, 4))
            self._ahead = True
            try:
                # Not by gdb.newest_frame(), which unwinds its caller as well: a dozen packets.
                self.stub.changed(None)
                self.stub.select(self._thread)
                self.stub.prefetch(("msr", "pc"))
                self.pc = self.stub.read("pc")
                yield
            finally:
                self.flush()

    def flush(self) -> None:
        """Have gdb see where the guest is now.

        gdb remembers which thread it has selected in the stub; that is this one at the latest when
        the last command has read its registers (gdb/top.c execute_command looks for the selected
        frame at its end).
        """
        with suppress(SstepError):
            self.engine.quiesce()
        thread = gdb.selected_thread()
        if self._ahead and thread is not None:  # else the connection is gone
            self.stub.select(self._thread)
            # Where the guest has not been moved a frame that the user has selected stays selected.
            keeping = "" if self._moved else f"thread apply {thread.num} -q "
            gdb.execute("maintenance flush dcache", to_string=True)
            gdb.execute(keeping + "maintenance flush register-cache", to_string=True)
        self._ahead = self._moved = False
        if self._patience is not None:
            gdb.execute(f"set remotetimeout {self._patience}")
            self._patience = None

    def _hurry(self) -> None:
        """Have gdb wait a second for a reply, until `flush`: Ctrl-C is noticed (see `gdblink`)."""
        if self._patience is None:
            self._patience = gdb.parameter("remotetimeout")
            gdb.execute("set remotetimeout 1")

    @contextmanager
    def _busy(self) -> Iterator[None]:
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    def _alone(self, verb: bytes) -> Resume:
        """A request to resume the selected thread while the others stand still."""
        if interrupt_pending():
            raise Interrupted
        self._ahead = self._moved = True
        return Resume((Action(verb, b"", self.stub.thread),))

    def step(self) -> Instruction | None:
        """Step one instruction of the selected thread, which it gives; the others stand still.

        Interrupted, Elsewhere, SstepError: the guest is where it was.
        """
        outcome = self.engine.resume(self._alone(b"s"))
        self._arrived(outcome.stop)
        return outcome.instruction

    def through(self, start: int, end: int, stops: frozenset[int]) -> bool:
        """Run the selected thread through code, but for calls and returns; the others stand still.

        False where it is to be stepped.  stops: end as well where these are.  Raises as `step`.
        """
        request = self._alone(b"c")
        self._hurry()
        stop = self.engine.run_range(request, start, end, stops, into_calls=False)
        if stop is None:
            return False
        self._arrived(stop)
        return True

    def straight(self, limit: int, stops: frozenset[int]) -> int:
        """Up to so many instructions of the selected thread, as far as each leads to the next one.

        How many it has executed, 0 where it is to be stepped.  Else see `through`.
        """
        done = self.engine.straight(self._alone(b"c"), limit, stops)
        if done is None:
            return 0
        self._arrived(done[0])
        return done[1]

    def run_to(self, stops: tuple[int, ...]) -> None:
        """Run to one of these addresses, with the threads that gdb would run as well."""
        self._ahead = self._moved = True
        locked = gdb.parameter("scheduler-locking") in ("on", "step")
        thread = self.stub.thread
        action = Action(b"c", b"", thread if locked else None)
        self._hurry()
        self._arrived(self.engine.run_to(Resume((action,)), stops), thread)

    def _arrived(self, stop: StopReply, thread: bytes | None = None) -> None:
        if not stop.is_breakpoint or (thread is not None and stop.thread != thread):
            raise Elsewhere(stop)
        self.pc = self.stub.read("pc")

    def status(self, *, active: bool) -> dict[str, object]:
        """See `report.status`; the guest is at rest."""
        with self.behind_gdb():
            return report.status(self.engine, self.stub, active=active)

    def left(self, known: str, *, clean: bool) -> list[dict[str, object]]:
        """See `report.leftovers`; the guest is at rest."""
        with self.behind_gdb():
            self._moved = clean
            return report.leftovers(self.engine, known, clean=clean)

    # -- gdb told

    def show(self, *, same_frame: bool, hide: int = 0) -> None:
        """Have gdb report the stop where the guest is; there the user's breakpoints have their say.

        same_frame: the step ends in the frame that it began in; gdb shows only the line then.
        hide: how many inlined calls that begin here are not to be shown as frames.
        """
        if self.stub.instruction(self.pc).kind is Kind.TRAP:
            # gdb takes it for a breakpoint of the program's, and would resume behind it
            # (gdb/infrun.c resume_1, "permanent breakpoint"): there is no event then.
            self.flush()
            print_location(same_frame=same_frame)
            return
        if hide:
            self._show_call_site(same_frame=same_frame)
            return
        what = f"advance *{self.pc:#x}"
        if same_frame and gdb.parameter("print frame-info") == "auto":
            what = f"with print frame-info source-line -- {what}"
        self._resume_in_place(what, Mode.SHOW)

    def _show_call_site(self, *, same_frame: bool) -> None:
        """`advance` shows the inlined function; a silent stop is at its call, as after a step."""
        with self.guards.at(self.pc):
            if not self.ask():
                print_location(same_frame=same_frame)

    def show_interrupted(self) -> None:
        """After Ctrl-C where gdb has stopped and printed nothing: where that is."""
        print_location(same_frame=False)
        raise KeyboardInterrupt

    def show_elsewhere(self, stop: StopReply) -> None:
        """Have gdb report a stop that was not asked for, by whichever thread."""
        if stop.thread is None:
            raise SstepError(f"the guest stopped, and will not run on: {stop.payload!r}")
        for thread in gdb.selected_inferior().threads():
            if thread_id(thread) == stop.thread:
                thread.switch()
        self._thread = stop.thread
        self.stub.select(stop.thread)
        self.pc = self.stub.read("pc")
        self.show(same_frame=False)

    def ask(self) -> bool:
        """Whether a breakpoint of the user's stops where the guest is, as gdb then has reported."""
        thread = self.stub.thread
        self._resume_in_place("signal 0", Mode.ASK)
        if not self.guards.stayed:
            self._ahead = True
            self.stub.select(thread)
        return self.guards.stayed

    def _resume_in_place(self, command: str, mode: Mode) -> None:
        """A command of gdb's that resumes, while the guest cannot leave the instruction at pc."""
        self.stub.insert(self.pc)
        self.stub.send_queued()
        self.flush()
        self.guards.mode, self.guards.stayed = mode, False
        try:
            gdb.execute(f"with scheduler-locking on -- {command}")
        finally:
            self.guards.mode = Mode.FREE
            self.stub.changed(None)
            self.stub.remove(self.pc)
            self.stub.send_queued()

    # -- for the guards

    def landings(self, among: Container[int]) -> tuple[int, ...]:
        """See `guards.Stepper`."""
        try:
            with self.behind_gdb():
                return self.engine.landings() if self.pc in among else ()
        except SstepError as error:
            self._log(f"no guards at the next instruction: {error}")
            return ()

    def vectors(self) -> tuple[int, ...]:
        """See `guards.Stepper`."""
        return self.engine.guarded

    def step_off(self, planted: frozenset[int]) -> bool:
        """See `guards.Stepper`."""
        try:
            with self.behind_gdb(planted):
                self.stub.prefetch((), (self.pc,))
                if planted.isdisjoint(self.engine.landings()):
                    self.step()
        except Interrupted:
            return False
        except (SstepError, Elsewhere) as error:
            gdb.write(f"ppc-sstep: stopped at a breakpoint: {error}\n", gdb.STDERR)
            return False
        return True

    def comes_home(self, planted: frozenset[int]) -> bool:
        """See `guards.Stepper`."""
        try:
            with self.behind_gdb(planted):
                self._moved = True
                return self.engine.collect_returned_step(self.stub.thread)
        except SstepError as error:
            self._log(str(error))
            return False

    # -- the end

    def leave(self) -> None:
        """Before the guest is let go: bring interrupted steps home, or say that it failed."""
        if not self.engine.outstanding:
            return
        end = time.monotonic() + RELEASE_TIME
        home = False
        with suppress(SstepError), self.behind_gdb():
            self._hurry()
            self._moved = True
            home = self.engine.release(lambda: time.monotonic() < end)
        if not home:
            gdb.write(NOT_HOME + "\n", gdb.STDERR)
        self.engine.disown()


def thread_id(thread: gdb.InferiorThread) -> bytes:
    """A thread as packets name it."""
    process, lwp, _ = thread.ptid
    single = 42000  # gdb/remote.c magic_null_ptid: a stub without process ids
    return b"%x" % lwp if process == single else b"p%x.%x" % (process, lwp)


def print_location(*, same_frame: bool) -> None:
    """Print what gdb prints at a stop, and the displays."""
    if gdb.parameter("print frame-info") == "auto" and same_frame:
        gdb.execute("with print frame-info source-line -- frame")
    else:
        gdb.write(gdb.execute("frame", to_string=True).replace("#0  ", "", 1))
    gdb.execute("display")

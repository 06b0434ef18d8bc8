# SPDX-License-Identifier: MIT
"""Make gdb report a stop of a guest that was moved behind its back.

gdb resumes a guest that has a breakpoint at pc: it does not move, gdb sees a normal stop there, the
user's breakpoints are evaluated and counted, and gdb reports it with events, MI and displays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import gdb

from ..engine.engine import Engine
from ..errors import SstepError
from ..ppc.isa import Kind
from ..rsp.resume import StopReply
from ..stub.stub import Stub
from . import before, nowhere, placed, source, versions
from .guards import Guards, Mode
from .link import thread_id
from .view import View


class Since(NamedTuple):
    """Where gdb's `until` is to begin, for it to end where the guest is now.

    elsewhere: gdb is to be made believe that the guest is there; else it still does.  tells_frame:
    gdb then sees by itself whether the frame is another one.
    """

    pc: int
    elsewhere: bool
    tells_frame: bool = True


class _Place:
    """An instruction that the guest cannot leave, until gdb has stopped there."""

    def __init__(self, pc: int) -> None:
        self.stayed = False
        self._pc: int | None = pc

    def end(self, stub: Stub, guards: Guards) -> None:
        """gdb has stopped there, if it has not ended before."""
        if self._pc is None:
            return
        pc, self._pc = self._pc, None
        self.stayed, guards.mode = guards.stayed, Mode.FREE
        if not guards.repeated:
            guards.vanish()
        stub.remove(pc)
        stub.send_queued()


class Reporter:
    """For one connection; the guest is always the thread that `View` has selected, at rest."""

    def __init__(self, stub: Stub, engine: Engine, view: View, guards: Guards) -> None:
        self._stub = stub
        self._engine = engine
        self._view = view
        self._guards = guards
        self._place: _Place | None = None
        self.for_mi = False
        """Whether the command is MI's, which prints no frame of its own."""
        self._goes_on = False

    def report(
        self,
        pc: int,
        *,
        same_frame: bool,
        hide: int = 0,
        hides: int = 0,
        since: Since | None = None,
    ) -> None:
        """Make gdb report a normal stop at the present pc.

        same_frame: the step ends in the frame that it began in; gdb shows only the line then.
        hide: how many inlined calls that begin here are not to be shown as frames.  hides: how many
        gdb hides by itself.  since: where gdb's `until` ends here from.
        """
        if self._stub.instruction(pc).kind is Kind.TRAP:
            # gdb takes it for a breakpoint of the program's, and would resume behind it
            # (gdb/infrun.c resume_1, "permanent breakpoint"): there is no event then.
            self._view.flush()
            print_location(same_frame=same_frame)
            return
        if self._guards.of_users(pc) and placed.some_silent(pc):
            if not self.stops_at(pc):  # `advance` prints what it stops at
                with placed.without(pc):
                    self.report(pc, same_frame=same_frame, hide=hide, hides=hides, since=since)
            return
        if since is None and not hide and self._can_be_nowhere():
            # gdb hides no inlined calls then, and sees another frame in any case.
            since = Since(nowhere.ADDRESS, elsewhere=True, tells_frame=not same_frame)
        what = f"advance *{pc:#x}"
        if same_frame and not self.for_mi:
            what = _shown(what, "source-line")
        if since is not None and self._end_until(pc, since, same_frame=same_frame):
            return
        if hide and hide == hides:
            self._report_call_site(pc, same_frame=same_frame)
            return
        if hide and self._shows_call(pc, hide, same_frame=same_frame):
            return
        self._resume_in_place(pc, what, Mode.SHOW)

    def _can_be_nowhere(self) -> bool:
        """Whether gdb's `until` can begin there: gdb looks at the instruction where it begins."""
        code = self._stub.memory(nowhere.ADDRESS, 4) if nowhere.speaks_mi() else b""
        if len(code) < 4 or not nowhere.is_known():
            return False
        instruction = self._stub.instruction(nowhere.ADDRESS)
        return not (instruction.kind is Kind.TRAP or instruction.reserves)

    def _shows_call(self, pc: int, hide: int, *, same_frame: bool) -> bool:
        """Have gdb stop here and show all but so many of the inlined calls that begin here, if it
        has a command that does.
        """
        call = source.inlined_at(pc)[hide]
        if source.names_place(call.name, pc):
            self._view.flush()  # `advance` waits in the selected frame's caller as well
            _select_caller_of(lambda frame: frame.type() == gdb.INLINE_FRAME)
            what = f"advance {call.name}"
        elif versions.shows_where_it_was() and source.beside(pc, call.entry) == hide:
            # gdb takes `finish` for a step that was in the call, in another piece of its code.
            self._believe(pc + 4)
            self._stub.write("pc", pc)
            self._view.moved()
            self._view.flush()
            _select_caller_of(lambda frame: frame.level() < hide - 1)
            what = "finish"
        else:
            return False
        if same_frame and not self.for_mi:
            what = _shown(what, "source-line")
        return self._ends_at_once(pc, what)

    def _believe(self, pc: int) -> None:
        """Make gdb believe that the guest is at pc: it hides no inlined calls of where it was."""
        self._stub.write("pc", pc)
        self._view.moved()
        self._view.flush()
        gdb.parse_and_eval("$pc")  # gdb reads the registers
        self._stub.changed(None)

    def _end_until(self, pc: int, since: Since, *, same_frame: bool) -> bool:
        """Have gdb's own `until` end at the present pc, which it reports as the end of a step, if
        it does end there.
        """
        what = "until"
        if since.elsewhere:
            self._believe(since.pc)
            self._stub.write("pc", pc)
        if not (since.tells_frame or self.for_mi):
            what = _shown(what, "source-line" if same_frame else "source-and-location")
        self._view.moved()
        return self._ends_at_once(pc, what, seen=False)

    def _ends_at_once(self, pc: int, command: str, *, seen: bool = True) -> bool:
        """Whether a command of gdb's ends by itself where the guest stands, as is expected of it.

        If not it would go on without end, for the guest stays there: it is stopped silently.
        """
        thread = self._stub.thread
        before.need("stop")  # there the guard vanishes: a stop at it is another event in Python
        with self._guards.at(pc):
            self._resume_in_place(pc, command, Mode.SHOW, seen=seen)
        if self._guards.repeated:
            self._view.touched()
            self._stub.select(thread)
        return not self._guards.repeated

    def _report_call_site(self, pc: int, *, same_frame: bool) -> None:
        """`advance` to an address shows the innermost inlined function, and to the name of one that
        begins there that one (gdb/inline-frame.c stopped_by_user_bp_inline_frame); a silent stop is
        at the outermost call, as after a step.
        """
        if not self.stops_at(pc, goes_on=False):
            print_location(same_frame=same_frame)

    def end_call(self, pc: int) -> None:
        """Have gdb see that a function has returned that it had called: it stops and puts back what
        was before, and prints nothing.
        """
        self._resume_in_place(pc, "signal 0", Mode.SHOW)

    def report_interrupted(self) -> None:
        """After Ctrl-C where gdb has stopped and printed nothing: where that is."""
        print_location(same_frame=False)
        raise KeyboardInterrupt

    def report_unrequested(self, stop: StopReply) -> None:
        """Make gdb report a stop that was not asked for, by whichever thread."""
        if stop.thread is None:
            raise SstepError(f"the guest stopped, and will not run on: {stop.payload!r}")
        for thread in gdb.selected_inferior().threads():
            if thread_id(thread) == stop.thread:
                thread.switch()
        self._view.thread = stop.thread
        self._stub.select(stop.thread)
        self.report(self._stub.read("pc"), same_frame=False)

    def stops_at(self, pc: int, *, innermost: bool = False, goes_on: bool = True) -> bool:
        """Whether a breakpoint of the user's stops at the present pc, as gdb then has reported.

        innermost: inlined calls that begin here are shown as frames, if it is known to stop.
        goes_on: the command does, if none stops.
        """
        thread = self._stub.thread
        innermost = innermost and placed.always_stops(pc) and not placed.some_silent(pc)
        with self._guards.at(pc):
            how = f"advance *{pc:#x}" if innermost else "signal 0"
            self._goes_on = goes_on
            stayed = self._resume_in_place(pc, how, Mode.ASK)
            self._goes_on = False
        if not stayed:
            self._guards.inserted_at_rest()  # as when the command began
            self._view.touched()
            self._stub.select(thread)
        return stayed

    def ends_command(self) -> bool:
        """Whether the command is over with the stop that gdb tells of; to be asked once a stop."""
        goes_on, self._goes_on = self._goes_on, False
        return not goes_on or self._guards.stayed

    def stopped(self) -> None:
        """gdb has stopped and is about to tell of it: nothing of a resume in place shows."""
        thread = gdb.selected_thread()
        if not self._view.busy or thread is None:  # None: the connection is gone
            return
        self._stub.changed(None)
        if self._place is not None:
            self._place.end(self._stub, self._guards)
        if self._engine.let_interrupts_come(thread_id(thread)):
            self._view.moved()
            self._view.flush()

    def _resume_in_place(self, pc: int, command: str, mode: Mode, *, seen: bool = True) -> bool:
        """A command of gdb's that resumes, while the guest cannot leave the instruction at pc.

        seen: gdb is to see that it is there before it resumes.  Whether a breakpoint of the user's
        has stopped; its commands, which may resume as well, have been executed then.
        """
        place = self._place = _Place(pc)
        self._engine.remove_temporary()  # the one that the last step has planted here may stay
        self._stub.insert(pc)
        self._stub.send_queued()
        self._guards.begin(mode)
        if self._view.several:
            command = f"with scheduler-locking on -- {command}"
        try:
            if self._engine.hold_interrupts():
                before.need("stop")
            if seen:
                self._view.flush()
            gdb.execute(command)
        finally:
            place.end(self._stub, self._guards)
            self.stopped()
        return place.stayed


def _select_caller_of(holds: Callable[[gdb.Frame], bool]) -> None:
    """Select the innermost frame of which this does not hold."""
    frame: gdb.Frame | None = gdb.newest_frame()
    while frame is not None and holds(frame):
        frame = frame.older()
    if frame is not None:
        frame.select()


def _shown(command: str, what: str) -> str:
    """A command that shows this of the frame at its stop, where the user has not said what."""
    if gdb.parameter("print frame-info") != "auto":
        return command
    return f"with print frame-info {what} -- {command}"


def print_location(*, same_frame: bool) -> None:
    """Print what gdb prints at a stop, and the displays."""
    if gdb.parameter("print frame-info") == "auto" and same_frame:
        gdb.execute("with print frame-info source-line -- frame")
    else:
        gdb.write(gdb.execute("frame", to_string=True).replace("#0  ", "", 1))
    gdb.execute("display")

# SPDX-License-Identifier: MIT
"""Make gdb report a stop of a guest that was moved behind its back.

gdb resumes a guest that has a breakpoint at pc: it does not move, gdb sees a normal stop there, the
user's breakpoints are evaluated and counted, and gdb reports it with events, MI and displays.
"""

from __future__ import annotations

import gdb

from ..engine.engine import Engine
from ..errors import SstepError
from ..ppc.isa import Kind
from ..rsp.resume import StopReply
from ..stub.stub import Stub
from . import source
from .guards import Guards, Mode
from .link import thread_id
from .view import View


class Reporter:
    """For one connection; the guest is always the thread that `View` has selected, at rest."""

    def __init__(self, stub: Stub, engine: Engine, view: View, guards: Guards) -> None:
        self._stub = stub
        self._engine = engine
        self._view = view
        self._guards = guards

    def report(self, pc: int, *, same_frame: bool, hide: int = 0) -> None:
        """Make gdb report a normal stop at the present pc.

        same_frame: the step ends in the frame that it began in; gdb shows only the line then.
        hide: how many inlined calls that begin here are not to be shown as frames.
        """
        if self._stub.instruction(pc).kind is Kind.TRAP:
            # gdb takes it for a breakpoint of the program's, and would resume behind it
            # (gdb/infrun.c resume_1, "permanent breakpoint"): there is no event then.
            self._view.flush()
            print_location(same_frame=same_frame)
            return
        what = f"advance *{pc:#x}"
        if hide:
            name = source.inlined_at(pc)[hide].name if hide < source.entered_at(pc) else ""
            if not name or not source.names_place(name, pc):
                self._report_call_site(pc, same_frame=same_frame)
                return
            what = f"advance {name}"
        if same_frame and gdb.parameter("print frame-info") == "auto":
            what = f"with print frame-info source-line -- {what}"
        self._resume_in_place(pc, what, Mode.SHOW)

    def _report_call_site(self, pc: int, *, same_frame: bool) -> None:
        """`advance` to an address shows the innermost inlined function, and to the name of one that
        begins there that one (gdb/inline-frame.c stopped_by_user_bp_inline_frame); a silent stop is
        at the outermost call, as after a step.
        """
        if not self.stops_at(pc):
            print_location(same_frame=same_frame)

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

    def stops_at(self, pc: int) -> bool:
        """Whether a breakpoint of the user's stops at the present pc, as gdb then has reported."""
        thread = self._stub.thread
        with self._guards.at(pc):
            self._resume_in_place(pc, "signal 0", Mode.ASK)
        if not self._guards.stayed:
            self._view.touched()
            self._stub.select(thread)
        return self._guards.stayed

    def stopped(self) -> None:
        """gdb has stopped and is about to tell of it: nothing of a resume in place shows."""
        thread = gdb.selected_thread()
        if not self._view.busy or thread is None:  # None: the connection is gone
            return
        self._stub.changed(None)
        if self._engine.let_interrupts_come(thread_id(thread)):
            self._view.moved()
            self._view.flush()

    def _resume_in_place(self, pc: int, command: str, mode: Mode) -> None:
        """A command of gdb's that resumes, while the guest cannot leave the instruction at pc."""
        self._stub.insert(pc)
        self._stub.send_queued()
        self._guards.mode, self._guards.stayed = mode, False
        try:
            self._engine.hold_interrupts()
            self._view.flush()
            gdb.execute(f"with scheduler-locking on -- {command}")
        finally:
            self._guards.mode = Mode.FREE
            self.stopped()
            self._stub.remove(pc)
            self._stub.send_queued()


def print_location(*, same_frame: bool) -> None:
    """Print what gdb prints at a stop, and the displays."""
    if gdb.parameter("print frame-info") == "auto" and same_frame:
        gdb.execute("with print frame-info source-line -- frame")
    else:
        gdb.write(gdb.execute("frame", to_string=True).replace("#0  ", "", 1))
    gdb.execute("display")

# SPDX-License-Identifier: MIT
"""stepi, nexti, step and next at the commands door: when a step has ended.

The rules are those of gdb/infrun.c process_event_stop_test; the state that it keeps in frame ids is
kept here by following each instruction, which needs no unwinding: a call is an instruction that
sets LR and goes elsewhere, and it has returned when pc and r1 are what they were to be.
"""

from __future__ import annotations

import enum
from contextlib import nullcontext

import gdb

from ..ppc.isa import Instruction
from . import placed, source, until, versions, watches
from .door import CommandsDoor, Interrupted, UnrequestedStop
from .frames import Frame
from .report import Since, print_location
from .source import Inlined


class Calls(enum.Enum):
    """What to do at a call."""

    INTO = "stop in it"  # stepi
    BY_LINES = "stop in it if it has line information"  # step
    OVER = "step over it"  # nexti, next


class Reported(Exception):
    """gdb has reported a stop meanwhile: the command is over."""


class Stepping:
    """One command: `count` steps, by instructions or by lines."""

    def __init__(self, door: CommandsDoor, calls: Calls, count: int, *, by_lines: bool) -> None:
        self._door = door
        self._calls = calls
        self._count = count
        self._by_lines = by_lines
        self._call_returns = placed.call_returns()
        self._addresses = placed.users_addresses() | self._call_returns
        self._functions = placed.users_functions()
        self._watches = bool(watches.numbers())  # gdb has to see each step
        self._skips = source.Skips()
        self._left = 0  # how often the step has gone to another frame
        self._stood = True  # whether no instruction was executed
        self._entered = False  # whether one of these was by a call
        self._hidden = 0
        """How many inlined calls begin here and are not yet shown as frames."""
        self._single = not by_lines  # whether the step ends after one instruction
        self._symbol: str | None = None  # of code without lines that is stepped out of
        self._can_unwind = True

    def run(self) -> None:
        """Do it, and have gdb report the stop.

        SstepError: gdb has reported nothing, and the guest is where gdb sees it now.
        """
        if self._count <= 0:
            print_location(same_frame=False)
            return
        if self._by_lines:
            gdb.parse_and_eval("$pc")  # gdb has the registers of where it believes the guest to be
        self._door.guards.only_at(self._addresses)
        with self._door.behind_gdb(at=self._door.resuming.stopped_at):
            self._believed = self._door.pc, self._left
            self._hidden = source.hidden_at(self._door.pc)
            self._can_unwind = not self._hidden  # gdb would look for hidden frames wherever pc is
            try:
                left = self._count
                while left:
                    if self._by_lines or left == 1:
                        self._begin()
                    left -= self._goes_straight(left - 1) or self._step(last=left == 1)
                pc = self._door.pc
                self._let_call_end()
                # A step into an inlined call takes no instruction: no breakpoint is hit by it.
                with placed.without(pc) if self._stood else nullcontext():
                    self._door.reporter.report(
                        pc,
                        same_frame=self._shows_line(),
                        hide=self._hidden,
                        hides=source.entered_at(pc) if self._stood else self._hides(pc),
                        since=self._since(),
                    )
            except Reported:
                pass
            except Interrupted:
                self._door.reporter.report(self._door.pc, same_frame=False)
            except UnrequestedStop as unrequested:
                self._door.reporter.report_unrequested(unrequested.stop)

    # -- one step

    def _begin(self) -> None:
        """gdb/infcmd.c prepare_one_step."""
        pc = self._door.pc
        self._began = pc, self._left
        self._entered = False
        self._function = self._function_at(pc)
        self._frame = self._frame_at(pc)
        self._symbol = None
        self._line = source.line_at(pc)
        self._from = (self._line.number, self._line.file)
        if self._hidden:
            call = source.inlined_at(pc)[self._hidden - 1]
            self._from = call.call
            self._line = self._line._replace(end=min(self._line.end, call.end))
        self._began_at = until.Begin(pc, self._frame, self._from)
        unknown = self._by_lines and not self._line.number
        self._single = not self._by_lines or (unknown and bool(gdb.parameter("step-mode")))
        if unknown and not self._single:
            self._symbol = source.symbol_at(pc)
            if self._symbol is None:
                raise gdb.GdbError("Cannot find bounds of current function")
            gdb.write(
                f"Single stepping until exit from function {self._symbol},\n"
                "which has no line number information.\n"
            )

    def _frame_at(self, pc: int) -> Frame:
        unwound = None
        if self._can_unwind and source.is_assembler(pc):
            # gdb analyses its prologue, and may find another frame behind that.
            self._door.flush()
            self._believed = pc, self._left
            unwound = gdb.newest_frame()
        return Frame(pc, self._left, source.inlined_at(pc)[self._hidden :], unwound)

    def _shows_line(self) -> bool:
        """gdb/infrun.c print_stop_location."""
        pc = self._door.pc
        same = self._frame_at(pc).is_same(self._frame)
        return same and self._function_at(pc) == self._function

    def _since(self) -> Since | None:
        """Where gdb's `until` ends here from, as the step has."""
        pc = self._door.pc
        if self._single:
            return None
        frame = self._frame_at(pc)
        return until.since(
            self._began_at,
            until.End(pc, frame, self._hidden, self._hides(pc), frame.is_same(self._frame)),
            direct=self._believed == self._began and not self._entered,
        )

    def _function_at(self, pc: int) -> Inlined | str | None:
        """What `_shows_line` compares: from gdb 18 on a call that is inlined and shown counts."""
        shown = source.inlined_at(pc)[self._hidden :] if versions.compares_inlined() else ()
        return shown[0] if shown else source.function_at(pc)

    def _hides(self, pc: int) -> int:
        """How many inlined calls that begin at pc gdb hides at a stop there."""
        return source.entered_at(pc, self._functions.get(pc, ()))

    def _outer(self) -> int:
        """How many inlined calls around the step's frame are shown."""
        return len(self._frame.inlined)

    def _goes_straight(self, limit: int) -> int:
        """How many steps are done at once: of instructions, up to `limit`."""
        done = 0 if self._by_lines or self._watches else self._door.straight(limit, self._addresses)
        if done:
            self._stood = False
            self._hidden = 0
            self._let_breakpoints_decide()
        return done

    def _step(self, *, last: bool) -> int:
        """How many steps that was: one."""
        if self._by_lines and self._calls is Calls.BY_LINES and self._hidden:
            self._hidden -= 1  # into an inlined call: that takes no instruction
            if not self._skips.covers_inlined(self._door.pc, self._hidden, self._outer()):
                return 1
        ended = self._stood = False
        while not ended:
            before = self._door.pc
            instruction = None if self._goes_through() else self._door.step()
            ended = self._arrived(before, instruction)
            if not (ended and last):
                self._let_breakpoints_decide()
        return 1

    def _goes_through(self) -> bool:
        """Run through the rest of a line at once, as far as that can be done."""
        if not self._by_lines or self._symbol is not None or self._watches:
            return False
        return self._door.run_range(self._line.start, self._line.end, self._addresses)

    def _let_breakpoints_decide(self) -> None:
        here = self._watches or self._door.pc in self._addresses
        if here:
            self._let_call_end()
            self._believed = self._door.pc, self._left
            innermost = self._single and source.entered_at(self._door.pc) > 0
            if self._door.reporter.stops_at(self._door.pc, innermost=innermost):
                raise Reported

    def _let_call_end(self) -> None:
        if self._door.pc in self._call_returns:
            self._door.reporter.end_call(self._door.pc)
            raise Reported

    def _in_range(self, pc: int) -> bool:
        if self._symbol is not None:
            return source.symbol_at(pc) == self._symbol
        return self._by_lines and pc in self._line

    def _arrived(self, before: int, instruction: Instruction | None) -> bool:
        """After an instruction (None: code was run through): whether the step has ended, perhaps
        after running over a call.
        """
        pc = self._door.pc
        self._hidden = 0 if self._single else self._hides(pc)
        if self._in_range(pc):
            return False
        if instruction is None:  # neither by a call nor by a return
            return self._ends()
        following = before + instruction.length
        called = pc != following and instruction.links
        if called and not (versions.misses_calls() and len(source.inlined_at(pc)) > self._hidden):
            if self._enters(pc, before):
                self._left += 1
                self._entered = True
                return True
            self._run_to(following, self._door.stack_pointer())
            if self._in_range(self._door.pc):
                return False
        elif called or (pc != following and instruction.returns):
            self._left += 1
            self._entered = self._entered or called
        return self._ends()

    def _enters(self, pc: int, before: int) -> bool:
        """At the first instruction of a function, called before: whether the step ends in it."""
        if self._calls is Calls.BY_LINES and source.line_at(pc).number:
            inlined = self._skips.covers_inlined(before, 0, self._outer())
            if inlined or self._skips.covers_function(pc):
                return bool(gdb.parameter("step-mode"))
            body = source.body_of(pc)
            if body != pc:
                self._run_to(body, None)
            return True
        if self._calls is Calls.BY_LINES:
            return bool(gdb.parameter("step-mode"))
        return self._calls is Calls.INTO

    def _run_to(self, address: int, stack: int | None) -> None:
        """Run to an address, with r1 as given; breakpoints of the user's may end the command.

        A call that is recursive comes by with a smaller r1.
        """
        door = self._door
        self._let_breakpoints_decide()
        stops = (address, *(self._addresses - {address}))
        while True:
            if self._watches or door.pc in stops:
                door.step()
            else:
                door.run_to(stops)
            if door.pc == address and (stack is None or door.stack_pointer() == stack):
                break
            self._let_breakpoints_decide()
        self._hidden = 0 if self._single else self._hides(address)

    def _ends(self) -> bool:
        """Whether the step ends here, outside of the range that it went through."""
        pc = self._door.pc
        line = source.line_at(pc)
        if self._single or not line.number:
            return True
        frame = self._frame_at(pc)
        self._hidden = frame.still_hidden(pc, self._hidden, self._frame)
        frame = self._frame_at(pc)
        same = frame.is_same(self._frame)
        if same and self._hidden:
            call = source.inlined_at(pc)[self._hidden - 1].call
            if self._calls is Calls.OVER:
                return call != self._from
            if call == self._from:
                self._hidden -= 1
                return not self._skips.covers_inlined(pc, self._hidden, self._outer())
            return True
        if frame.is_inside(self._frame):
            skipped = self._skips.covers_inlined(pc, self._hidden, self._outer())
            return self._calls is not Calls.OVER and not skipped
        number: int = line.number
        if pc == line.start and (number, line.file) != self._from:
            if source.is_statement(pc):
                return True
            number = 0
        self._line, self._symbol = line, None
        if number or not same:
            self._from, self._frame = (number, line.file), frame
        return False

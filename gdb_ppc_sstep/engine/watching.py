# SPDX-License-Identifier: MIT
"""gdb's watchpoints where the stub has none: seen by the DAWR of each vCPU, or by steps.

gdb removes its watchpoints at each stop, and to step over an access.  So what it has inserted is
applied only when it resumes the guest, to the vCPUs that run.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import SstepError, StubRefused, Unsettled
from ..options import Options, Watchpoints
from ..ppc import dawr, isa, ranges
from ..ppc.access import Access, access, may_access
from ..ppc.dawr import OFF, Watch
from ..ppc.isa import Instruction
from ..ppc.sequences import atomic_sequence
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.resume import Resume, StopReply, stopped
from ..stub.known import PAGE
from ..stub.stub import Stub
from .steps import thread_name
from .vectors import Vectors
from .windows import Windows

_NAMES = {2: b"watch", 3: b"rwatch", 4: b"awatch"}


class Said:
    """Tells lines to the user, each of them once until `over` is called."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[str] = set()

    def say(self, line: str) -> None:
        """Tell this line, unless it was told since `over`."""
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    def over(self) -> None:
        """Let all lines be told again."""
        self._told.clear()


class Watching:
    """gdb's watchpoints, where one engine has to see them.

    by_steps: whether they are seen by steps alone.  over: while gdb steps over the access that it
    was told of, the thread and the address of the instruction; else None.  how: how the watchpoints
    of gdb's last resume were seen, in words; empty if it had none.  by_dawr: whether that was by
    DAWR.
    """

    def __init__(
        self,
        stub: Stub,
        vectors: Vectors,
        gdbs: GdbBreakpoints,
        windows: Windows,
        log: Callable[..., None],
        said: Said,
    ) -> None:
        self._stub = stub
        self._vectors = vectors
        self._gdbs = gdbs
        self._windows = windows
        self._log = log
        self._said = said
        self._option = Watchpoints.AUTO
        self._stub_takes: bool | None = None  # whether the stub has watchpoints of its own
        self.by_steps = False
        self.how = ""
        self.by_dawr = False
        self.over: tuple[bytes | None, int] | None = None
        self._shown: tuple[bytes | None, int] | None = None  # thread, pc of the last hit gdb saw
        self._spaces: dict[Breakpoint, int | None] = {}  # the PID register at the insertion

    def apply(self, options: Options) -> None:
        """Follow the user's options from the next packet on."""
        self._option = options.watchpoints

    @property
    def seen(self) -> str:
        """How watchpoints are seen, or would be, in words."""
        if self.how:
            return self.how
        option = self._option
        if option is Watchpoints.OFF or (option is Watchpoints.AUTO and self._stub_takes):
            return "by the stub"
        auto = "by the stub if it has them, else by DAWR, else by steps"
        if self._stub_takes is False:
            auto = "by DAWR, else by steps, as the stub has none"
        how = {Watchpoints.AUTO: auto, Watchpoints.DAWR: "by DAWR", Watchpoints.STEP: "by steps"}
        return f"none now; {how[option]}"

    # -- what gdb asks for

    def answer(self, payload: bytes, one: Breakpoint, *, inserts: bool) -> bytes:
        """The reply to a `Z` or `z` packet about a watchpoint: the stub's, or OK if we see it."""
        own = self._option in (Watchpoints.DAWR, Watchpoints.STEP)
        if not own and (self._option is Watchpoints.OFF or self._stub_takes is not False):
            reply = self._stub.call(payload)
            if reply == b"OK":
                self._stub_takes = True
            if reply == b"OK" or self._option is Watchpoints.OFF or self._stub_takes:
                return reply
            self._stub_takes = False
        if inserts and one not in self._spaces:
            # A program's address means this process, as far as the PID register tells them apart.
            user = one.address >> 62 == 0
            self._spaces[one] = self._stub.read_optional("pid") if user else None
        return b"OK"

    @property
    def watches(self) -> tuple[Breakpoint, ...]:
        """The watchpoints that gdb has inserted and that we have to see, as the stub does not."""
        watched = self._gdbs.watched
        if not watched or self._option is Watchpoints.OFF:
            return ()
        return () if self._option is Watchpoints.AUTO and self._stub_takes else watched

    # -- before the guest runs

    def begin(self, request: Resume) -> None:
        """gdb resumes: decide how its watchpoints are seen.  SstepError: they cannot be."""
        watches, freely = self.watches, request.stepping is None
        shown, self._shown = self._shown, None
        self.over = None if watches or freely else shown
        self.by_steps = False
        self._windows.begin(OFF)
        if not watches:
            if freely:
                self._spaces.clear()
                self._said.over()
                self.how, self.by_dawr = "", False
            return
        if freely:
            self._windows.look()
        reason = self._reason(watches)
        if reason is None:
            return
        if self._option is Watchpoints.DAWR:
            raise SstepError(f"{reason}; use `set ppc-sstep watchpoints auto`")
        self.by_steps, self.by_dawr, self.how = True, False, f"by steps ({reason})"
        if self._option is not Watchpoints.STEP:
            self._said.say(f"{reason}: watching by steps, which is slow")

    def _reason(self, watches: tuple[Breakpoint, ...]) -> str | None:
        """Why DAWR cannot see them; None if it can, and then the vCPUs are to get the window."""
        if self._option is Watchpoints.STEP:
            return "as it was set"
        wanted = dawr.window(map(_watch, watches), self._vectors.processor())
        if wanted is None:
            return "the watchpoints do not fit into the one window of 512 bytes that the CPU has"
        try:
            if not self._windows.honours(wanted):
                return f"this host does not honour a DAWR of {wanted.length} bytes"
        except Unsettled:
            raise
        except StubRefused as refused:
            return str(refused)
        self._windows.begin(wanted)
        self.by_dawr = True
        self.how = f"by DAWR, {wanted.length} bytes at {wanted.address:#x}"
        return None

    # -- at an access

    def look(self, thread: bytes | None) -> StopReply | None:
        """Look at the selected thread's next step: the stop for gdb if it accesses what is watched.

        Else None: the thread may be resumed for this step, and will have no match.
        """
        self._windows.spare(None)
        if not self.watches:
            return None
        accesses = self._accesses()
        for done in accesses:
            hit = self._hit(thread, done)
            if hit is not None:
                return hit
        if any(map(self._is_in_window, accesses)):
            self._windows.spare(thread)  # the access is in the window, beside what is watched
        return None

    def hit(self, thread: bytes | None, dar: int) -> StopReply | None:
        """At a match that is undone: the stop for gdb if the instruction hits a watchpoint.

        dar: an address of the access, as the match told it.
        """
        stub = self._stub
        pc = stub.read("pc")
        done = self._access(pc, stub.instruction(pc), stub.read("msr"))
        return self._hit(thread, done or Access(dar, 1, loads=True, stores=True))

    def would_match(self, pc: int, state: int) -> bool:
        """Whether the instruction at `pc` of the selected thread would match, with the MSR `state`.

        A window that was taken away since counts as well.
        """
        done = self._access(pc, self._stub.instruction(pc), state)
        return done is not None and self._windows.has_had(self._stub.thread, done)

    def accesses(self) -> list[int]:
        """The addresses of the selected thread's next instructions that may access memory."""
        stub = self._stub
        pc = stub.read("pc")
        count = min(ranges.STRAIGHT, (-pc % PAGE or PAGE) // 4)
        try:
            words = stub.code(pc, count)
        except StubRefused:
            return [pc]
        return [
            pc + 4 * n
            for n, word in enumerate(words)
            if word >> 26 == 1 or may_access(isa.decode(word), 0)
        ]

    def _is_in_window(self, done: Access | None) -> bool:
        return done is not None and self._windows.now.has(done.address, done.length)

    def _accesses(self) -> list[Access]:
        """The accesses of the selected thread's next step, with the registers as they are now.

        An atomic sequence is stepped as one: then all of its accesses.
        """
        stub = self._stub
        pc = stub.read("pc")
        code = {pc: stub.instruction(pc)}
        if code[pc].begins_sequence:
            sequence = atomic_sequence(pc, stub.read("msr"), stub.instruction)
            code = code if sequence is None else sequence.code
        state = stub.read("msr")
        accesses = (self._access(place, one, state) for place, one in code.items())
        return [done for done in accesses if done is not None]

    def _access(self, place: int, instruction: Instruction, state: int) -> Access | None:
        stub = self._stub
        suffix = stub.instruction(place + 4).word if instruction.length == 8 else 0
        return access(instruction, suffix, place, state, stub.read)

    def _hit(self, thread: bytes | None, done: Access | None) -> StopReply | None:
        """The stop for gdb if this access of the selected thread hits a watchpoint."""
        if done is None:
            return None
        at, length, loads, stores = done
        hit = [
            one
            for one in self.watches
            if _watch(one).touches(at, length, loads=loads, stores=stores) and self._is_here(one)
        ]
        if not hit:
            return None
        # gdb looks for watchpoints that contain the address: so tell one that is in all, if any.
        place = max(at, *(one.address for one in hit))
        if any(one.address + one.length <= place for one in hit):
            place = max(at, hit[0].address)
        self._log("{} hits the watchpoint at {:#x}", thread_name(thread), place)
        self._shown = thread, self._stub.read("pc")
        stop = stopped(thread)
        start = b"T05%s:%x;" % (_NAMES[hit[0].kind], place)
        return stop._replace(payload=start + stop.payload[3:])

    def _is_here(self, one: Breakpoint) -> bool:
        """Whether the selected thread is in the process for which gdb inserted this watchpoint."""
        space = self._spaces.get(one)
        if space is None:
            return True
        return self._stub.read_optional("pid") in (None, space)


def _watch(one: Breakpoint) -> Watch:
    return Watch(one.address, one.length, loads=one.counts_loads, stores=one.counts_stores)

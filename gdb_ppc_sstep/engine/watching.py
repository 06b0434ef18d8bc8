# SPDX-License-Identifier: MIT
"""gdb's watchpoints where the stub has none: by the DAWR of each vCPU, or by steps.

What gdb inserts is applied when the guest is resumed, to the vCPUs that run: gdb takes its
watchpoints out at each stop, and to step over an access.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import SstepError, StubRefused
from ..options import Options, Watchpoints
from ..ppc import dawr, isa, ranges
from ..ppc.access import Access, access, may_access
from ..ppc.dawr import OFF, Watch, Window
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.resume import Resume, StopReply, stopped
from ..stub.known import PAGE
from ..stub.stub import Stub
from .dawr import Dawr
from .ledger import Ledger
from .steps import thread_name
from .vectors import Vectors

_NAMES = {2: b"watch", 3: b"rwatch", 4: b"awatch"}


class Watching:
    """The watchpoints of one engine.

    by_steps: whether they are seen by steps alone.  over: the thread and the address of the access
    that gdb was told of, where it now steps over that; else None.  left: where threads stood when
    their window was taken away: they may be on the way to where a match is caught.
    """

    def __init__(
        self,
        stub: Stub,
        vectors: Vectors,
        gdbs: GdbBreakpoints,
        ledger: Ledger,
        dawr_: Dawr,
        log: Callable[..., None],
        tell: Callable[[str], None],
    ) -> None:
        """tell: takes a line for the user."""
        self._stub = stub
        self._vectors = vectors
        self._gdbs = gdbs
        self._ledger = ledger
        self._dawr = dawr_
        self._log = log
        self._tell = tell
        self._option = Watchpoints.AUTO
        self._stub_takes: bool | None = None  # whether the stub has watchpoints of its own
        self.by_steps = False
        # What is told about it: the window, or why they are seen by steps.
        self._seen: Window | None = None
        self._why = ""
        self._window = OFF  # for the vCPUs that run
        self._blind: bytes | None = None  # the thread that is to run with OFF
        self._threads: list[bytes] = []
        self._spaces: dict[Breakpoint, int | None] = {}  # the PID register, when it was inserted
        self._taken: set[bytes | None] = set()  # threads whose DAWR the guest uses itself
        self.left: dict[bytes | None, int] = {}
        self._told: set[str] = set()
        self.over: tuple[bytes | None, int] | None = None
        self._shown: tuple[bytes | None, int] | None = None  # the access that gdb was told of last

    def apply(self, options: Options) -> None:
        """Watch as the user wants it from now on."""
        self._option = options.watchpoints

    # -- what gdb asks for

    def answer(self, payload: bytes, one: Breakpoint, *, inserts: bool) -> bytes:
        """The reply to a `Z` or `z` packet about a watchpoint."""
        own = self._option in (Watchpoints.DAWR, Watchpoints.STEP)
        if not own and (self._option is Watchpoints.OFF or self._stub_takes is not False):
            reply = self._stub.call(payload)
            if reply == b"OK":
                self._stub_takes = True
            if reply == b"OK" or self._option is Watchpoints.OFF or self._stub_takes:
                return reply
            self._stub_takes = False
        if inserts and one not in self._spaces:
            # An address of a program is one of this process, as far as the MMU tells them apart.
            user = one.address >> 62 == 0
            self._spaces[one] = self._stub.read_optional("pid") if user else None
        return b"OK"

    @property
    def watches(self) -> tuple[Breakpoint, ...]:
        """Those that are ours to see, of what gdb has inserted."""
        watched = self._gdbs.watched
        if not watched or self._option is Watchpoints.OFF:
            return ()
        return () if self._option is Watchpoints.AUTO and self._stub_takes else watched

    @property
    def how(self) -> str:
        """How watchpoints were seen when gdb resumed with some the last time, in words."""
        if self._seen is None:
            return "by steps: " + self._why if self._why else ""
        first, length = self._seen.address, self._seen.length
        windows = self._ledger.windows.items()
        threads = [thread_name(one) for one, window in windows if window.address == first]
        return f"by DAWR, {length} bytes at {first:#x} on {', '.join(threads)}"

    @property
    def wants_matches(self) -> bool:
        """Whether a vCPU that runs may have a match."""
        return self._window.matches or any(one.matches for one in self._ledger.windows.values())

    def is_ours(self, thread: bytes | None, dar: int) -> bool:
        """Whether a match of this thread may be one of its window."""
        window = self._ledger.windows.get(thread, OFF)
        return thread not in self._taken and window.is_near(dar) and window != OFF

    # -- before the guest runs

    def begin(self, request: Resume) -> None:
        """gdb resumes: decide how its watchpoints are seen.  SstepError: they cannot be."""
        watches = self.watches
        shown, self._shown = self._shown, None
        self.over = None if watches or request.stepping is None else shown
        self._blind = None
        self.by_steps, self._window = False, OFF
        if not watches:
            if request.stepping is None:
                self._spaces.clear()
                self._told.clear()
                self._seen, self._why = None, ""
            return
        if request.stepping is None or not self._threads:
            self._threads = self._stub.threads()
            self._look_at_armed()
        reason = self._reason(watches)
        if reason is None:
            self._seen, self._why = self._window, ""
            return
        if self._option is Watchpoints.DAWR:
            raise SstepError(f"{reason}; use `set ppc-sstep watchpoints auto`")
        self.by_steps, self._seen, self._why = True, None, reason
        if self._option is not Watchpoints.STEP:
            self._say(f"{reason}: watching by steps, which is slow")

    def _reason(self, watches: tuple[Breakpoint, ...]) -> str | None:
        """Why they cannot be seen by DAWR; None if they are from now on."""
        if self._option is Watchpoints.STEP:
            return "as it was set"
        wanted = dawr.window(map(_watch, watches), self._vectors.processor())
        if wanted is None:
            return "the watchpoints do not fit into the one window of 512 bytes that the CPU has"
        selected = self._stub.thread
        try:
            # One whose DAWR the stub gives, if there is one: QEMU 7.2 gives the first one's.
            for thread in [selected, *self._threads]:
                self._stub.select(thread)
                if self._dawr.given() is not None:
                    break
            else:
                self._stub.select(selected)
            if not self._dawr.prove(wanted):
                return f"this host does not honour a DAWR of {wanted.length} bytes"
        except StubRefused as refused:
            return str(refused)
        finally:
            self._stub.select(selected)
        self._window = wanted
        return None

    def _look_at_armed(self) -> None:
        """Has the guest changed what we have written?"""
        selected = self._stub.thread
        try:
            for thread, window in list(self._ledger.windows.items()):
                self._stub.select(thread)
                now = self._dawr.given()
                if now is None or now == window or not (now.matches or window.matches):
                    continue
                self._log("{}: DAWR is {:#x} {:#x}", thread_name(thread), *now)
                self._ledger.watch(thread, now._replace(control=0))
                if not self._is_taken(thread, now):
                    who = thread_name(thread)
                    self._say(f"the guest has cleared the DAWR of {who}; it is armed again")
        finally:
            self._stub.select(selected)

    def _is_taken(self, thread: bytes | None, now: Window) -> bool:
        """Whether the guest uses the DAWR of a vCPU for itself, which is left alone then."""
        if not now.matches:
            self._taken.discard(thread)
            return False
        self._taken.add(thread)
        self._say(
            f"the guest has set the DAWR of {thread_name(thread)} for itself; "
            "the watchpoints do not see this vCPU until it is free again"
        )
        return True

    def arm(self, request: Resume) -> None:
        """The guest is about to run: the vCPUs that do get the window of now."""
        if not self.wants_matches:
            return
        selected = self._stub.thread
        for thread in self._running(request):
            wanted = OFF if thread == self._blind else self._window
            have = self._ledger.windows.get(thread, OFF)
            if have == wanted or not (have.matches or wanted.matches):
                continue
            self._stub.select(thread)
            if thread not in self._ledger.windows or thread in self._taken:
                now = self._dawr.given()
                if now is not None and self._is_taken(thread, now):
                    continue
            self._set(thread, wanted)
        self._stub.select(selected)

    def _running(self, request: Resume) -> list[bytes | None]:
        if request.alone is not None:
            return [request.alone]
        return [*self._threads] or [self._stub.thread]

    def _set(self, thread: bytes | None, wanted: Window) -> None:
        """The selected thread's."""
        ledger = self._ledger
        have = ledger.windows.get(thread, OFF)
        if wanted.matches:
            ledger.watch(thread, wanted)
        try:
            self._dawr.write(wanted, have)
            self._stub.send_queued()
        except StubRefused as refused:
            ledger.watch(thread, have)
            self._say(f"the watchpoints do not see {thread_name(thread)}: {refused}")
            return
        if wanted.matches:
            self.left.pop(thread, None)
        else:
            ledger.watch(thread, have._replace(control=0))
            self.left[thread] = self._stub.read("pc")

    def given(self) -> Window | None:
        """See `Dawr.given`."""
        return self._dawr.given()

    def disarm(self) -> None:
        """The guest is let go: no vCPU has a window of ours."""
        for thread, window in list(self._ledger.windows.items()):
            if window.matches:
                self._stub.select(thread)
                self._set(thread, OFF)

    # -- at an access

    def look(self, thread: bytes | None) -> StopReply | None:
        """Whether the next instruction of a thread, which is selected, is an access that is
        watched: the stop for gdb.

        Else the thread may be resumed for this instruction, and no match comes of it.
        """
        self._blind = None
        if not self.watches:
            return None
        done = self._access()
        hit = self._hit(thread, done)
        if hit is None and done is not None and self._window.has(done.address, done.length):
            self._blind = thread  # in the window, and not what is watched in it
        return hit

    def hit(self, thread: bytes | None, dar: int) -> StopReply | None:
        """At a match, which is undone: the stop for gdb if the instruction at pc accesses what is
        watched.

        dar: an address of the access, as the match has told it.
        """
        return self._hit(thread, self._access() or Access(dar, 1, loads=True, stores=True))

    def is_in_window(self) -> bool:
        """Whether the instruction at pc of the selected thread would match."""
        done = self._access()
        return done is not None and self._window.has(done.address, done.length)

    def accesses(self) -> list[int]:
        """Where the selected thread may access memory, of the next instructions."""
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

    def _access(self) -> Access | None:
        stub = self._stub
        pc = stub.read("pc")
        instruction = stub.instruction(pc)
        suffix = stub.instruction(pc + 4).word if instruction.length == 8 else 0
        return access(instruction, suffix, pc, stub.read("msr"), stub.read)

    def _hit(self, thread: bytes | None, done: Access | None) -> StopReply | None:
        if done is None:
            return None
        at, length, loads, stores = done
        for one in self.watches:
            if _watch(one).touches(at, length, loads=loads, stores=stores) and self._is_here(one):
                self._log("{} hits the watchpoint at {:#x}", thread_name(thread), one.address)
                self._shown = thread, self._stub.read("pc")
                stop = stopped(thread)
                start = b"T05%s:%x;" % (_NAMES[one.kind], max(at, one.address))
                return stop._replace(payload=start + stop.payload[3:])
        return None

    def _is_here(self, one: Breakpoint) -> bool:
        """Whether the selected thread is in the process in which it was set."""
        space = self._spaces.get(one)
        if space is None:
            return True
        return self._stub.read_optional("pid") in (None, space)

    def blind(self, thread: bytes | None) -> None:
        """The selected thread is about to run alone, and is not to see a match."""
        if self._ledger.windows.get(thread, OFF).matches:
            self._set(thread, OFF)

    def _say(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)


def _watch(one: Breakpoint) -> Watch:
    return Watch(one.address, one.length, loads=one.counts_loads, stores=one.counts_stores)

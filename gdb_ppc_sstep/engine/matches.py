# SPDX-License-Identifier: MIT
"""Where a match of DAWR is caught, and how it is undone.

A match is a Data Storage interrupt before the access.  In Linux it is caught late: where the kernel
calls its function for watchpoints, at which nothing but matches arrives.  We skip the call, the
kernel returns from the interrupt as from any other, and a breakpoint stops it at the instruction.
So no page fault is stopped for, and the kernel itself looks after SRR0 and SRR1.

In any other guest it is caught at the vector, at which every Data Storage interrupt arrives: DSISR
tells them apart.  There we write pc and MSR back, and SRR0 and SRR1 are lost, but in a step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..errors import StubRefused
from ..ppc import dawr, linux_code, msr
from ..ppc.linux_code import MatchCall
from ..rsp.resume import StopReply, stopped
from ..stub.stub import Stub
from .alone import Alone
from .hypercall import Hypercalls
from .ledger import Ledger
from .past import Past
from .steps import thread_name
from .vcpu import Vcpu
from .vectors import Vectors
from .watching import Said, Watching
from .windows import Windows

_VECTOR_LENGTH = 0x80
_TOLD = ("nip", "msr", "trap", "dar", "dsisr")


class Matches:
    """Catches and undoes the matches of one engine."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        vectors: Vectors,
        ledger: Ledger,
        watching: Watching,
        windows: Windows,
        past: Past,
        hypercalls: Hypercalls,
        alone: Alone,
        log: Callable[..., None],
        said: Said,
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._vectors = vectors
        self._ledger = ledger
        self._watching = watching
        self._windows = windows
        self._past = past
        self._hypercalls = hypercalls
        self._alone = alone
        self._log = log
        self._said = said
        self._call: MatchCall | None = None
        self._at_vectors: tuple[int, ...] = ()
        self._returning: dict[int, int] = {}  # by the address to which the kernel returns, the DAR

    @property
    def must(self) -> tuple[int, ...]:
        """The addresses at which breakpoints are needed while the guest runs."""
        if not self._expects:
            return ()
        first = self._at_vectors[:1] if self._call is None else (self._call.address,)
        return (*first, *self._returning)

    @property
    def may(self) -> tuple[int, ...]:
        """The addresses at which they are wanted too: those of accesses without translation."""
        return self._at_vectors[1:] if self._call is None and self._expects else ()

    def catches(self, pc: int) -> bool:
        """Whether a stop at this pc may be that of a match.

        The vector counts even where the kernel's own call is known: a step or a range has
        breakpoints of its own there.
        """
        return pc in self._at_vectors or pc in self.must

    @property
    def _expects(self) -> bool:
        """Whether a match may come, so that breakpoints are needed for it."""
        return self._windows.expect_matches or bool(self._windows.left and self.are_coming)

    @property
    def are_coming(self) -> bool:
        """Whether a thread was in a handler of the guest's when its window was taken away.

        It may be on its way to where its match is caught.
        """
        return any(map(self._is_inside, self._windows.left.values()))

    def _is_inside(self, pc: int) -> bool:
        """Whether a thread at this pc may be on its way to where its match is caught."""
        for vector in self._at_vectors:
            if vector <= pc < vector + _VECTOR_LENGTH:
                return self._call is not None or pc == vector
        return self._call is not None and self._call.handler <= pc <= self._call.address

    @property
    def how(self) -> str:
        """Where matches are caught, in words."""
        return "the vector" if self._call is None else "the kernel's handler"

    def begin(self, *, freely: bool) -> None:
        """gdb resumes: find out where matches arrive now.  SstepError: that cannot be known.

        freely: gdb resumes for a continue, not for a step.
        """
        self._returning.clear()
        self._look_after_left()
        if self._expects:
            self._expect(freely=freely)

    def _expect(self, *, freely: bool) -> None:
        """Find out where matches arrive, unless that is known and still true."""
        known = self._call is not None or (self._at_vectors and not freely)
        if known and not self._windows.changed:
            return
        state = self._stub.read("msr")
        translated = self._vectors.at_stop()(dawr.DATA_STORAGE, state | msr.IR | msr.DR)
        self._at_vectors = tuple(dict.fromkeys((translated, dawr.DATA_STORAGE)))
        self._call = self._find(state, translated)
        self._log("matches are caught at {}", self.how)

    def _look_after_left(self) -> None:
        """Forget the threads that are no longer on their way to where matches are caught."""
        selected, left = self._stub.thread, self._windows.left
        for thread, pc in list(left.items()):
            if self._is_inside(pc):
                self._stub.select(thread)
                left[thread] = self._stub.read("pc")
            if not self._is_inside(left[thread]):
                del left[thread]
        self._stub.select(selected)

    def _find(self, state: int, vector: int) -> MatchCall | None:
        """The call at which Linux deals with matches; None in any other guest."""
        stub = self._stub
        if vector >> 60 != linux_code.KERNEL_BASE >> 60:
            return None
        with self._alone.seeing(msr.in_handler(state, vector)), suppress(StubRefused):
            return linux_code.match_call(vector, stub.code)
        return None

    # -- at a stop

    def settle(self, stop: StopReply, pc: int) -> StopReply | None:
        """Settle a breakpoint stop of a thread, which is selected, at `pc`.

        Returns the stop itself if it is no match; else the stop for gdb, or None if the guest is to
        run on.
        """
        thread = stop.thread
        if self._call is not None and pc == self._call.address:
            return self._at_call(stop, self._call)
        if pc in self._returning:
            return self._shown(thread, self._returning.pop(pc))
        if pc in self._at_vectors:
            return self._at_vector(stop, pc)
        return stop

    def take_back(self, thread: bytes | None) -> None:
        """Undo a match of a killed session, if this thread stands where it is caught."""
        self._stub.select(thread)
        self._expect(freely=True)
        pc = self._stub.read("pc")
        if self._call is not None and pc == self._call.address:
            self._at_call(stopped(thread), self._call)
        elif pc in self._at_vectors:
            self._undone(stopped(thread), pc)
        self._returning.clear()
        self._stub.send_queued()

    def _at_call(self, stop: StopReply, call: MatchCall) -> StopReply | None:
        """Have the kernel return from the match without the call, if it is a match of ours."""
        stub = self._stub
        offsets = [linux_code.REGISTERS[name] for name in _TOLD]
        first = min(offsets)
        raw = stub.memory(stub.read("r3") + first, linux_code.REGISTERS_LENGTH - first)
        if not raw:
            raise StubRefused(
                "the stub refused to read what an interrupt of the kernel's has saved"
            )
        order = stub.order
        nip, state, trap, dar, dsisr = (
            int.from_bytes(raw[at - first : at - first + 8], order) for at in offsets
        )
        is_match = trap & ~0xF == dawr.DATA_STORAGE and dsisr & dawr.MATCH
        if not is_match or not self._windows.may_have(stop.thread, dar):
            return stop  # the guest's own
        self._log("a match at {:#x} msr={:#x} dar={:#x}", nip, state, dar)
        self._tell_of_lost_srrs(nip, state)
        stub.prefetch((), (nip,))  # before a breakpoint there hides the instruction
        self._windows.left.pop(stop.thread, None)
        stub.write("pc", call.address + 4)
        self._returning[nip] = dar
        return None

    def _at_vector(self, stop: StopReply, vector: int) -> StopReply | None:
        """Undo a match at the vector; the stop for gdb, or None if the guest is to run on."""
        dar = self._undone(stop, vector)
        return stop if dar is None else self._shown(stop.thread, dar)

    def _undone(self, stop: StopReply, vector: int) -> int | None:
        """Undo a match at the vector; an address of the access, or None if it is none of ours."""
        stub, thread = self._stub, stop.thread
        dsisr = stub.read_optional("dsisr")
        if dsisr is not None and not dsisr & dawr.MATCH:
            return None
        saved = self._vcpu.saved_by(vector)
        if saved is None:
            raise StubRefused("the stub refused to read srr0 or srr1 at a watchpoint")
        dar = stub.read_optional("dar") if dsisr is not None else None
        if dar is not None and not self._windows.may_have(thread, dar):
            return None
        pc, state = saved[0], msr.after_trace(saved[1])
        with self._alone.seeing(state):
            if dsisr is None and not self._watching.would_match(pc, state):
                return None
            srrs = self._srrs_before(thread, pc, state)
        self._windows.left.pop(thread, None)
        self._alone.put(thread, {"msr": state, **srrs, "pc": pc}, vector)
        return pc if dar is None else dar

    def _srrs_before(self, thread: bytes | None, pc: int, state: int) -> dict[str, int]:
        """SRR0 and SRR1 of before a match, where they are known: in a step.

        Elsewhere the kernel is told that they are lost, if it keeps account of that (`srr_valid`).
        """
        stub = self._stub
        for step in self._ledger.outstanding:
            if step.vector is not None and step.is_before(thread, pc, state):
                return {"srr0": step.srr0, "srr1": step.srr1}
        if state & msr.PR:
            return {}  # a program has no use for them
        self._tell_of_lost_srrs(pc, state)
        offset = self._hypercalls.srr_valid()
        if offset is not None:
            place = stub.read("r13") + offset & msr.MASK64
            stub.show_memory()
            if stub.call(b"M%x,1:00" % place) != b"OK":
                raise StubRefused(f"the stub refused to write srr_valid at {place:#x}")
        return {}

    def _tell_of_lost_srrs(self, pc: int, state: int) -> None:
        """Tell the user, if they mattered where a match was taken."""
        if not state & (msr.RI | msr.PR):
            self._said.say(
                f"the guest needed SRR0 and SRR1 at {pc:#x} (MSR[RI]=0), "
                "and they are lost by the watchpoint"
            )

    def _shown(self, thread: bytes | None, dar: int) -> StopReply | None:
        """The thread stands before the access: the stop for gdb, or None if it is to run on."""
        stop = self._watching.hit(thread, dar)
        if stop is not None:
            return stop
        self._log("{} accesses nothing that is watched", thread_name(thread))
        self._windows.disarm_selected()
        pc, state = self._stub.read("pc"), self._stub.read("msr")
        return self._past.step_past(thread, pc, state)

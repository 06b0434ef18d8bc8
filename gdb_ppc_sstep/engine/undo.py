# SPDX-License-Identifier: MIT
"""Takes out of the guest what a step changed in its MSR, wherever the guest keeps that by now."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..ppc import isa, msr
from ..ppc.isa import Kind
from ..stub.stub import Stub
from .ledger import Ledger
from .prefetch import Prefetch
from .steps import SRRS, Armed, Found, thread_name
from .targets import Target
from .vcpu import Vcpu
from .vectors import Vectors


class Undoing:
    """Undoes the changes of one engine, on the selected thread unless a method says otherwise."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        vectors: Vectors,
        ledger: Ledger,
        prefetch: Prefetch,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._vectors = vectors
        self._ledger = ledger
        self._prefetch = prefetch
        self._log = log
        self._last: Found | None = None  # the Trace interrupt that was collected last

    def collect(self, armed: Armed, found: Found) -> None:
        """Undo a Trace interrupt that we caused; the stub queues the writes of the registers."""
        self._ledger.found(armed, found)
        self._last = found
        assert armed.vector is not None
        self._vectors.arrived(msr.TRACE, armed.state, armed.vector)
        instruction, read, write = armed.instruction, self._stub.read, self._stub.write
        state = armed.without_ours(msr.after_trace(found.srr1), completed=True)
        restored = {"srr0": armed.srr0, "srr1": armed.srr1}
        if instruction.kind is Kind.MTSPR and instruction.spr in isa.SRR:
            restored[isa.SRR[instruction.spr]] = read(instruction.rt)
        if instruction.kind is Kind.MFMSR:
            restored[instruction.rt] = armed.without_ours(read(instruction.rt), completed=False)
        # SRR0 and SRR1 last: if we are killed in between, they tell where the step was.  An MSR
        # that the stub has never given may read back otherwise than it was written.
        write("msr", state, reads_back=state == armed.state)
        write("pc", found.srr0, reads_back=True)
        for name, value in restored.items():
            write(name, value, reads_back=True)
        self._prefetch.arrived(found.srr0)
        self._ledger.queued(armed)
        self._stub.defer(functools.partial(self._ledger.sent, armed))
        self._log("collected {}: pc={:#x} msr={:#x}", thread_name(found.thread), found.srr0, state)

    def disarm(self, target: Target | None, thread: bytes | None, pc: int, state: int) -> None:
        """Undo what a step changed, if the registers of this thread, stopped at `pc`, show it.

        The MSR shows it on a vCPU that has not executed the instruction, has come back to it, or
        has arrived without a Trace interrupt; SRR1 shows it at the very first instruction of an
        interrupt handler.  Anywhere else it is in a frame that only the handler knows, and stays
        outstanding.

        The register by which the step is recognised is written last, after the stub has obeyed the
        other writes: if it refuses one, this is called again at the same stop, and must recognise
        the step again.
        """
        for armed in reversed(self._ledger.outstanding):
            arriving = (
                target is not None
                and armed is target.armed
                and thread == armed.thread
                and pc in target.stops
            )
            if arriving:
                how = "arrived without a Trace interrupt"
                if not msr.is_vector(pc) or not self.clean_srr1(armed, pc):
                    self._write_state(armed, state, armed.without_ours(state, completed=True))
                    self._put_srrs_back(armed, thread)
            elif armed.is_before(thread, pc, state):
                how = "disarmed in MSR"
                if armed.vector is not None and not self._put_srrs_back(armed, thread):
                    self.clean_srr1(armed)
                self._write_state(armed, state, armed.without_ours(state, completed=False))
            elif msr.is_vector(pc) and self._saved_of(armed, pc) is not None:
                how = "disarmed in SRR1"
                if msr.saved_in(pc) != SRRS:
                    self._put_srrs_back(armed, thread)
                self.clean_srr1(armed, pc)
            else:
                continue
            self._stub.send_queued()
            self._ledger.disarm(armed)
            self._log("{} at {:#x}: {}", thread_name(thread), pc, how)
            return

    def clean_srr1(self, armed: Armed, vector: int = msr.TRACE, keep: int = 0) -> bool:
        """Undo a step's changes in the MSR that an interrupt saved, if it has interrupted the step.

        Returns whether it has.  vector: the address of the interrupt's vector; some save into HSRR1
        instead of SRR1.  keep: bits of the MSR that are not undone.
        """
        saved = self._saved_of(armed, vector)
        if saved is None:
            return False
        address, state = saved
        undone = armed.without_ours(state, completed=address != armed.pc)
        self._vcpu.write(msr.saved_in(vector)[1], undone & ~keep | state & keep)
        self._stub.send_queued()
        return True

    def _saved_of(self, armed: Armed, vector: int) -> tuple[int, int] | None:
        """The address and MSR that an interrupt saved, if it interrupted this step."""
        saved = self._vcpu.saved_by(vector)
        return saved if saved is not None and armed.was_interrupted(*saved) else None

    def unarm(self, armed: Armed) -> None:
        """Write back the MSR of a thread that was armed, but not resumed.  Selects that thread."""
        self._stub.select(armed.thread)
        if self._stub.read("msr") != armed.state:
            self._stub.write("msr", armed.state)
        self._put_srrs_back(armed, armed.thread)
        self._stub.send_queued()
        if armed in self._ledger.outstanding:
            self._ledger.disarm(armed)

    def take_back(self, armed: Armed, found: Found | None) -> None:
        """Undo a step of a killed session, whose thread still shows it.  Selects that thread.

        found: the Trace interrupt that the killed session was undoing, None if it was not.
        """
        self._stub.select(armed.thread if found is None else found.thread)
        pc = self._stub.read("pc")
        if armed.vector is None and msr.is_vector(pc) and self.clean_srr1(armed, pc):
            self._ledger.disarm(armed)  # its instruction took an interrupt, with MSR[EE] masked
            return
        if found is None and pc == armed.vector:
            srrs = self._vcpu.given_srrs()
            found = None if srrs is None else Found(armed.thread, *srrs)
        if found is not None:
            self.collect(armed, found)
            self._stub.send_queued()
            return
        if armed.overwrites_srrs:
            self._write_srrs(armed)
        state = self._stub.read("msr")  # written last: the step is recognised by it
        own = armed.state if armed.is_reaching(state) else state
        self._write_state(armed, state, armed.without_ours(own, completed=False))
        self._stub.send_queued()
        self._ledger.disarm(armed)

    def _put_srrs_back(self, armed: Armed, thread: bytes | None) -> bool:
        """Write SRR0 and SRR1 of before the step, if the last Trace interrupt's are still in them.

        Returns whether that was so.  If the stub has refused one of the two writes before, the
        other register is back already.
        """
        if not armed.overwrites_srrs or thread != armed.thread or self._last is None:
            return False
        srrs, before = self._vcpu.given_srrs(), (armed.srr0, armed.srr1)
        if srrs is None or srrs == before:
            return False
        left = all(now in both for now, *both in zip(srrs, self._last[1:], before))
        if left:
            self._write_srrs(armed)
        return left

    def _write_srrs(self, armed: Armed) -> None:
        self._stub.write("srr0", armed.srr0)
        self._stub.write("srr1", armed.srr1)
        self._stub.send_queued()

    def _write_state(self, armed: Armed, old: int, new: int) -> None:
        if new != old:
            self._stub.write("msr", new, reads_back=new == armed.state)

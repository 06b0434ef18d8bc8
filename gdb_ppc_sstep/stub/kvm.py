# SPDX-License-Identifier: MIT
"""QEMU's stub with KVM: everything that it does differently, said once."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import StubRefused
from ..ppc import isa, msr
from ..rsp.description import Register
from ..rsp.resume import Resume, StopReply
from .known import MEMORY, may_show
from .link import Link
from .pipeline import Queued, Refused
from .stub import Stub
from .view import Reach, View, Written
from .words import BREAKPOINT, Words, place_of

_NOT_MAPPED = (
    b"E.ppc-sstep.under KVM a hardware breakpoint is one in memory, and %#x cannot be written now; "
    b"set it where the guest has that mapped"
)


class KvmStub(Stub):
    """The stub of QEMU with KVM HV or KVM PR (seen with QEMU 7.2, 10.0 and 11.1).

    - `p` and `P` work on what the last `g` has fetched from the vCPU: so after each stop, and for
      each thread, `g` comes first.
    - QEMU translates addresses by the MSR that was written last (see `view`).  So memory counts as
      seen only where that agrees with what the thread has, and before a breakpoint comes or goes
      the MSR is written.
    - A breakpoint is a word in memory (see `words`).  One of ours may still be there at a stop,
      when its removal is queued: before memory is read in which it may show, the removal is sent.
    - It has no hardware breakpoints (`Z1` is E22): a word does what one would.
    - KVM HV takes a step request for a continue.
    """

    def __init__(self, link: Link, registers: Mapping[str, Register], *, hv: bool = False) -> None:
        """hv: the stub is known to be that of KVM HV."""
        runs_on = "KVM HV" if hv else "KVM, and not HV as far as LPCR tells (PR)"
        super().__init__(link, registers, runs_on=runs_on)
        self._hv = hv
        self._msr_written = self._writes.get("msr", b"P") + b"="
        self._queued_msr: int | None = None  # the MSR that was written last
        self._words = Words(self._known)
        self._view = View(self._written_msr)

    @property
    def loses_breakpoints(self) -> bool:
        """See `Stub`.  `_as_sent` is for what is resumed by this."""
        return self._hv

    def _as_sent(self, resume: Resume) -> Resume:
        """A continue as a request to step, which KVM HV takes for a continue.

        QEMU then believes each breakpoint that KVM tells it of.  Without that QEMU does not, if the
        vCPU's last exit to QEMU, of a hypercall with a result other than 0 or a device, has left
        something where QEMU looks for the kind of breakpoint (Linux kvmppc_emulate_debug_inst does
        not set kvm_run.debug.arch.status, which shares its place with others; QEMU target/ppc
        kvm_handle_debug): the vCPU then hits the breakpoint for ever, in silence.
        """
        return resume.stepped() if self._hv else resume

    def run(self, resume: Resume) -> StopReply:
        """See `Stub`."""
        try:
            return super().run(resume)
        finally:
            self._view.stopped(self.thread)

    def changed(self, thread: bytes | None) -> None:
        """See `Stub`."""
        super().changed(thread)
        self._view.changed(thread)

    def select(self, thread: bytes | None) -> None:
        """See `Stub`."""
        before = self.thread
        super().select(thread)
        if self.thread != before:
            self._view.selected()

    def _refused(self) -> None:
        super()._refused()
        self._view.changed(None)

    # -- registers

    def synchronise(self) -> None:
        """See `Stub`."""
        if self._order is None:
            self._learn_order()

    def _fetched(self) -> None:
        if self._order is None and not self._known.has_general:
            self._known.forget()  # without `g` the replies are of the stop before
            raise StubRefused("the stub refused to read the registers")

    def _learn_order(self) -> None:
        self.prefetch(("pc", "msr"))
        super()._learn_order()

    def _fetches_all(self) -> bool:
        return self._order is None

    # -- memory

    def query(self, payload: bytes) -> bytes:
        """See `Stub`."""
        asked = MEMORY.match(payload)
        if asked is not None:
            start, length = int(asked[1], 16), int(asked[2], 16)
            if any(
                one[:1] == b"z" and may_show(start, length, place_of(one))
                for one in self._pipeline.queued
            ):
                self.send_queued()
            self._look()
        reply = super().query(payload)
        return reply if asked is None else self._read_code(start, reply)

    def _shows(self) -> bool:
        return self._sees()

    def show_memory(self) -> None:
        """See `Stub`."""
        self._look()
        self.send_queued()

    def _sees(self, state: int | None = None) -> bool:
        return self._view.shows(self.thread, self._state() if state is None else state)

    def _may_see(self) -> bool:
        return self._view.was_written(self.thread)

    def _look(self, state: int | None = None) -> None:
        if not self._sees(state):
            self._put_msr(self._state())

    def _state(self) -> int:
        """The MSR that the thread has, or will have when what is queued was sent."""
        state = self._known.values.get("msr", self._queued_msr)
        return self.read("msr") if state is None else state

    def write(self, name: str, value: int, *, reads_back: bool = False) -> None:
        """See `Stub`."""
        super().write(name, value, reads_back=reads_back)
        if name == "msr":
            self._queued_msr = value

    def forget(self) -> None:
        """See `Stub`."""
        super().forget()
        self._queued_msr = None

    def _put_msr(self, state: int) -> None:
        """Queue a write of an MSR, even if the vCPU has it already."""
        self._pipeline.put(self._writes["msr"], Queued(self._writing(state).packet, "to write msr"))

    def _writing(self, state: int) -> Written:
        return Written(state, self._msr_written + state.to_bytes(8, self.order).hex().encode())

    def _written_msr(self, packet: bytes) -> int | None:
        if not packet.startswith(self._msr_written):
            return None
        return int.from_bytes(bytes.fromhex(packet[len(self._msr_written) :].decode()), self.order)

    def _around(self, address: int) -> tuple[int, int]:
        return self._words.clear_of(*super()._around(address), address)

    def _read_code(self, address: int, text: bytes) -> bytes:
        return self._words.revealed(address, text)

    def instruction(self, address: int) -> isa.Instruction:
        """See `Stub`; an instruction that a breakpoint hides is found."""
        word = self._word(address)
        if word == BREAKPOINT:
            # A breakpoint of gdb's hides the instruction, and is removed for a moment; or the
            # guest's own code has this word: then the stub refuses to remove a breakpoint.
            try:
                self.remove(address)
                self.send_queued()
            except StubRefused:
                return isa.decode(word)
            try:
                word = self._word(address)
            finally:
                self.insert(address)
                self.send_queued()
        return isa.decode(word)

    def code(self, address: int, count: int) -> tuple[int, ...]:
        """See `Stub`; words that breakpoints hide are found."""
        words = super().code(address, count)
        if BREAKPOINT not in words:
            # Remembered, so that it is known what a breakpoint hides that is planted here later.
            text = b"".join(word.to_bytes(4, self.order) for word in words).hex().encode()
            if self._sees():
                self._known.learn_code(address, text)
            return words
        return tuple(
            self.instruction(address + 4 * n).word if word == BREAKPOINT else word
            for n, word in enumerate(words)
        )

    # -- breakpoints

    def _plant(self, payload: bytes, what: str, refused: Refused | None) -> None:
        payload = _as_word(payload)
        state = self._state()
        through = msr.reaching(state, place_of(payload))
        self._view.plan(payload, Reach(self._writing(through), self._writing(state)))

        def otherwise(error: StubRefused) -> bool:
            self._words.refused(payload)
            if payload[:1] == b"Z" and self.cancel_removal(b"z" + payload[1:]):
                return True  # its removal was queued already: nobody needs it any more
            reply = self.breakpoint(payload)
            return reply == b"OK" or (refused is not None and refused(error))

        self._pipeline.put(payload, Queued(payload, what, otherwise))

    def _arranged(self, queue: list[Queued]) -> list[Queued]:
        return self._view.arranged(queue, self.thread, self._words.sent, self._put_back)

    def breakpoint(self, payload: bytes) -> bytes:
        """Send a Z or z packet, gdb's or ours; the reply.

        The thread's MSR may not reach the address: kernel memory in problem state or the other way
        round, and an interrupt vector at a real address with translation on.  Then another MSR is
        written for the packet, and the thread's own after it.  Only a vector is looked for at a
        real address: elsewhere an address that is not mapped would name memory that has nothing to
        do with it.
        """
        self.send_queued()
        hardware, payload = payload[:2] == b"Z1", _as_word(payload)
        state, place = self._state(), place_of(payload)
        tries = [msr.reaching(state, place), state]
        if msr.relocates(state):
            tries.append(state ^ msr.PR)
            if place in msr.VECTORS:
                tries.append(state & ~(msr.PR | msr.IR | msr.DR))
        selection = self._view.selection(self.thread)
        if selection is not None:
            self.call(selection)
        try:
            for through in dict.fromkeys(tries):
                if not self._view.reaches(self.thread, through):
                    self._put_msr(through)
                    self.send_queued()  # first: if the stub refuses it, the packet is not sent
                reply = self.call(payload)
                if reply == b"OK":
                    self._words.sent(payload)
                    break
        finally:
            if not self._view.reaches(self.thread, state):
                own = self._put_back(self._writing(state).packet)
                self._pipeline.put(self._writes["msr"], own)
                self.send_queued()
        # gdb prints what is behind the second dot (13.1 remote.c remote_insert_hw_breakpoint).
        return reply if reply == b"OK" or not hardware else _NOT_MAPPED % place

    def cancel_removal(self, payload: bytes) -> bool:
        """See `Stub`."""
        return super().cancel_removal(_as_word(payload))

    def _put_back(self, packet: bytes) -> Queued:
        """A write of the thread's own MSR, which is queued again if the stub refuses it."""

        def later(_error: StubRefused) -> bool:
            self._pipeline.put(self._writes["msr"], Queued(packet, "to write msr"))
            return True

        return Queued(packet, "to write msr", later)


def _as_word(payload: bytes) -> bytes:
    """A Z or z packet for the breakpoint in memory that stands for a hardware breakpoint."""
    return payload[:1] + b"0" + payload[2:] if payload[1:2] == b"1" else payload

# SPDX-License-Identifier: MIT
"""QEMU's stub with KVM: everything that it does differently, said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from ..errors import StubRefused
from ..ppc import isa, msr
from ..rsp.description import Register
from ..rsp.resume import Resume
from .link import Link
from .pipeline import Refused, expect_ok
from .stub import Stub

BREAKPOINT = 0x00DDDD00
"""The word that QEMU puts in memory for a breakpoint (Linux KVMPPC_INST_SW_BREAKPOINT)."""


class KvmStub(Stub):
    """The stub of QEMU with KVM HV or KVM PR (seen with QEMU 7.2, 10.0 and 11.1).

    - `p` and `P` work on what the last `g` has fetched from the vCPU: so after each stop, and for
      each thread, `g` comes first.
    - Addresses are translated by the MSR that was written last through the stub, not by the one
      that the vCPU has: so what was fetched is written back as it is.
    - A breakpoint is a word in memory, and reached by that translation.
    - KVM HV takes a step request for a continue.
    """

    breakpoints_are_words = True

    def __init__(self, link: Link, registers: Mapping[str, Register], *, hv: bool = False) -> None:
        """hv: it is KVM HV."""
        super().__init__(link, registers)
        self._hv = hv

    def _as_sent(self, resume: Resume) -> Resume:
        """With KVM HV a request to step, which is a continue there.

        QEMU then believes each breakpoint that KVM tells it of.  Else it does not if the vCPU's
        last exit to QEMU, of a hypercall with a result other than 0 or a device, has left something
        where QEMU looks for the kind of breakpoint (Linux kvmppc_emulate_debug_inst does not set
        kvm_run.debug.arch.status, which shares its place with others; QEMU target/ppc
        kvm_handle_debug): the vCPU hits it for ever, in silence.
        """
        return resume.stepped() if self._hv else resume

    def synchronise(self) -> None:
        """See `Stub`."""
        if self._order is None:
            self._learn_order()

    def _learn_order(self) -> None:
        """Fetch the registers with it.  It is not known before the MSR is written back: until then
        addresses are translated by another one.
        """
        self._pipeline.ask((b"g",))
        raw = self._raw_msr()
        written = b"P" + self.asks["msr"][1:]
        self._done(written + b"=" + raw.hex().encode(), "to write msr")
        self._set_order(raw)

    def prefetch(
        self, registers: Iterable[str], code: Iterable[int] = (), payloads: Sequence[bytes] = ()
    ) -> None:
        """Without code: a breakpoint of gdb's may be in it."""
        self.synchronise()
        words = [b"m%x,4" % address for address in code]
        super().prefetch(registers, (), (*payloads, *words))

    def instruction(self, address: int) -> isa.Instruction:
        """See `Stub`; what a breakpoint hides is found."""
        word = self._word(address)
        if word == BREAKPOINT:
            # A breakpoint of gdb's hides it; or the guest's code has this word, which is refused.
            with suppress(StubRefused):
                self.remove(address)
                try:
                    word = self._word(address)
                finally:
                    self.insert(address)
        return isa.decode(word)

    def code(self, address: int, count: int) -> tuple[int, ...]:
        """See `Stub`; what breakpoints hide is found."""
        words = super().code(address, count)
        if BREAKPOINT not in words:
            return words
        return tuple(
            self.instruction(address + 4 * n).word if word == BREAKPOINT else word
            for n, word in enumerate(words)
        )

    def _plant(self, payload: bytes, what: str, refused: Refused | None) -> None:
        """Now: the MSR of the moment decides whether the address can be reached."""
        try:
            expect_ok(self.breakpoint(payload), what)
        except StubRefused as error:
            if refused is None or not refused(error):
                raise
        self._known.forget_memory()

    def breakpoint(self, payload: bytes) -> bytes:
        """Send a Z0 or z0 packet, ours or gdb's; the reply.

        The MSR of the moment may not reach the address: kernel memory in problem state or the other
        way round, and an interrupt vector at a real address with translation on.  Then the MSR is
        another one for the packet.  Only a vector is looked for at a real address: elsewhere an
        address that is not mapped would name memory that has nothing to do with it.
        """
        self.send_queued()
        state = self.read("msr")
        tries = [state]
        if msr.relocates(state):
            tries.append(state ^ msr.PR)
            if int(payload.split(b",")[1], 16) in msr.VECTORS:
                tries.append(state & ~(msr.PR | msr.IR | msr.DR))
        for tried in tries:
            if tried != state:
                self.write("msr", tried)
                self.send_queued()  # if that is refused, the packet is not to be done
            try:
                reply = self.call(payload)
            finally:
                if tried != state:
                    self.write("msr", state)
                    self.send_queued()
            if reply == b"OK":
                break
        return reply

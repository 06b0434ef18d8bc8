# SPDX-License-Identifier: MIT
"""A gdbstub as the engine sees it: registers by name, memory, temporary breakpoints, resuming.

Knows packets and byte orders, but neither gdb nor sockets: a door gives it a `Link`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, Protocol

from . import description, isa, msr
from .description import Register
from .errors import StubRefused
from .rsp import Resume, StopReply, plain, stopped, thread_id

KVM_BREAKPOINT = 0x00DDDD00
"""The word that QEMU puts in memory for a breakpoint with KVM (Linux KVMPPC_INST_SW_BREAKPOINT)."""


class Link(Protocol):
    """How packets get to the stub."""

    def call(self, payload: bytes) -> bytes:
        """Send a packet to the stopped stub; its reply.  StubGone if there is none."""

    def resume(self, payload: bytes) -> bytes:
        """Send a packet that resumes the guest; its stop reply, however long that takes.

        Meanwhile the user's interrupt is passed on.  StubGone if the stub goes away.
        """

    def interrupted(self) -> bool:
        """Whether the user has asked to stop since this was last asked, passed on or not."""


class Stub:
    """One stub and the thread selected in it.

    Values of registers are unsigned integers, addresses too.  What the stub refuses raises
    StubRefused with a line that names it.
    """

    def __init__(self, link: Link, registers: Mapping[str, Register], *, kvm: bool = False) -> None:
        """kvm: the stub is QEMU's with KVM, whose registers have to be synchronised."""
        self._link = link
        self._registers = registers
        self.kvm = kvm
        self.hv = False
        """With KVM, that it is KVM HV, which ignores step requests."""
        self.thread: bytes | None = None
        """The thread-id that the stub has selected for registers and memory, None if unknown."""
        self._order: Literal["little", "big"] | None = None

    def call(self, payload: bytes) -> bytes:
        """The reply to a packet, as it came."""
        return self._link.call(payload)

    def select(self, thread: bytes | None) -> None:
        """Select the thread whose registers and memory are meant; None: as it is."""
        if thread is None or thread == self.thread:
            return
        self._done(b"Hg" + thread, f"to select thread {thread.decode()}")
        self.thread = thread
        self._order = None

    def interrupted(self) -> bool:
        """See `Link`."""
        return self._link.interrupted()

    def changed(self, thread: bytes | None) -> None:
        """Somebody else has selected `thread` (None: unknown) or written its registers."""
        self.thread = thread
        self._order = None

    def threads(self) -> list[bytes]:
        """The thread-ids of all vCPUs."""
        found, reply = [], self._link.call(b"qfThreadInfo")
        while reply[:1] == b"m":
            found += [thread_id(one) for one in reply[1:].split(b",")]
            reply = self._link.call(b"qsThreadInfo")
        return found

    def run(self, resume: Resume) -> StopReply:
        """Resume the guest; what it stopped with.

        KVM HV takes a step request for a continue, but QEMU then believes each breakpoint that KVM
        tells it of.  Else it does not if the vCPU's last exit to QEMU, of a hypercall with a result
        other than 0 or a device, has left something where QEMU looks for the kind of breakpoint
        (Linux kvmppc_emulate_debug_inst does not set kvm_run.debug.arch.status, which shares its
        place with others; QEMU target/ppc kvm_handle_debug): the vCPU hits it for ever, in silence.
        """
        self._order = None
        if self.hv:
            resume = resume.stepped()
        stop = StopReply.parse(self._link.resume(resume.payload()))
        # A stub selects the thread that it reports (QEMU gdb_set_stop_cpu), and gdb counts on it.
        self.thread = stop.thread
        if stop.signal == 2 and resume.alone not in (None, stop.thread):
            # QEMU names the first vCPU when it is interrupted.  gdb does not expect a stop of a
            # thread that was not resumed: 13.1 ends with an internal error (skip_inline_frames).
            return stopped(resume.alone, signal=2)
        return stop

    def read(self, name: str) -> int:
        """The value of a register of the selected thread.

        With KVM, QEMU's `p` and `P` work on what the last `g` fetched from the vCPU, and addresses
        are translated by the MSR last written (QEMU 7.2, 10.0; seen): so after each stop `g` comes
        first, and the MSR is written as it is.
        """
        if self._order is None and name != "msr":
            self.read("msr")
        number = self._register(name).number
        stale = self.kvm and self._order is None
        if stale:
            self._link.call(b"g")
        raw = self._hex(b"p%x" % number, f"to read {name}")
        if stale:
            self._done(b"P%x=%s" % (number, raw.hex().encode()), "to write msr")
        if name == "msr":
            self._order = "little" if msr.little_endian(raw) else "big"
        assert self._order is not None
        return int.from_bytes(raw, self._order)

    def write(self, name: str, value: int) -> None:
        """Set a register of the selected thread."""
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        register = self._register(name)
        raw = value.to_bytes(register.size, self._order)
        self._done(b"P%x=%s" % (register.number, raw.hex().encode()), f"to write {name}")
        if name == "msr":
            self._order = "little" if value & msr.LE else "big"

    def keeps(self, number: int) -> bool:
        """Whether the stub has a register of the selected thread at all.

        QEMU 7.2 answers OK to a `P` of an SPR of any vCPU but the first, and does nothing
        (gdb_set_spr_reg looks for the register by a number that only the first vCPU has).
        """
        return not self._link.call(b"p%x" % number).startswith(b"E")

    def has(self, name: str) -> bool:
        """Whether the target description has a register."""
        return name in self._registers

    def instruction(self, address: int) -> isa.Instruction:
        """The instruction at an address, in the byte order of the selected thread."""
        word = self._word(address)
        if self.kvm and word == KVM_BREAKPOINT:
            # A breakpoint of gdb's hides it; or the guest's code has this word, which is refused.
            with suppress(StubRefused):
                self.remove(address)
                try:
                    word = self._word(address)
                finally:
                    self.insert(address)
        return isa.decode(word)

    def _word(self, address: int) -> int:
        raw = self.memory(address, 4)
        if len(raw) != 4:
            raise StubRefused(f"cannot read the instruction at {address:#x}")
        return int.from_bytes(raw, self.order)

    def memory(self, address: int, length: int) -> bytes:
        """Memory as the selected thread sees it; empty where it cannot be read."""
        self.synchronise()
        try:
            return self._hex(b"m%x,%x" % (address, length), "")
        except StubRefused:
            return b""

    @property
    def order(self) -> Literal["little", "big"]:
        """ "little" or "big": the selected thread's byte order."""
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        return self._order

    def insert(self, address: int) -> None:
        """Plant a breakpoint.  A stub counts: twice inserted is to be removed twice."""
        self.expect_ok(b"Z0,%x,4" % address, f"a temporary breakpoint at {address:#x}")

    def remove(self, address: int) -> None:
        """Take a breakpoint away again."""
        what = f"to remove the temporary breakpoint at {address:#x}"
        self.expect_ok(b"z0,%x,4" % address, what)

    def expect_ok(self, payload: bytes, what: str) -> None:
        """Send a Z or z packet, gdb's or ours.  StubRefused: the stub refused `what`."""
        _expect_ok(self.breakpoint(payload), what)

    def breakpoint(self, payload: bytes) -> bytes:
        """Send a Z0 or z0 packet, ours or gdb's; the reply.

        With KVM a breakpoint is a word in memory, reached by the translation of the MSR, and the
        MSR of the moment may not reach it: kernel memory in problem state or the other way round,
        and an interrupt vector at a real address with translation on.  Then the MSR is another one
        for the packet.  Only a vector is looked for at a real address: elsewhere an address that
        is not mapped would name memory that has nothing to do with it.
        """
        if not self.kvm:
            return self._link.call(payload)
        state = self.read("msr")
        tries = [state]
        if msr.relocates(state):
            tries.append(state ^ msr.PR)
            if int(payload.split(b",")[1], 16) in msr.VECTORS:
                tries.append(state & ~(msr.PR | msr.IR | msr.DR))
        for tried in tries:
            if tried != state:
                self.write("msr", tried)
            try:
                reply = self._link.call(payload)
            finally:
                if tried != state:
                    self.write("msr", state)
            if reply == b"OK":
                break
        return reply

    def synchronise(self) -> None:
        """With KVM: fetch the selected thread's state before somebody works on it (see `read`)."""
        if self.kvm and self._order is None:
            self.read("msr")

    def _register(self, name: str) -> Register:
        register = self._registers.get(name)
        if register is None:
            raise StubRefused(f"the stub's target description has no register {name}")
        return register

    def _done(self, payload: bytes, what: str) -> None:
        _expect_ok(self._link.call(payload), what)

    def _hex(self, payload: bytes, what: str) -> bytes:
        reply = self._link.call(payload)
        try:
            if reply.startswith(b"E") and len(reply) % 2:
                raise ValueError
            raw = bytes.fromhex(plain(reply).decode("ascii"))
        except ValueError:
            raw = b""
        if not raw:
            raise StubRefused(f"the stub refused {what} (reply {_shown(reply)})")
        return raw


def introduce(link: Link, *, kvm: bool) -> Stub:
    """The stub at the other end, stopped.  SstepError if its guest cannot be stepped."""
    stub = Stub(link, description.parse(lambda name: _annex(link, name)), kvm=kvm)
    for name in ("pc", "msr"):
        stub.read(name)
    for name in ("srr0", "srr1"):
        if not stub.has(name):
            raise StubRefused(f"the stub's target description has no register {name}")
    if kvm and stub.has("lpcr"):
        with suppress(StubRefused):
            stub.hv = stub.read("lpcr") & ~msr.LPCR_ILE != 0
    return stub


def _annex(link: Link, name: str) -> str:
    text, more = "", True
    while more:
        reply = link.call(b"qXfer:features:read:%s:%x,800" % (name.encode(), len(text)))
        if reply[:1] not in (b"m", b"l"):
            raise StubRefused("the stub has no target description, so SRR0 has no number")
        more = reply[:1] == b"m"
        text += plain(reply[1:]).decode("latin-1")
    return text


def _expect_ok(reply: bytes, what: str) -> None:
    if reply != b"OK":
        raise StubRefused(f"the stub refused {what} (reply {_shown(reply)})")


def _shown(reply: bytes) -> str:
    return repr(reply.decode("latin-1"))

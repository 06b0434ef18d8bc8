# SPDX-License-Identifier: MIT
"""A gdbstub as the engine sees it: registers by name, memory, temporary breakpoints, resuming.

Knows packets and byte orders, but neither gdb nor sockets: a door gives it a `Link`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol

from . import description, isa, msr
from .description import Register
from .errors import StubRefused
from .rsp import Resume, StopReply, plain, stopped, thread_id

KVM_BREAKPOINT = 0x00DDDD00
"""The word that QEMU puts in memory for a breakpoint with KVM (Linux KVMPPC_INST_SW_BREAKPOINT)."""

# Bits of the MSR that have nothing to do with how memory and registers are seen.
_NO_MODE = msr.EE | msr.SE | msr.BE

_MEMORY = re.compile(rb"m([0-9a-f]+),([0-9a-f]+)$")
_PAGE = 4096
_BEFORE, _BEHIND = 32, 64  # bytes around pc that gdb or the next step may look at

Refused = Callable[[StubRefused], bool]
"""Told that the stub has refused something: whether that is all right."""


class Link(Protocol):
    """How packets get to the stub."""

    def call(self, payload: bytes) -> bytes:
        """Send a packet to the stopped stub; its reply.  StubGone if there is none."""

    def calls(self, payloads: Sequence[bytes]) -> list[bytes]:
        """The same for some packets, none of which resumes; sent at once where that can be."""

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
        self._queue: list[_Queued] = []
        self._answers: dict[bytes, bytes] = {}
        self._values: dict[str, int] = {}  # registers of these answers
        self._block: tuple[int, bytes] | None = None  # code, as the stub replied

    # Packets take the stub less time than waiting for each reply does.  So what can only be done or
    # refused is queued and goes out with the next question, and what will be asked for is asked for
    # at once, and kept until something may have changed it.  The engine sees to it
    # that nothing of that is left when somebody else has the stub.

    def call(self, payload: bytes) -> bytes:
        """The reply to a packet, as it came."""
        return self._ask(payload)[0]

    def _ask(self, *payloads: bytes) -> list[bytes]:
        """The replies to packets, after those that are queued."""
        queue, self._queue = self._queue, []
        sent = [one.payload for one in queue] + list(payloads)
        replies = self._link.calls(sent) if len(sent) > 1 else [self._link.call(sent[0])]
        first: StubRefused | None = None
        for one, reply in zip(queue, replies):
            try:
                _expect_ok(reply, one.what)
            except StubRefused as refused:
                if one.refused is None or not one.refused(refused):
                    first = first or refused
        if first is not None:
            self.forget()
            self._order = None  # MSR[LE] may be among what was written
            raise first
        return replies[len(queue) :]

    def _later(self, payload: bytes, what: str, refused: Refused | None = None) -> None:
        """Queue a packet; if it is refused then, StubRefused is raised or `refused` asked."""
        self._queue.append(_Queued(payload, what, refused))

    def send_queued(self) -> None:
        """Have done what is queued.  StubRefused for the first that is refused."""
        while self._queue:
            self._ask()

    def forget(self) -> None:
        """Somebody else may have changed anything: nothing is known any more."""
        self._answers.clear()
        self._values.clear()
        self._block = None

    def forget_refusals(self) -> None:
        """What was refused may be answered the next time."""
        for payload in [asked for asked, reply in self._answers.items() if reply[:1] == b"E"]:
            del self._answers[payload]

    def known(self, payload: bytes) -> bytes | None:
        """What the stub would reply to a packet that asks for something; None if that is unknown.

        That is for the selected thread.
        """
        answer = self._answers.get(payload)
        if answer is None and self._block is not None and (asked := _MEMORY.match(payload)):
            start, text = self._block
            at, length = 2 * (int(asked[1], 16) - start), 2 * int(asked[2], 16)
            if at >= 0 and length and at + length <= len(text):
                answer = self._answers[payload] = text[at : at + length]
        return answer

    def look_ahead(
        self, registers: Mapping[str, int], code: int, payloads: Sequence[bytes] = ()
    ) -> None:
        """Have done what is queued; then `registers` of the selected thread have these values.

        What will be asked for is asked for as well: the code around an address, and `payloads`.
        """
        if self.kvm:
            self.send_queued()
            return
        first = max(code - _BEFORE, code & -_PAGE)
        last = min(code + _BEHIND, (code & -_PAGE) + _PAGE)
        text, *replies = self._ask(b"m%x,%x" % (first, last - first), *payloads)
        assert self._order is not None
        for name, value in registers.items():
            register = self._register(name)
            raw = value.to_bytes(register.size, self._order).hex().encode()
            self._answers[b"p%x" % register.number] = raw
            self._values[name] = value
        self._answers.update(zip(payloads, replies))
        self.forget_refusals()
        if re.fullmatch(b"[0-9a-f]+", text):
            self._block = first, text

    def expect(
        self, registers: Iterable[str], code: int | None = None, payloads: Sequence[bytes] = ()
    ) -> None:
        """These registers of the selected thread, and maybe the instruction at an address and
        `payloads`, will be asked for; ask for what is not known at once.
        """
        if self._order is None and self.kvm:
            self.read("msr")
        wanted = [b"p%x" % self._registers[name].number for name in registers if self.has(name)]
        if code is not None:
            wanted.append(b"m%x,4" % code)
        wanted = [payload for payload in (*wanted, *payloads) if self.known(payload) is None]
        if wanted:
            self._answers.update(zip(wanted, self._ask(*wanted)))

    def select(self, thread: bytes | None) -> None:
        """Select the thread whose registers and memory are meant; None: as it is."""
        if thread is None or thread == self.thread:
            return
        self.forget()
        self._done(b"Hg" + thread, f"to select thread {thread.decode()}")
        self.thread = thread
        self._order = None

    def interrupted(self) -> bool:
        """See `Link`."""
        return self._link.interrupted()

    def changed(self, thread: bytes | None) -> None:
        """Somebody else has selected `thread` (None: unknown) or written its registers."""
        self.forget()
        self.thread = thread
        self._order = None

    def threads(self) -> list[bytes]:
        """The thread-ids of all vCPUs."""
        found, reply = [], self.call(b"qfThreadInfo")
        while reply[:1] == b"m":
            found += [thread_id(one) for one in reply[1:].split(b",")]
            reply = self.call(b"qsThreadInfo")
        return found

    def run(self, resume: Resume) -> StopReply:
        """Resume the guest; what it stopped with.

        KVM HV takes a step request for a continue, but QEMU then believes each breakpoint that KVM
        tells it of.  Else it does not if the vCPU's last exit to QEMU, of a hypercall with a result
        other than 0 or a device, has left something where QEMU looks for the kind of breakpoint
        (Linux kvmppc_emulate_debug_inst does not set kvm_run.debug.arch.status, which shares its
        place with others; QEMU target/ppc kvm_handle_debug): the vCPU hits it for ever, in silence.
        """
        self.send_queued()
        self.forget()
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
        value = self._values.get(name)
        if value is not None:
            return value
        if self._order is None and name != "msr":
            self.read("msr")
        number = self._register(name).number
        stale = self.kvm and self._order is None
        if stale:
            self._ask(b"g")
        asked = b"p%x" % number
        if self.known(asked) is None:
            self._answers[asked] = self.call(asked)
        raw = self._hex(asked, f"to read {name}")
        if stale:
            self._done(b"P%x=%s" % (number, raw.hex().encode()), "to write msr")
        if name == "msr":
            self._order = "little" if msr.little_endian(raw) else "big"
        assert self._order is not None
        value = int.from_bytes(raw, self._order)
        if asked in self._answers:
            self._values[name] = value
        return value

    def write(self, name: str, value: int) -> None:
        """Set a register of the selected thread."""
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        register = self._register(name)
        raw = value.to_bytes(register.size, self._order)
        if name == "msr" and (self._values.get("msr", ~value) ^ value) & ~_NO_MODE:
            self.forget()  # memory may be other memory then
        for answer in (b"p%x" % register.number, b"g"):
            self._answers.pop(answer, None)
        self._values.pop(name, None)
        self._later(b"P%x=%s" % (register.number, raw.hex().encode()), f"to write {name}")
        if name == "msr":
            order: Literal["little", "big"] = "little" if value & msr.LE else "big"
            if order != self._order:
                self.send_queued()  # what would have to be sent again must be in the same order
            self._order = order

    def keeps(self, number: int) -> bool:
        """Whether the stub has a register of the selected thread at all.

        QEMU 7.2 answers OK to a `P` of an SPR of any vCPU but the first, and does nothing
        (gdb_set_spr_reg looks for the register by a number that only the first vCPU has).
        """
        return not self.call(b"p%x" % number).startswith(b"E")

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

    def code(self, address: int, count: int) -> tuple[int, ...]:
        """So many words of code from an address on."""
        raw = self.memory(address, 4 * count)
        if len(raw) != 4 * count:
            raise StubRefused(f"cannot read the code at {address:#x}")
        words = [int.from_bytes(raw[n : n + 4], self.order) for n in range(0, len(raw), 4)]
        if self.kvm:
            for n, word in enumerate(words):
                if word == KVM_BREAKPOINT:
                    words[n] = self.instruction(address + 4 * n).word
        return tuple(words)

    @property
    def order(self) -> Literal["little", "big"]:
        """ "little" or "big": the selected thread's byte order."""
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        return self._order

    def insert(self, address: int, refused: Refused | None = None) -> None:
        """Plant a breakpoint, now or later.  A stub counts: what is twice there goes by twice."""
        self._plant(b"Z0,%x,4" % address, f"a temporary breakpoint at {address:#x}", refused)

    def remove(self, address: int, refused: Refused | None = None) -> None:
        """Take a breakpoint away again, now or later."""
        what = f"to remove the temporary breakpoint at {address:#x}"
        self._plant(b"z0,%x,4" % address, what, refused)

    def _plant(self, payload: bytes, what: str, refused: Refused | None) -> None:
        if not self.kvm:
            self._later(payload, what, refused)
            return
        try:
            self.expect_ok(payload, what)
        except StubRefused as error:
            if refused is None or not refused(error):
                raise

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
        self.send_queued()
        if not self.kvm:
            return self.call(payload)
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
                reply = self.call(payload)
            finally:
                if tried != state:
                    self.write("msr", state)
                    self.send_queued()
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
        self.send_queued()  # if that is refused, this is not to be done
        _expect_ok(self.call(payload), what)

    def _hex(self, payload: bytes, what: str) -> bytes:
        reply = self.known(payload)
        if reply is None:
            reply = self.call(payload)
        try:
            if reply.startswith(b"E") and len(reply) % 2:
                raise ValueError
            raw = bytes.fromhex(plain(reply).decode("ascii"))
        except ValueError:
            raw = b""
        if not raw:
            self._answers.pop(payload, None)  # it may answer the next time
            raise StubRefused(f"the stub refused {what} (reply {_shown(reply)})")
        return raw


class _Queued(NamedTuple):
    """A packet that is to be answered OK.  what: it does, as an error names it."""

    payload: bytes
    what: str
    refused: Refused | None


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

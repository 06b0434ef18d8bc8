# SPDX-License-Identifier: MIT
"""A gdbstub as the engine sees it: registers by name, memory, temporary breakpoints, resuming.

Knows packets and byte orders, but neither gdb nor sockets: a door gives it a `Link`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol

from ..errors import StubRefused, Unsettled
from ..ppc import isa, msr
from ..rsp import description
from ..rsp.description import Register
from ..rsp.framing import plain
from ..rsp.resume import Resume, StopReply, stopped, thread_id

_ALL = -1  # bits

KVM_BREAKPOINT = 0x00DDDD00
"""The word that QEMU puts in memory for a breakpoint with KVM (Linux KVMPPC_INST_SW_BREAKPOINT)."""

# Bits of the MSR that say what memory is seen, but for its protection.
_VIEW = msr.SF | msr.HV | msr.IR | msr.DR

# Packets that ask for what has nothing to do with registers and memory.
_UNRELATED = (b"qfThreadInfo", b"qsThreadInfo", b"qC")

_MEMORY = re.compile(rb"m([0-9a-f]+),([0-9a-f]+)$")
_HEX = re.compile(rb"(?:[0-9a-f]{2})+")

_GENERAL = {**{f"r{n}": 16 * n for n in range(32)}, "pc": 512, "msr": 528, "lr": 552}
"""Where registers are in QEMU's reply to `g` (gdb-xml/power64-core.xml; no others before these)."""

_PAGE = 4096
_BEFORE, _BEHIND = 32, 64  # bytes around pc that gdb or the next step may look at

Refused = Callable[[StubRefused], bool]
"""Told that the stub has refused something: whether that is all right."""


class Link(Protocol):
    """How packets get to the stub."""

    def call(self, payload: bytes) -> bytes:
        """Send a packet to the stopped stub; its reply.  StubGone if there is none."""

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """Send some packets, none of which resumes, at once where that can be.

        What is returned waits for the replies; it is called before anything else is.
        """

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
        self.asks = {name: b"p%x" % register.number for name, register in registers.items()}
        """The packets that ask for registers, by their names."""
        self._queue: dict[bytes, _Queued] = {}  # by what it is about
        self._left: Callable[[bool], None] | None = None  # see defer
        self._ahead: Callable[[], object] | None = None  # see send_ahead
        self.unanswered: list[bytes] = []
        """Writes of registers that were sent, and whose replies are still to come."""
        self._written: dict[bytes, bytes] = {}  # registers, since the guest has stopped
        self._changes: int | None = None  # what is queued for the MSR, but for what it is: its bits
        self.version = 0
        """Counts how often all that was known has been forgotten."""
        self._answers: dict[bytes, bytes] = {}
        self._values: dict[str, int] = {}  # registers of these answers
        self._blocks: list[tuple[int, bytes]] = []  # code, as the stub replied

    # Packets take the stub less time than waiting for each reply does.  So what can only be done or
    # refused is queued and goes out with the next question, and what will be asked for is asked for
    # at once, and kept until something may have changed it.  The engine sees to it
    # that nothing of that is left when somebody else has the stub.

    @property
    def breakpoints_are_words(self) -> bool:
        """Whether a breakpoint is a word in the guest's memory, which who reads that sees."""
        return self.kvm

    def call(self, payload: bytes) -> bytes:
        """The reply to a packet, as it came."""
        return self._ask(payload)[0]

    def _ask(self, *payloads: bytes) -> list[bytes]:
        """The replies to packets, after those that are queued."""
        return self._begin(payloads)()

    def _begin(self, payloads: Sequence[bytes] = ()) -> Callable[[], list[bytes]]:
        self._land()
        queue, left = self._queue, self._left
        self._queue, self._left, self._changes = {}, None, None
        self._written.update((name, one.payload) for name, one in queue.items())
        self.unanswered = [one.payload for one in queue.values() if one.payload[:1] == b"P"]
        sent = [*(one.payload for one in queue.values()), *payloads]
        replies = self._link.begin(sent) if sent else list[bytes]
        return lambda: self._checked(list(queue.values()), left, replies())

    def _checked(
        self, queue: list[_Queued], left: Callable[[bool], None] | None, replies: list[bytes]
    ) -> list[bytes]:
        """The replies behind those to what was queued."""
        self.unanswered = []
        first: StubRefused | None = None
        for one, reply in zip(queue, replies):
            if reply == b"OK":
                continue
            refused = StubRefused(f"the stub refused {one.what} (reply {_shown(reply)})")
            if one.refused is None or not one.refused(refused):
                first = first or refused
        if first is not None:
            self.forget()
            self._order = None  # MSR[LE] may be among what was written
        if left is not None:
            left(first is None)
        if first is not None:
            raise first
        return replies[len(queue) :]

    def send_queued(self) -> None:
        """Have done what is queued.  StubRefused for the first that is refused."""
        self._land()
        while self._queue or self._left is not None:
            self._ask()

    def send_ahead(self) -> None:
        """The same, but what is refused is found out before the next packet."""
        self._ahead = self._begin()

    def _land(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead()

    def defer(self, sent: Callable[[bool], None]) -> None:
        """What is queued may wait for what comes next; it is not sent if that undoes it.

        sent: told when the stub has been asked, whether it has done all of it.
        """
        if self._queue:
            self._left = sent
        else:
            sent(True)

    def forget(self) -> None:
        """Somebody else may have changed anything: nothing is known any more."""
        self.version += 1
        self._written.clear()
        self._answers.clear()
        self._values.clear()
        self._blocks.clear()

    def abandon(self) -> None:
        """Forget what is known, and what is queued but the removal of breakpoints: the caller puts
        the guest right by itself.
        """
        self._queue = {payload: one for payload, one in self._queue.items() if payload[:1] == b"z"}
        self._left = self._ahead = self._changes = None
        self.changed(None)

    def query(self, payload: bytes) -> bytes:
        """The reply to a packet that asks for something.

        What is left in the queue stays there if that makes no difference.
        """
        kind, changes = payload[:1], self._changes or 0
        if payload in _UNRELATED or kind == b"T":
            past = True
        elif kind in (b"m", b"x"):
            past = not changes & (_VIEW | msr.PR)
        else:
            past = kind == b"p" and not changes & msr.LE and b"P" + payload[1:] not in self._queue
        self._land()
        if self._left is not None and past:
            return self._link.call(payload)
        return self.call(payload)

    def _forget_memory(self) -> None:
        for payload in [asked for asked in self._answers if asked[:1] == b"m"]:
            del self._answers[payload]
        self._blocks.clear()

    def forget_refusals(self) -> None:
        """What was refused may be answered the next time."""
        for payload in [asked for asked, reply in self._answers.items() if reply[:1] == b"E"]:
            del self._answers[payload]

    def known(self, payload: bytes) -> bytes | None:
        """What the stub would reply to a packet that asks for something; None if that is unknown.

        That is for the selected thread.
        """
        answer = self._answers.get(payload)
        if answer is None and self._blocks and (asked := _MEMORY.match(payload)):
            answer = self._in_blocks(int(asked[1], 16), int(asked[2], 16))
            if answer is not None:
                self._answers[payload] = answer
        return answer

    def known_register(self, name: str) -> bytes | None:
        """What the stub would reply if it were asked for a register, None if that is unknown."""
        text = self._answers.get(self.asks[name])
        if text is None and name in _GENERAL and (general := self._general()) is not None:
            at = _GENERAL[name]
            text = general[at : at + 16]
        return None if text is None or not _HEX.fullmatch(text) else text

    def _in_blocks(self, address: int, length: int) -> bytes | None:
        for start, text in self._blocks:
            at = 2 * (address - start)
            if at >= 0 and length and at + 2 * length <= len(text):
                return text[at : at + 2 * length]
        return None

    def prefetch(
        self, registers: Iterable[str], code: Iterable[int] = (), payloads: Sequence[bytes] = ()
    ) -> None:
        """These registers of the selected thread, and maybe instructions at some addresses and
        `payloads`, will be asked for; ask for what is not known at once.
        """
        if self._order is None and self.kvm:
            self.read("msr")
        asks = self.asks
        wanted = [asks[name] for name in registers if name in asks]
        wanted = [payload for payload in (*wanted, *payloads) if payload not in self._answers]
        blocks: list[int] = []
        for address in code:
            if self.kvm:  # breakpoints are in memory
                wanted.append(b"m%x,4" % address)
            elif self._in_blocks(address, 4) is None:
                first, last = _around(address)
                if first not in blocks:
                    blocks.append(first)
                    wanted.append(b"m%x,%x" % (first, last - first))
        if not wanted:
            return
        replies = self._ask(*wanted)
        count = len(wanted) - len(blocks)
        self._answers.update(zip(wanted[:count], replies))
        for first, text in zip(blocks, replies[count:]):
            if _HEX.fullmatch(text):
                self._blocks.append((first, text))

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

    def current_thread(self) -> bytes | None:
        """The thread that the stub takes for the current one, None where it does not say."""
        reply = self.call(b"qC")
        return thread_id(reply[2:]) if reply.startswith(b"QC") else None

    def threads(self) -> list[bytes]:
        """The thread-ids of all vCPUs."""
        found, reply = [], self.call(b"qfThreadInfo")
        while reply[:1] == b"m":
            found += [thread_id(one) for one in reply[1:].split(b",")]
            reply = self.call(b"qsThreadInfo")
        return found

    def run(self, resume: Resume) -> StopReply:
        """Resume the guest; what it stopped with.  Unsettled: it may have run; any other
        SstepError: it has not.

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
        try:
            stop = StopReply.parse(self._link.resume(resume.payload()))
        except StubRefused as refused:
            raise Unsettled(str(refused)) from refused
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
        register = self._register(name)
        stale = self.kvm and self._order is None
        if stale:
            self._ask(b"g")
        asked = self.asks[name]
        if self.known(asked) is None:
            self._answers[asked] = self.query(asked)
        raw = self._hex(asked, "to read " + name)
        if len(raw) != register.size:
            self._answers.pop(asked, None)
            raise StubRefused(f"the stub gave {len(raw)} bytes for register {name}")
        if stale:
            self._done(b"P%x=%s" % (register.number, raw.hex().encode()), "to write msr")
        if name == "msr":
            self._order = "little" if msr.little_endian(raw) else "big"
        assert self._order is not None
        value = int.from_bytes(raw, self._order)
        if asked in self._answers:
            self._values[name] = value
        return value

    def read_optional(self, name: str) -> int | None:
        """The same, None where the stub does not give it."""
        try:
            return self.read(name) if self.has(name) else None
        except StubRefused:
            return None

    def write(self, name: str, value: int, *, reads_back: bool = False) -> None:
        """Set a register of the selected thread, now or later.

        reads_back: it is of the stub's giving, so it will read back as it is written.
        """
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        register = self._register(name)
        raw = value.to_bytes(register.size, self._order).hex().encode()
        general = self._general()
        if name == "msr":
            before = self._values.get("msr")
            changes = _ALL if before is None else before ^ value
            self._changes = (
                _ALL if _ALL in (changes, self._changes) else changes ^ (self._changes or 0)
            )
            if changes & _VIEW:
                self._forget_memory()
        asked = self.asks[name]
        self._answers.pop(b"g", None)
        if reads_back:
            self._answers[asked], self._values[name] = raw, value
            at = _GENERAL.get(name)
            if general is not None and at is not None:
                self._answers[b"g"] = general[:at] + raw + general[at + len(raw) :]
            elif general is not None and name in isa.SRR.values():  # they are not in it
                self._answers[b"g"] = general
        else:
            self._answers.pop(asked, None)
            self._values.pop(name, None)
        written = b"P" + asked[1:]
        self._queue.pop(written, None)  # what is written twice is last written last
        payload = written + b"=" + raw
        if self._written.get(written) != payload:
            self._queue[written] = _Queued(payload, "to write " + name, None)
        if name == "msr":
            order: Literal["little", "big"] = "little" if value & msr.LE else "big"
            if order != self._order:
                self.send_queued()  # what would have to be sent again must be in the same order
                self.forget()  # and these are not
            self._order = order

    def _general(self) -> bytes | None:
        """The reply to `g` if it is known and laid out as QEMU's is: as `_GENERAL` says."""
        general = self._answers.get(b"g")
        if general is None or "msr" not in self.asks or "pc" not in self.asks:
            return None
        pc, state = self._answers.get(self.asks["pc"]), self._answers.get(self.asks["msr"])
        if pc is None or state is None or general[_GENERAL["pc"] :][:32] != pc + state:
            return None
        return general

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
        if self._queue.pop(b"z0,%x,4" % address, None) is not None:
            return  # it is still there
        self._plant(b"Z0,%x,4" % address, f"a temporary breakpoint at {address:#x}", refused)

    def remove(self, address: int, refused: Refused | None = None) -> None:
        """Take a breakpoint away again, now or later."""
        what = f"to remove the temporary breakpoint at {address:#x}"
        self._plant(b"z0,%x,4" % address, what, refused)

    def _plant(self, payload: bytes, what: str, refused: Refused | None) -> None:
        if not self.kvm:
            self._queue[payload] = _Queued(payload, what, refused)
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
            reply = self.query(payload)
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


def _around(address: int) -> tuple[int, int]:
    """The code that is asked for with an instruction: from, and to, within its page."""
    page = address & -_PAGE
    return max(address - _BEFORE, page), min(address + _BEHIND, page + _PAGE)


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

# SPDX-License-Identifier: MIT
"""A gdbstub as the engine sees it: registers by name, memory, temporary breakpoints, resuming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ..errors import StubRefused, Unsettled
from ..ppc import isa, msr
from ..rsp.description import Register
from ..rsp.framing import plain
from ..rsp.resume import Resume, StopReply, stopped, thread_id
from .known import MEMORY, PAGE, Known
from .link import Link
from .pipeline import Pipeline, Queued, Refused, Sent, expect_ok, shown

Order = Literal["little", "big"]

# Bits of the MSR that say what memory is seen, but for its protection.
_PLACES = msr.VIEW & ~msr.PR
_ALL = -1  # bits

_REMEMBERED = (b"g", b"p")  # not memory elsewhere than at code: it may be a device

# Packets that ask for what has nothing to do with registers and memory.
_UNRELATED = (b"qfThreadInfo", b"qsThreadInfo", b"qC")

_BEFORE, _BEHIND = 32, 64  # bytes around pc that gdb or the next step may look at
_INSTRUCTION = 8  # bytes of the longest
_MOST_THREADS = 4096


class Stub:
    """One stub and the thread selected in it.

    Values of registers are unsigned integers, addresses too.  What the stub refuses raises
    StubRefused with a line that names it.  thread: the thread-id that is selected for registers
    and memory, None if unknown.  version: counts how often all that was known has been forgotten.
    asks: the packets that ask for registers, by their names.  runs_on: what executes the guest, in
    words.
    """

    def __init__(
        self, link: Link, registers: Mapping[str, Register], *, runs_on: str = "unknown"
    ) -> None:
        self.runs_on = runs_on
        self._link = link
        self._registers = registers
        self.asks = {name: b"p%x" % register.number for name, register in registers.items()}
        self._writes = {name: b"P%x" % register.number for name, register in registers.items()}
        self.thread: bytes | None = None
        self.version = 0
        self._order: Order | None = None  # None: the MSR has to be read before all else
        self._known = Known(self.asks)
        self._pipeline = Pipeline(link, self._refused, self._arranged)
        self._changes = 0  # in which bits the MSR that is queued differs from the stub's

    # -- packets

    @property
    def unanswered(self) -> list[bytes]:
        """Writes of registers that were sent, and whose replies are still to come."""
        return self._pipeline.unanswered

    def call(self, payload: bytes) -> bytes:
        """The reply to a packet, as it came."""
        return self._pipeline.ask((payload,))[0]

    def query(self, payload: bytes) -> bytes:
        """The reply to a packet that asks for something.

        What is deferred stays so if that makes no difference.
        """
        kind = payload[:1]
        if payload in _UNRELATED or kind == b"T":
            return self._pipeline.query(payload, past=True)
        if kind in (b"m", b"x"):
            past = self._shows()
            reply = self._with_code(payload, past)
            if reply is not None:
                return reply
        else:
            written = b"P" + payload[1:]
            unchanged = not self._queued_changes() & msr.LE and not self._pipeline.holds(written)
            past = kind == b"p" and unchanged
        reply = self._pipeline.query(payload, past=past)
        if kind in _REMEMBERED:
            self._known.learn(payload, reply)
        return reply

    def _with_code(self, payload: bytes, past: bool) -> bytes | None:
        """The reply to a packet that asks for an instruction near pc or where a call will return,
        got with the code around it; None for another, or if that is refused.
        """
        asked = MEMORY.match(payload)
        if asked is None or payload[:1] != b"m" or int(asked[2], 16) > _INSTRUCTION:
            return None
        address = int(asked[1], 16)
        first, last = self._around(address)
        if first == last or not self._is_at_code(address):
            return None
        text = self._pipeline.query(b"m%x,%x" % (first, last - first), past=past)
        self._known.learn_code(first, self._read_code(first, text))
        return self._known.reply(payload)

    def _is_at_code(self, address: int) -> bool:
        """Whether there is code, as far as is known: pc or LR is in the same page."""
        order = self._order
        if order is None:
            return False
        for name in ("pc", "lr"):
            text = self._known.register(name) if self.has(name) else None
            place = None if text is None else int.from_bytes(bytes.fromhex(text.decode()), order)
            if place is not None and place // PAGE == address // PAGE:
                return True
        return False

    def send_queued(self) -> None:
        """Have done what is queued.  StubRefused for the first that is refused."""
        self._pipeline.flush()

    def send_ahead(self, but: Iterable[str] = ()) -> None:
        """The same, but what is refused is found out before the next packet.

        but: registers whose writes stay queued.
        """
        self._pipeline.send_ahead([self._writes[name] for name in but])

    def spare(self, registers: Iterable[str]) -> None:
        """What is queued for these registers need not be written: they stay as they are."""
        for name in registers:
            if self._pipeline.cancel(self._writes[name]):
                self._known.forget_register(name)

    def defer(self, sent: Sent) -> None:
        """What is queued may wait for what comes next; it is not sent if that undoes it.

        sent: told when the stub has been asked, whether it has done all of it.
        """
        self._pipeline.defer(sent)

    def keep(self) -> None:
        """The same, where nobody need be told: it is removals of breakpoints, or nothing."""
        self._pipeline.keep()

    def abandon(self) -> None:
        """Forget what is known, and what is queued but the removal of breakpoints: the caller puts
        the guest right by itself.
        """
        self._pipeline.abandon()
        self.changed(None)

    # -- what is known

    def forget(self) -> None:
        """Somebody else may have changed anything: nothing is known any more."""
        self.version += 1
        self._pipeline.forget_written()
        self._known.forget()

    def forget_refusals(self) -> None:
        """What was refused may be answered the next time."""
        self._known.forget_refusals()

    def known(self, payload: bytes) -> bytes | None:
        """What the stub would reply to a packet that asks for something; None if that is unknown.

        That is for the selected thread.
        """
        return self._known.reply(payload)

    def known_register(self, name: str) -> bytes | None:
        """What the stub would reply if it were asked for a register, None if that is unknown."""
        return self._known.register(name)

    def prefetch(
        self,
        registers: Iterable[str],
        code: Iterable[int] = (),
        payloads: Sequence[bytes] = (),
        *,
        state: int | None = None,
    ) -> None:
        """These registers of the selected thread, and maybe instructions at some addresses and
        `payloads`, will be asked for; ask for what is not known at once.

        state: the MSR by which the code is to be seen, None for the one that the thread has.
        """
        asks, known = self.asks, self._known
        replies = known.replies
        before = (b"g",) if self._fetches_all() else ()
        asked = [*before, *(asks[name] for name in registers if name in asks), *payloads]
        general = b"g" in asked or b"g" in replies
        wanted = [
            payload
            for payload in dict.fromkeys(asked)
            if payload not in replies and not (general and known.given(payload))
        ]
        blocks: dict[range, bytes] = {}
        for address in code:
            if not known.has_code(address):
                first, last = self._around(address)
                if first < last and not any(address in block for block in blocks):
                    blocks[range(first, last)] = b"m%x,%x" % (first, last - first)
        if not wanted and not blocks:
            return
        if blocks and self._order is not None:
            self._look(state)
        came = self._pipeline.ask((*wanted, *blocks.values()))
        known.learn_all(wanted, came)
        self._fetched()
        if blocks and self._sees(state):
            for block, text in zip(blocks, came[len(wanted) :]):
                known.learn_code(block.start, self._read_code(block.start, text))

    def _anew(self) -> None:
        """All that is known may be wrong, the byte order as well."""
        self.forget()
        self._order = None

    def _refused(self) -> None:
        """The stub has not done what it should have."""
        self._anew()

    # -- what another stub does otherwise

    def _fetches_all(self) -> bool:
        """Whether `g` is to be asked before all else, as after a stop: it tells most of them."""
        return self._order is None and self._known.trusts_general

    def _fetched(self) -> None:
        """Registers were asked for.  StubRefused: what came is worth nothing."""

    def _arranged(self, queue: list[Queued]) -> list[Queued]:
        """What is sent for what is queued."""
        return queue

    def _shows(self) -> bool:
        """Whether who asks for memory gets what the thread sees, past all that is queued."""
        return not self._queued_changes() & msr.VIEW

    def _sees(self, state: int | None = None) -> bool:
        """Whether memory that was asked for is what the selected thread sees with this MSR (None:
        with the one that it has).
        """
        return True

    def _look(self, state: int | None = None) -> None:
        """Memory is to be asked for: have it seen by this MSR (None: as `_sees`)."""

    def _read_code(self, address: int, text: bytes) -> bytes:
        """The code that a reply tells."""
        return text

    def _around(self, address: int) -> tuple[int, int]:
        """The code that is asked for with an instruction: from, and to, within its page."""
        page = address & -PAGE
        return max(address - _BEFORE, page), min(address + _BEHIND, page + PAGE)

    # -- threads

    def select(self, thread: bytes | None) -> None:
        """Select the thread whose registers and memory are meant; None: as it is."""
        if thread is None or thread == self.thread:
            return
        self.forget()
        self._done(b"Hg" + thread, f"to select thread {thread.decode('latin-1')}")
        self._pipeline.forget_written()  # what went out before that was the other thread's
        self.thread = thread
        self._order = None

    def changed(self, thread: bytes | None) -> None:
        """Somebody else has selected `thread` (None: unknown) or written its registers."""
        self._anew()
        self.thread = thread

    def current_thread(self) -> bytes | None:
        """The thread that the stub takes for the current one, None where it does not say."""
        reply = self.call(b"qC")
        return thread_id(reply[2:]) if reply.startswith(b"QC") else None

    def threads(self) -> list[bytes]:
        """The thread-ids of all vCPUs."""
        found: list[bytes] = []
        reply = self.call(b"qfThreadInfo")
        while reply[:1] == b"m" and len(found) < _MOST_THREADS:
            found += [thread_id(one) for one in reply[1:].split(b",")]
            reply = self.call(b"qsThreadInfo")
        return found

    def says_of(self, thread: bytes) -> str:
        """What the stub has people told of a thread, empty for nothing: QEMU's say which CPU it is,
        and whether that is halted.
        """
        reply = self.call(b"qThreadExtraInfo," + thread)
        try:
            return " ".join(bytes.fromhex(reply.decode()).decode("ascii", "replace").split())
        except ValueError:
            return ""

    # -- running

    def interrupted(self) -> bool:
        """See `Link`."""
        return self._link.interrupted()

    def run(self, resume: Resume) -> StopReply:
        """Resume the guest; what it stopped with.  Unsettled: it may have run; any other
        SstepError: it has not.
        """
        self.send_queued()
        self._anew()
        try:
            stop = StopReply.parse(self._link.resume(self._as_sent(resume).payload()))
        except StubRefused as refused:
            raise Unsettled(str(refused)) from refused
        # A stub selects the thread that it reports (QEMU gdb_set_stop_cpu), and gdb counts on it.
        self.thread = stop.thread
        if stop.signal == 2 and resume.alone not in (None, stop.thread):
            # QEMU names the first vCPU when it is interrupted.  gdb does not expect a stop of a
            # thread that was not resumed: 13.1 ends with an internal error (skip_inline_frames).
            return stopped(resume.alone, signal=2)
        return stop

    def _as_sent(self, resume: Resume) -> Resume:
        """What the stub is sent to have the guest run so."""
        return resume

    # -- registers

    @property
    def order(self) -> Order:
        """ "little" or "big": the selected thread's byte order."""
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        return self._order

    def has(self, name: str) -> bool:
        """Whether the target description has a register."""
        return name in self._registers

    def keeps(self, number: int) -> bool:
        """Whether the stub has a register of the selected thread at all.

        QEMU 7.2 answers OK to a `P` of an SPR of any vCPU but the first, and does nothing
        (gdb_set_spr_reg looks for the register by a number that only the first vCPU has).
        """
        return not self.call(b"p%x" % number).startswith(b"E")

    def synchronise(self) -> None:
        """Have the stub know the selected thread's state before somebody works on it."""

    def show_memory(self) -> None:
        """The same before somebody writes memory: as the thread sees it."""

    def read(self, name: str) -> int:
        """The value of a register of the selected thread."""
        value = self._known.values.get(name)
        if value is not None:
            return value
        if self._order is None:
            self._learn_order()
            if name == "msr":
                return self._known.values[name]
        asked = self.asks.get(name)
        if asked is None:
            raise self._absent(name)
        assert self._order is not None
        value = int.from_bytes(self._raw(name, asked), self._order)
        self._known.values[name] = value
        return value

    def read_optional(self, name: str) -> int | None:
        """The same, None where the stub does not give it."""
        try:
            return self.read(name) if self.has(name) else None
        except StubRefused:
            return None

    def _learn_order(self) -> None:
        """Read the MSR, which says in which byte order it and all else is."""
        self._set_order(self._raw_msr())

    def _raw_msr(self) -> bytes:
        asked = self.asks.get("msr")
        if asked is None:
            raise self._absent("msr")
        return self._raw("msr", asked)

    def _set_order(self, raw: bytes) -> None:
        self._order = "little" if msr.little_endian(raw) else "big"
        self._known.values["msr"] = int.from_bytes(raw, self._order)

    def _raw(self, name: str, asked: bytes) -> bytes:
        known = self._known
        text = known.register(name)
        known_raw = None if text is None else bytes.fromhex(text.decode())
        raw = self._hex(asked, "to read " + name) if known_raw is None else known_raw
        if len(raw) != self._registers[name].size:
            known.forget_reply(asked)
            raise StubRefused(f"the stub gave {len(raw)} bytes for register {name}")
        return raw

    def write(self, name: str, value: int, *, reads_back: bool = False) -> None:
        """Set a register of the selected thread, now or later.

        reads_back: it is of the stub's giving, so it will read back as it is written.
        """
        order = self.order
        if name not in self._registers:
            raise self._absent(name)
        text = value.to_bytes(self._registers[name].size, order).hex().encode()
        written = self._writes[name]
        if name == "msr":
            before = self._known.values.get("msr")
            changes = _ALL if before is None else before ^ value
            queued = self._queued_changes()
            self._changes = _ALL if _ALL in (changes, queued) else changes ^ queued
            if changes & _PLACES:
                self._known.forget_memory()
        self._known.wrote(name, text, value, reads_back=reads_back)
        self._pipeline.put_value(written, Queued(written + b"=" + text, "to write " + name))
        if name == "msr":
            new: Order = "little" if value & msr.LE else "big"
            if new != order:
                self.send_queued()  # what would have to be sent again must be in the same order
                self.forget()  # and these are not
            self._order = new

    def _queued_changes(self) -> int:
        """In which bits the MSR that is queued differs from the one that the stub has."""
        written = self._writes.get("msr")
        if written is None or not self._pipeline.holds(written):
            return 0
        return self._changes

    def _absent(self, name: str) -> StubRefused:
        return StubRefused(f"the stub's target description has no register {name}")

    # -- memory

    def instruction(self, address: int) -> isa.Instruction:
        """The instruction at an address, in the byte order of the selected thread."""
        return isa.decode(self._word(address))

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
        order = self.order
        return tuple(int.from_bytes(raw[n : n + 4], order) for n in range(0, len(raw), 4))

    # -- breakpoints

    def insert(self, address: int, refused: Refused | None = None) -> None:
        """Plant a breakpoint, now or later.  A stub counts: what is twice there goes by twice."""
        if self.keeps_breakpoint(b"z0,%x,4" % address):
            return  # it is still there
        self._plant(b"Z0,%x,4" % address, f"a temporary breakpoint at {address:#x}", refused)

    def remove(self, address: int, refused: Refused | None = None) -> None:
        """Take a breakpoint away again, now or later."""
        what = f"to remove the temporary breakpoint at {address:#x}"
        self._plant(b"z0,%x,4" % address, what, refused)

    def removes(self, address: int) -> bool:
        """Whether a breakpoint is still there, and its removal is queued."""
        return self._pipeline.holds(b"z0,%x,4" % address)

    def _plant(self, payload: bytes, what: str, refused: Refused | None) -> None:
        self._pipeline.put(payload, Queued(payload, what, refused))

    def expect_ok(self, payload: bytes, what: str) -> None:
        """Send a Z or z packet, gdb's or ours.  StubRefused: the stub refused `what`."""
        expect_ok(self.breakpoint(payload), what)

    def breakpoint(self, payload: bytes) -> bytes:
        """Send a Z0 or z0 packet, ours or gdb's; the reply."""
        return self.call(payload)

    def remove_later(self, payload: bytes, refused: Refused) -> None:
        """Have done what a z0 packet of gdb's asks for, when it matters."""
        if self._pipeline.holds(payload):
            self.send_queued()  # ours is there as well: a stub counts
        self._plant(payload, "to remove gdb's breakpoint", refused)
        self.keep()

    def keeps_breakpoint(self, payload: bytes) -> bool:
        """What this z0 packet asks for is not to be done after all; whether it had not been yet."""
        return self._pipeline.cancel(payload)

    # -- how

    def _done(self, payload: bytes, what: str) -> None:
        self.send_queued()  # if that is refused, this is not to be done
        expect_ok(self.call(payload), what)

    def _hex(self, payload: bytes, what: str) -> bytes:
        reply = self._known.reply(payload)
        if reply is None:
            reply = self.query(payload)
        try:
            if reply.startswith(b"E") and len(reply) % 2:
                raise ValueError
            raw = bytes.fromhex(plain(reply).decode("ascii"))
        except ValueError:
            raw = b""
        if not raw:
            self._known.forget_reply(payload)  # it may answer the next time
            raise StubRefused(f"the stub refused {what} (reply {shown(reply)})")
        return raw

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

# Bits of the MSR that decide which memory is at an address; PR decides only whether it is reached.
_PLACES = msr.VIEW & ~msr.PR
_ALL = -1  # all bits: it is not known which

_REMEMBERED = (b"g", b"p")  # and code; other memory may be a device, and is asked for each time

# Questions that have nothing to do with registers and memory.
_UNRELATED = (b"qfThreadInfo", b"qsThreadInfo", b"qC")

_BEFORE, _BEHIND = 32, 64  # bytes around pc that gdb or the next step may look at
_INSTRUCTION = 8  # bytes of the longest instruction
_MOST_THREADS = 4096
_MOST_REMOVALS = 256  # a slow stub has to be through with them before gdb tires of its next reply


class Stub:
    """One stub, and the thread that is selected in it.

    Values of registers and addresses are unsigned integers.  What the stub refuses raises
    StubRefused with a line that names it.  thread: the thread-id that is selected for registers and
    memory, None if unknown.  version: counts how often all that was known has been forgotten.
    asks: by the name of a register, the packet that asks for it.  runs_on: what executes the guest,
    in words.
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
        self._changes = 0  # the bits in which the MSR that is queued differs from the stub's

    # -- packets

    @property
    def unanswered(self) -> list[bytes]:
        """Writes of registers that were sent, and whose replies are still to come."""
        return self._pipeline.unanswered

    def call(self, payload: bytes) -> bytes:
        """Send a packet behind all that is queued; the reply, as it came."""
        return self._pipeline.ask((payload,))[0]

    def query(self, payload: bytes) -> bytes:
        """The reply to a packet that asks for something, and changes nothing.

        What is deferred is not sent first if it makes no difference to the reply.
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
        """The reply to a packet that asks for an instruction near pc or LR.

        The code around the instruction is read with it.  None for any other packet, or if the stub
        refuses that code.
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
        """Whether there is code at an address, as far as is known: pc or LR is in the same page."""
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
        """Send what is queued, and wait for the replies.  StubRefused: the first refusal."""
        self._pipeline.flush()

    def send_ahead(self, but: Iterable[str] = ()) -> None:
        """Send what is queued; a refusal is found out, and raised, before the next packet.

        but: registers whose writes stay queued.
        """
        self._pipeline.send_ahead([self._writes[name] for name in but])

    def spare(self, registers: Iterable[str]) -> None:
        """Drop what is queued for these registers: the stub's values of them stay."""
        for name in registers:
            if self._pipeline.cancel(self._writes[name]):
                self._known.forget_register(name)

    def defer(self, sent: Sent) -> None:
        """Let what is queued wait until it could matter; what comes meanwhile may cancel it.

        sent: called when the stub has been asked, with whether it has done all of it.
        """
        self._pipeline.defer(sent)

    def let_wait(self) -> None:
        """Let what is queued wait, as `defer` does: it is removals of breakpoints, or nothing."""
        self._pipeline.let_wait()

    def abandon(self) -> None:
        """Forget what is known, and drop what is queued, but for removals of breakpoints.

        The caller puts the guest right by itself.
        """
        self._pipeline.abandon()
        self.changed(None)

    # -- what is known

    def forget(self) -> None:
        """Forget all that is known, as somebody else may have changed anything."""
        self.version += 1
        self._pipeline.forget_written()
        self._known.forget()

    def forget_refusals(self) -> None:
        """Forget what was refused, as the stub may answer the next time."""
        self._known.forget_refusals()

    def known(self, payload: bytes) -> bytes | None:
        """What the stub would reply to a packet that asks for something; None if that is unknown.

        That is for the selected thread.
        """
        return self._known.reply(payload)

    def known_register(self, name: str) -> bytes | None:
        """What the stub would reply if it were asked for a register; None if that is unknown."""
        return self._known.register(name)

    def prefetch(
        self,
        registers: Iterable[str],
        code: Iterable[int] = (),
        payloads: Sequence[bytes] = (),
        *,
        state: int | None = None,
    ) -> None:
        """Ask the stub at once for what will be needed and is not known yet.

        registers: of the selected thread.  code: addresses of instructions.  payloads: other
        packets.  state: the MSR by which the code is to be seen, None for the one that the thread
        has.
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
        for address in code if self._order is not None or self._may_see() else ():
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
        """Forget all that is known, the byte order as well: it may be wrong."""
        self.forget()
        self._order = None

    def _refused(self) -> None:
        """The stub has refused what it should have done: what is known of it may be wrong."""
        self._anew()

    # -- what another kind of stub does otherwise

    def _fetches_all(self) -> bool:
        """Whether `g` is to be asked before all else, as after a stop: it tells most registers."""
        return self._order is None and self._known.trusts_general

    def _fetched(self) -> None:
        """Registers were asked for.  StubRefused: the replies are worth nothing."""

    def _arranged(self, queue: list[Queued]) -> list[Queued]:
        """The packets that are sent for what is queued."""
        return queue

    def _shows(self) -> bool:
        """Whether the stub shows memory as the thread sees it, before what is queued is sent."""
        return not self._queued_changes() & msr.VIEW

    def _sees(self, state: int | None = None) -> bool:
        """Whether memory that the stub gives now is what the thread sees with this MSR.

        None: with the MSR that it has.
        """
        return True

    def _may_see(self) -> bool:
        """Whether memory that is asked for together with the MSR may be what the thread sees."""
        return True

    def _look(self, state: int | None = None) -> None:
        """Have the stub give memory as it is seen with this MSR; None: as for `_sees`."""

    def _read_code(self, address: int, text: bytes) -> bytes:
        """The code that is in the guest, if the stub has given `text` for it."""
        return text

    def _around(self, address: int) -> tuple[int, int]:
        """The code to ask for with an instruction, from and to, within its page."""
        page = address & -PAGE
        return max(address - _BEFORE, page), min(address + _BEHIND, page + PAGE)

    # -- threads

    def select(self, thread: bytes | None) -> None:
        """Select the thread whose registers and memory are meant; None: the selected one."""
        if thread is None or thread == self.thread:
            return
        self.forget()
        self._done(b"Hg" + thread, f"to select thread {thread.decode('latin-1')}")
        self._pipeline.forget_written()  # the writes before this were the other thread's
        self.thread = thread
        self._order = None

    def changed(self, thread: bytes | None) -> None:
        """Somebody else has selected `thread` (None: unknown), or has written its registers."""
        self._anew()
        self.thread = thread

    def current_thread(self) -> bytes | None:
        """The thread that the stub takes for the current one; None where it does not say."""
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
        """Whether the user has asked to stop: see `Link`."""
        return self._link.interrupted()

    def run(self, resume: Resume) -> StopReply:
        """Resume the guest; its stop reply.

        Unsettled: the guest may have run; any other SstepError: it has not.
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

    @property
    def loses_breakpoints(self) -> bool:
        """Whether a guest that others resume may hang at a breakpoint (see `kvm`)."""
        return False

    def _as_sent(self, resume: Resume) -> Resume:
        """What to send to this stub to have the guest run so."""
        return resume

    # -- registers

    @property
    def order(self) -> Order:
        """The byte order of the selected thread: "little" or "big"."""
        if self._order is None:
            self.read("msr")
        assert self._order is not None
        return self._order

    def has(self, name: str) -> bool:
        """Whether the target description has a register of this name."""
        return name in self._registers

    def has_for_thread(self, number: int) -> bool:
        """Whether the stub has the register with this number for the selected thread at all.

        QEMU 7.2 answers OK to a `P` of an SPR of any vCPU but the first, and does nothing
        (gdb_set_spr_reg looks for the register by a number that only the first vCPU has).
        """
        return not self.call(b"p%x" % number).startswith(b"E")

    def synchronise(self) -> None:
        """Have the stub fetch the selected thread's state, before somebody else works on it."""

    def show_memory(self) -> None:
        """Have the stub see memory as the thread does, before somebody else writes it."""

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
        """The value of a register of the selected thread; None where the stub does not give it."""
        try:
            return self.read(name) if self.has(name) else None
        except StubRefused:
            return None

    def _learn_order(self) -> None:
        """Read the MSR, which says in which byte order itself and all else is."""
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
        """Write a register of the selected thread, now or with the next packets.

        reads_back: the stub itself has given this value, so it will read back as it is written.
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
                self.send_queued()  # now: what had to be sent again would be in the old byte order
                self.forget()  # as all that is known is
            self._order = new

    def _queued_changes(self) -> int:
        """The bits in which the MSR that is queued differs from the one that the stub has."""
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
        """Memory as the selected thread sees it; empty where the stub cannot read it."""
        self.synchronise()
        try:
            return self._hex(b"m%x,%x" % (address, length), "")
        except StubRefused:
            return b""

    def code(self, address: int, count: int) -> tuple[int, ...]:
        """`count` words of code from an address on.  StubRefused: the stub cannot read them all."""
        raw = self.memory(address, 4 * count)
        if len(raw) != 4 * count:
            raise StubRefused(f"cannot read the code at {address:#x}")
        order = self.order
        return tuple(int.from_bytes(raw[n : n + 4], order) for n in range(0, len(raw), 4))

    # -- breakpoints

    def insert(self, address: int, refused: Refused | None = None) -> None:
        """Plant a temporary breakpoint, now or with the next packets.

        A stub counts: a breakpoint that is planted twice has to be removed twice.
        """
        if self.cancel_removal(b"z0,%x,4" % address):
            return  # the breakpoint is still there: its removal has not been sent
        self._plant(b"Z0,%x,4" % address, f"a temporary breakpoint at {address:#x}", refused)

    def remove(self, address: int, refused: Refused | None = None) -> None:
        """Remove a temporary breakpoint, now or with the next packets.

        refused: called when the stub has refused that twice.
        """
        what = f"to remove the temporary breakpoint at {address:#x}"
        self._take_out(b"z0,%x,4" % address, what, refused)

    def removes(self, address: int) -> bool:
        """Whether a breakpoint is still there, and its removal is queued."""
        return self._pipeline.holds(b"z0,%x,4" % address)

    def _plant(self, payload: bytes, what: str, refused: Refused | None) -> None:
        self._pipeline.put(payload, Queued(payload, what, refused))

    def _take_out(self, payload: bytes, what: str, refused: Refused | None) -> None:
        """Queue a z0 packet.  If the stub refuses it, it is queued once more: a breakpoint that
        stays would stop the guest some day.
        """

        def again(_error: StubRefused) -> bool:
            self._plant(payload, what, refused)
            return True

        self._plant(payload, what, again)

    def expect_ok(self, payload: bytes, what: str) -> None:
        """Send a Z or z packet, gdb's or ours.  StubRefused: the stub refused `what`."""
        expect_ok(self.breakpoint(payload), what)

    def breakpoint(self, payload: bytes) -> bytes:
        """Send a Z or z packet, gdb's or ours; the reply."""
        return self.call(payload)

    def remove_later(self, payload: bytes, refused: Refused) -> None:
        """Queue a z0 packet of gdb's until it could matter.

        refused: called when the stub has refused it twice.
        """
        if self._pipeline.holds(payload):
            self.send_queued()  # the removal of ours, at the same address: a stub counts both
        self._take_out(payload, "to remove gdb's breakpoint", refused)
        if len(self._pipeline.queued) < _MOST_REMOVALS:
            self.let_wait()
        else:
            self.send_ahead()

    def cancel_removal(self, payload: bytes) -> bool:
        """Drop this z0 packet if it is queued; whether it was: then the breakpoint is there."""
        return self._pipeline.cancel(payload)

    # -- how

    def _done(self, payload: bytes, what: str) -> None:
        """Send a packet that has to be answered OK.  StubRefused: the stub refuses `what`."""
        self.send_queued()  # first: if the stub refuses that, this is not to be sent
        expect_ok(self.call(payload), what)

    def _hex(self, payload: bytes, what: str) -> bytes:
        """The bytes that the stub gives in hexadecimal.  StubRefused: it refuses `what`."""
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
            self._known.forget_reply(payload)  # the stub may answer the next time
            raise StubRefused(f"the stub refused {what} (reply {shown(reply)})")
        return raw

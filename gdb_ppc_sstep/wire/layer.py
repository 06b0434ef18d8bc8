# SPDX-License-Identifier: MIT
"""The layer between one gdb and one stub: the loop, the wall, and the end.

It forwards what it does not own, byte for byte, and gives what resumes the guest to the engine.
It ends when either side goes away, and leaves the guest without anything of ours or of a gdb that
died.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..carrier import link as links
from ..engine.engine import Engine
from ..engine.ledger import Snapshot
from ..engine.salvage import Leftover
from ..engine.temporary import Undo
from ..errors import BadPacket, SstepError, StubGone, StubRefused, StubSilent
from ..options import Options
from ..rsp import effects, private
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.effects import Request
from ..rsp.framing import INTERRUPT, Byte, Item
from ..rsp.resume import Resume, StopReply, stopped
from ..stub.stub import Stub
from .ending import Ending
from .forward import Forwarder
from .late import LateInterrupt
from .link import WireLink
from .log import DebugLog
from .requests import Requests

EXPEDITED = ("pc", "r1", "lr")
"""Registers that are sent with a stop reply: gdb needs no others to go on stepping."""


class Layer:
    """Between one gdb and one stub, which has been greeted."""

    def __init__(
        self,
        link: WireLink,
        stub: Stub,
        gdbs: GdbBreakpoints,
        log: DebugLog,
        *,
        journal: Callable[[Snapshot], None] = lambda snapshot: None,
        options: Options = Options(),  # noqa: B008 (a tuple)
    ) -> None:
        """gdbs: the breakpoints that `link` knows.  journal: see `Engine`.

        From now on only the layer may read the sockets.
        """
        self._link = link
        self._wire = wire = link.wire
        self._stub = stub
        self._log = log
        wire.enable_polling()
        undo = Undo.DEFER if wire.polls and wire.bursts else Undo.AT_ONCE
        self._engine = Engine(
            stub,
            log.decided,
            breakpoints=gdbs,
            journal=journal,
            undo=undo,
            tell=self._tell,
        )
        self._requests = Requests(self._engine, stub, wire, log, options)
        self._ending = Ending(link, stub, self._engine, gdbs, log)
        self._forwarder = Forwarder(
            link,
            stub,
            gdbs,
            self._ending.let_go,
            log.line,
            watch=self._engine.watch,
            may_wait=undo is Undo.DEFER,
        )
        self._late = LateInterrupt()
        self._working: Request | None = None  # gdb's packet that is not answered or forwarded yet
        self._to_continue = False  # gdb went away while the guest ran
        self._told = False  # gdb was told of the error that `Engine.recover` has to mend
        # Whether gdb, since the guest last ran, has asked for all registers; and for the threads,
        # as it does where a command ends.
        self._asks_all = self._ends = True
        # The packets that ask for these registers.
        self._expedited = {name: asks for name, asks in stub.asks.items() if name in EXPEDITED}

    def leftovers(self) -> list[Leftover]:
        """What a killed session may have left in the guest.  SstepError: that cannot be told."""
        return self._engine.leftovers()

    def told(self) -> dict[str, Any]:
        """What a report tells, for any thread, without asking the stub: `Teller.without_asking`."""
        return self._requests.teller.without_asking()

    # -- the loop

    def run(self) -> StubGone | None:
        """Serve until gdb or the stub goes away; the error of the stub, None if gdb went."""
        wire = self._wire
        try:
            while not wire.gdb_gone:
                first = wire.gdb if self._forwarder.pending is None else wire.stub
                wire.wait(first=first, idle=self._idle)
                while wire.stub.items:
                    self._walled(self._forwarder.from_stub, wire.stub.items.popleft())
                while wire.gdb.items and not wire.gdb_gone:
                    self._walled(self._from_gdb, wire.gdb.items.popleft())
        except StubSilent as error:
            self._log.say(f"ppc-sstep: {error}; the connection is closed")
            with suppress(StubGone):  # sent again, as some of them may have been lost
                wire.stub.send_all(self._stub.unanswered)
            return error
        except StubGone as error:
            self._log.line(str(error))
            return error
        self._gdb_went()
        return None

    def _walled(self, work: Callable[[Item], None], item: Item) -> None:
        """Deal with one item.  An exception that is a bug ends nothing else."""
        try:
            work(item)
        except StubGone:
            raise
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """After an exception that is a bug: log it, leave the guest clean, reply with an error."""
        import traceback  # hardly ever needed, and it takes long

        self._log.say("".join(traceback.format_exception(type(error), error, error.__traceback__)))
        try:
            self._engine.abandon()
        except StubGone:
            raise
        except Exception as another:
            self._log.say(f"ppc-sstep: the guest cannot be put right now: {another!r}")
        request = self._working or self._forwarder.pending
        if request is not None:
            self._forwarder.pending = None
            what = f"internal error: {error!r}; the log has more, please report it"
            self._answer(request.error(what))

    def _idle(self) -> None:
        """gdb asks for nothing now: quiesce, as another client may look."""
        if self._forwarder.pending is not None:
            return
        try:
            self._engine.quiesce()
        except StubRefused as error:
            self._log.line(f"error: {error}")  # gdb is told when it asks for something
        except StubGone:
            raise
        except Exception as error:
            self._failed(error)

    def _from_gdb(self, item: Item) -> None:
        forwarder = self._forwarder
        if isinstance(item, Byte):
            # While the stub owes a reply, the byte is for the stub: a NAK is about that reply.
            if forwarder.pending is not None:
                self._wire.stub.send_raw(item.value)
            elif item.value == INTERRUPT:
                self._late.came()
            return
        payload = item.payload
        self._asks_all |= payload == b"g"
        self._ends |= payload == b"qfThreadInfo"
        if forwarder.pending is None and self._stub.thread == forwarder.gdb_thread:
            known = self._stub.known(payload)
            if known is not None:
                self._wire.to_gdb(known)
                return
        while forwarder.pending is not None:  # gdb waits for each reply, unless it asks again
            if not self._wire.wait(links.REPLY_TIMEOUT, gdb=False):
                forwarder.pending = None
            while self._wire.stub.items:
                forwarder.from_stub(self._wire.stub.items.popleft())
        try:
            request = effects.parse(payload)
        except BadPacket as error:
            self._log.line(f"error: {error}")
            self._answer(Request(payload).error(str(error)))
            return
        self._working = request
        try:
            self._do(request)
        except StubGone:
            raise
        except SstepError as error:
            # gdb prints the text, ends its command, and finds the thread where it was.
            self._log.line(f"error: {error}")
            self._stub.forget()
            self._requests.lines.forget()
            self._told = request.shows_error_text and self._engine.unsettled
            self._answer(request.error(str(error)))

    def _do(self, request: Request) -> None:
        """Do what a packet asks for; the reply may come later.  SstepError: it cannot be done."""
        try:
            self._engine.recover()
            self._told = False
        except StubRefused:
            if request.shows_error_text and not self._told:
                raise
            self._stub.forget()
        meaning = request.meaning
        if isinstance(meaning, Resume):
            self._resume(meaning)
        elif isinstance(meaning, private.OWN_REQUESTS):
            self._answer(self._requests.answer(meaning))
        else:
            reply = self._forwarder.forward(request)
            if reply is None:
                self._working = None
            else:
                self._answer(reply)

    def _answer(self, payload: bytes) -> None:
        """Reply to the packet that the layer works on."""
        self._working = None
        self._wire.to_gdb(payload)

    def _tell(self, line: str) -> None:
        """Print a line for the user: while the guest runs for gdb, as output of the guest."""
        if self._working is not None and isinstance(self._working.meaning, Resume):
            self._log.line(line)
            self._wire.to_gdb(b"O" + f"ppc-sstep: {line}\n".encode().hex().encode())
        else:
            self._log.say(f"ppc-sstep: {line}")

    # -- resuming

    def _resume(self, request: Resume) -> None:
        forwarder, active = self._forwarder, self._requests.active
        if active:
            request = request.of(forwarder.to_resume)
        stepping = request.stepping
        if self._late.take():
            if stepping is not None:
                forwarder.stopped(stepping.thread)
            self._stub.select(forwarder.gdb_thread)
            self._answer(stopped(forwarder.gdb_thread, signal=2).payload)
            return
        # gdb will ask as after the stop before: for `g` where a command ends, else for none.
        asks_all, self._asks_all = self._asks_all, False
        goes_on, self._ends = not (asks_all or self._ends), False
        prefetch = (b"g",) if asks_all else tuple(self._expedited.values())
        teller, paced = self._requests.teller, active and stepping is not None
        if paced:
            teller.begin()
        else:
            teller.other()
        if active:
            request = self._requests.lines.applied(request, self._stub)
        if active or stepping is None:
            stop = self._engine.resume(request, prefetch).stop
        else:
            stop = self._stub.run(request.without_ranges())
        if self._wire.gdb_gone:
            self._to_continue = stepping is None and stop.signal == 2
            return
        if self._link.passed_on() and stop.signal != 2:
            self._late.came()
        forwarder.stopped(stop.thread)
        if stop.thread is not None and active:
            self._engine.look_ahead(prefetch)
        self._answer(self._with_registers(stop))
        if paced:
            teller.end()
        if active and stop.is_breakpoint:
            self._engine.prepare(request, arm=goes_on)

    def _with_registers(self, stop: StopReply) -> bytes:
        """A stop reply with the registers that gdb looks at first, as gdbserver sends them."""
        payload = stop.payload
        if stop.thread is not None and payload.endswith(b";"):
            for name, asked in self._expedited.items():
                text = self._stub.known_register(name)
                if text is not None:
                    payload += b"%s:%s;" % (asked[1:], text)
        return payload

    # -- the end

    def _gdb_went(self) -> None:
        """gdb closed its end or died."""
        self._log.line("gdb is gone")
        try:
            if self._forwarder.pending is not None:
                self._link.reply()  # that gdb did not wait for
            self._idle()
            self._ending.gdb_went(runs=self._to_continue)
        except SstepError as error:
            self._log.line(str(error))

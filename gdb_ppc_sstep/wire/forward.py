# SPDX-License-Identifier: MIT
"""Packets that the layer does not answer itself: they go to the stub, and its replies to gdb."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import StubRefused
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.effects import Changes, Request, Selects, Writes
from ..rsp.framing import Item, Notification, Packet
from ..rsp.resume import StopReply, names_one
from ..stub.stub import Stub
from .link import WireLink

NOT_KEPT = "the stub does not keep this register of this vCPU"

_NOTHING = Request(b"")


class Forwarder:
    """Forwards gdb's packets to the stub, and the stub's replies to gdb.

    gdb_thread: the thread-id that gdb believes to have selected, None if unknown.  to_resume: the
    one that gdb's old `s` means, None if unknown.  pending: the request whose reply gdb awaits from
    the stub, None if there is none.
    """

    def __init__(
        self,
        link: WireLink,
        stub: Stub,
        gdbs: GdbBreakpoints,
        let_go: Callable[[], None],
        log: Callable[[str], None],
        *,
        watch: Callable[..., bytes],
        may_wait: bool,
    ) -> None:
        """let_go: called before a packet that detaches.  log: takes a line.  watch: `Engine.watch`.

        may_wait: the removal of a breakpoint may be sent later, as `Layer` quiesces when gdb asks
        for nothing.
        """
        self._link = link
        self._wire = link.wire
        self._stub = stub
        self._gdbs = gdbs
        self._let_go = let_go
        self._log = log
        self._watch = watch
        self._may_wait = may_wait
        self.gdb_thread: bytes | None = None
        self.to_resume: bytes | None = None
        self.pending: Request | None = None
        # Breakpoints that gdb has been told are removed, and whose removal the stub has refused.
        self._stay: set[Breakpoint] = set()

    def stopped(self, thread: bytes | None) -> None:
        """Called before gdb is told that this thread stopped: gdb then takes it for selected."""
        if thread is not None:
            self.gdb_thread = self.to_resume = thread

    def forward(self, request: Request) -> bytes | None:
        """Pass a request of gdb's on; the reply, or None if there is none, or none yet.

        SstepError: the request cannot be done.
        """
        payload, meaning, stub = request.payload, request.meaning, self._stub
        keeps = request.asks or isinstance(meaning, Changes)
        if not keeps:
            stub.send_queued()
            stub.forget()
        if request.of_thread:
            if self.gdb_thread is None and stub.thread is not None:
                # gdb has neither selected a thread nor been told of one (QEMU 11 answers `?`
                # without a thread), but we have selected one.  gdb means the stub's first one.
                self.gdb_thread = stub.current_thread()
            stub.select(self.gdb_thread)
            if payload[:1] != b"g":
                stub.synchronise()
            if payload[:1] in (b"M", b"X"):
                stub.show_memory()
            if request.writes_registers:
                stub.changed(self.gdb_thread)
            if isinstance(meaning, Writes) and not stub.has_for_thread(meaning.register):
                return request.error(NOT_KEPT)
        if isinstance(meaning, Changes):
            return self._replied(request, self._changed(payload, meaning))
        if keeps:
            return self._replied(request, stub.query(payload))
        if payload[:2] == b"Hc":
            stub.changed(None)
        if request.detaches:
            self._let_go()
        self._link.ask(payload)
        self.pending = request if request.has_reply else None
        return None

    def _changed(self, payload: bytes, changes: Changes) -> bytes:
        """Do what a Z or z packet of gdb's asks for; the reply.

        gdb takes all of its breakpoints out at each stop, and puts them in again.  So the stub gets
        a removal only when something could see the breakpoint.
        """
        stub, one = self._stub, changes.breakpoint
        if not one.stops_code:
            return self._watch(payload, one, inserts=changes.inserts)
        if changes.inserts:
            if payload == one.insertion and (stub.cancel_removal(one.removal) or one in self._stay):
                self._stay.discard(one)
                return b"OK"  # it is still there, and a stub that counts would have it twice
            return stub.breakpoint(payload)
        self._stay.discard(one)
        if not self._may_wait or one not in self._gdbs.code_at(one.address):
            return stub.breakpoint(payload)

        def refused(error: StubRefused) -> bool:
            self._log(str(error))  # the guest may have overwritten it
            self._stay.add(one)
            return True

        stub.remove_later(one.removal, refused)
        return b"OK"

    def from_stub(self, item: Item) -> None:
        """Pass on to gdb what the stub sends: the reply that gdb awaits, or a notification."""
        if isinstance(item, Packet):
            request = self.pending or _NOTHING
            # qRcmd's output comes in O packets before its reply.
            if item.payload[:1] != b"O" or item.payload == b"OK":
                self.pending = None
            reply = item.payload
            try:
                reply = self._replied(request, item.payload)
            finally:
                self._wire.to_gdb(reply)  # even if an exception of ours comes first
        elif isinstance(item, Notification):
            self._wire.to_gdb(item.payload, b"%")

    def _replied(self, request: Request, reply: bytes) -> bytes:
        """Note what a reply of the stub tells about gdb's state; the reply that gdb is to get."""
        meaning = request.meaning
        if reply == b"OK":
            if isinstance(meaning, Changes):
                if meaning.inserts:
                    self._gdbs.insert(meaning.breakpoint)
                else:
                    self._gdbs.remove(meaning.breakpoint)
            elif isinstance(meaning, Selects) and names_one(meaning.thread):
                if meaning.to_resume:
                    self.to_resume = meaning.thread
                else:
                    self._selected(meaning.thread)
            elif request.payload == b"QStartNoAckMode":
                self._wire.acknowledgements(False)
        elif request.payload == b"vCont?" and b";s" in reply and b";r" not in reply:
            reply += b";r"  # the engine steps through ranges itself
        thread = StopReply.parse(reply).thread
        if thread is not None:
            self._selected(thread)
            self.to_resume = thread
            if request.payload == b"?":
                # QEMU names the thread that it would resume, but the thread whose registers it
                # gives stays selected (gdbstub handle_target_halt).
                self._stub.changed(None)
        return reply

    def _selected(self, thread: bytes | None) -> None:
        self.gdb_thread = thread
        self._stub.changed(thread)

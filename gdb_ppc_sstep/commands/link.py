# SPDX-License-Identifier: MIT
"""gdb's own connection as the engine's `Link`: the carrier of the commands door.

`gdb.RemoteTargetConnection.send_packet` waits for one reply, and "remotetimeout" seconds for it;
then gdb sends a NAK, by which QEMU stops a guest that runs (gdbstub.c gdb_read_byte).  That stop is
the reply with QEMU 7.2.  QEMU 10 does not tell it, for no Ctrl-C has asked for it: so gdb waits and
sends a NAK three times, and gives up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import gdb

from ..errors import StubGone, StubRefused
from ..rsp.resume import StopReply, is_final
from ..stub.recent import RecentPackets

Log = Callable[[str], None]

_INTERRUPT = {signal.SIGINT}


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back: gdb makes of it a KeyboardInterrupt anywhere, also within a step.

    One that came meanwhile is gdb's at the end, as if it had come then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interrupt_pending() -> bool:
    """Whether Ctrl-C was typed while it is held back."""
    return signal.SIGINT in signal.sigpending()


class GdbLink:
    """A `stub.Link` over one of gdb's connections.  log: takes a line about each packet.

    sent: how many packets were sent by it.  recent: the last of them, and their replies.
    """

    def __init__(self, connection: gdb.RemoteTargetConnection, log: Log) -> None:
        self._connection = connection
        self._log = log
        self.sent = 0
        self.recent = RecentPackets()

    def call(self, payload: bytes) -> bytes:
        """See `stub.Link`."""
        self.sent += 1
        self.recent.note("stub <- ", payload)
        self._log(f"stub <- {payload.decode('latin-1')}")
        try:
            # The stubs of the types package say bytes; None is an empty reply.
            reply: bytes | None = self._connection.send_packet(payload)
        except (gdb.error, RuntimeError) as error:
            raise StubGone(str(error)) from error
        self.recent.note("stub -> ", reply or b"")
        self._log(f"stub -> {(reply or b'').decode('latin-1')}")
        return reply or b""

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See `stub.Link`.  gdb waits for each reply."""
        replies = [self.call(payload) for payload in payloads]
        return lambda: replies

    def resume(self, payload: bytes) -> bytes:
        """See `stub.Link`.  Ctrl-C is noticed when gdb's patience with the reply ends."""
        while True:
            start = time.monotonic()
            patience = gdb.parameter("remotetimeout")
            assert isinstance(patience, int)
            try:
                reply = self.call(payload)
            except StubGone:
                if time.monotonic() - start < patience:
                    raise
                reply = self._stopped_by_gdb()
            if not is_final(reply):
                raise StubRefused(f"the stub answered {reply[:20]!r} to a request to run")
            by_gdb = time.monotonic() - start > 0.9 * patience and not self.interrupted()
            if StopReply.parse(reply).signal != signal.SIGINT or not by_gdb:
                return reply

    def _stopped_by_gdb(self) -> bytes:
        """The stop reply for a guest that gdb's NAK has stopped without one.

        StubGone: the stub does not answer.
        """
        current = self.call(b"qC")
        thread = b"thread:%s;" % current[2:] if current.startswith(b"QC") else b""
        return b"T%02x" % signal.SIGINT + thread

    def interrupted(self) -> bool:
        """See `stub.Link`."""
        return interrupt_pending()


def thread_id(thread: gdb.InferiorThread) -> bytes:
    """A thread as packets name it."""
    process, lwp, _ = thread.ptid
    single = 42000  # gdb/remote.c magic_null_ptid: a stub without process ids
    return b"%x" % lwp if process == single else b"p%x.%x" % (process, lwp)

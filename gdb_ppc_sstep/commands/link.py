# SPDX-License-Identifier: MIT
"""The engine's `Link` on gdb's own descriptor, behind gdb's back: the carrier of the commands door.

gdb waits in our code meanwhile, and reads nothing.  When it goes on, nothing is left in the
descriptor that it would take for its next reply.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gdb

from ..carrier.link import StubLink
from ..carrier.peer import Peer
from ..carrier.streams import Descriptor
from ..errors import StubGone, StubSilent
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.framing import Item

Log = Callable[[str], None]

_INTERRUPT = {signal.SIGINT}

_CANNOT = b"F-1,58"  # a reply to File-I/O: what it asks for is not there (gdb's FILEIO_ENOSYS)


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


class _GdbsDescriptor(Descriptor):
    """gdb's descriptor of a connection, while gdb has it open."""

    def __init__(self, connection: gdb.RemoteTargetConnection, fd: int) -> None:
        super().__init__(fd)
        self._connection = connection

    def sendall(self, data: bytes, /) -> None:
        """See `Stream`."""
        if not self._connection.is_valid():
            raise OSError("gdb has closed the connection")
        try:
            super().sendall(data)
        except OSError:
            self.cut()
            raise


class GdbLink(StubLink):
    """A `stub.Link` on one of gdb's connections.

    fd: gdb's descriptor of it.  gdbs: gdb's breakpoints in the stub.  is_qemu: whether the stub is
    QEMU's, which takes several packets at once.  peer: counts the packets, and keeps the last ones.
    """

    def __init__(
        self,
        connection: gdb.RemoteTargetConnection,
        fd: int,
        gdbs: GdbBreakpoints,
        *,
        is_qemu: bool,
    ) -> None:
        self._descriptor = _GdbsDescriptor(connection, fd)
        gone = StubGone("the stub closed the connection")
        self.peer = Peer(self._descriptor, "stub", gone, is_server=True)
        super().__init__(self.peer, gdbs)
        timeout = gdb.parameter("remotetimeout")
        assert isinstance(timeout, int)
        self._remotetimeout = timeout
        self._is_long = False  # whether the guest has run for a moment
        self.learn_acks()
        self.peer.bursts = is_qemu
        self.peer.enable_polling()

    def log_packets(self, log: Log | None) -> None:
        """Give a line about each packet to `log` from now on, or (None) no more."""

        def packet(who: str, payload: bytes) -> None:
            assert log is not None
            log(who + payload.decode("latin-1"))

        self.peer.log = packet if log is not None else None

    def _outcomes(self, count: int) -> list[Item]:
        outcomes = super()._outcomes(count)
        self._end_exchange()
        return outcomes

    def resume(self, payload: bytes) -> bytes:
        """See `stub.link.Link`."""
        self._is_long = False
        stop = super().resume(payload)
        self._end_exchange()
        return stop

    def _end_exchange(self) -> None:
        """Acknowledge the last packet, as gdb may come next.

        QEMU takes the next packet for the acknowledgement, whoever sends it (QEMU 7.2 gdbstub.c
        gdb_read_byte).
        """
        if not self.peer.bursts:
            self.peer.acknowledge()

    def _patience(self) -> float:
        return max(super()._patience(), self._remotetimeout)  # for a line that is slow

    def _silence(self, why: str) -> StubSilent:
        self._descriptor.cut()  # gdb would take a late reply for that to something else
        return super()._silence(why)

    def _fill(self, packets: int = 1) -> bool:
        try:
            return self.peer.fill(packets)
        except StubGone:
            self._descriptor.cut()
            raise

    def _wait(self, timeout: float, packets: int) -> bool:
        end = time.monotonic() + timeout
        while not self._fill(packets):
            if time.monotonic() > end:
                return False
        return True

    def _wait_running(self, timeout: float | None, *, soon: bool) -> None:
        self._is_long = not self._fill()

    def _must_stop(self) -> bool:
        # A step comes to its end.
        return self._is_long and interrupt_pending()

    def _show(self, payload: bytes) -> None:
        if payload[:1] == b"O":
            with suppress(ValueError):  # it is malformed
                gdb.write(bytes.fromhex(payload[1:].decode()).decode(errors="replace"), gdb.STDERR)
        elif payload[:1] == b"F":  # only gdb's own code could do it
            self.peer.send(_CANNOT)

    def interrupted(self) -> bool:
        """See `stub.link.Link`."""
        return interrupt_pending()


def thread_id(thread: gdb.InferiorThread) -> bytes:
    """A thread as packets name it."""
    process, lwp, _ = thread.ptid
    single = 42000  # gdb/remote.c magic_null_ptid: a stub without process ids
    return b"%x" % lwp if process == single else b"p%x.%x" % (process, lwp)

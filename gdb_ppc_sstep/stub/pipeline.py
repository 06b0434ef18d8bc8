# SPDX-License-Identifier: MIT
"""Packets that are queued, deferred and in flight.

A packet takes the stub less time than waiting for its reply does.  So a packet to which the stub
answers only OK or an error is queued, and goes out with the next question.  The queue holds
differences: of two packets with one key only the later one is sent.  When the queue is deferred it
may wait until something is asked for which it could matter.  The replies to what is sent ahead are
read later, but before the next packet is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from ..errors import StubRefused
from .link import Link

Refused = Callable[[StubRefused], bool]
"""A function that is called with a refusal of the stub's; it returns whether that is all right."""

Sent = Callable[[bool], None]
"""A function that is called when packets were answered, with whether the stub has done them all."""


class Queued(NamedTuple):
    """A packet to which the stub is to answer OK.

    what: what it does, as an error names it.  refused: called if the stub refuses it; None: a
    refusal is an error.
    """

    payload: bytes
    what: str
    refused: Refused | None = None


class Batch(NamedTuple):
    """Packets that were sent, and are not yet answered.

    queued: those that are to be answered OK; they come first.  sent: called when all are answered.
    replies: waits for the replies.
    """

    queued: Sequence[Queued]
    sent: Sent | None
    replies: Callable[[], list[bytes]]


def expect_ok(reply: bytes, what: str) -> None:
    """Raise StubRefused, which names what a packet should have done, unless the reply is OK."""
    if reply != b"OK":
        raise StubRefused(f"the stub refused {what} (reply {shown(reply)})")


def shown(reply: bytes) -> str:
    """A reply as an error line has it."""
    return repr(reply.decode("latin-1"))


class Pipeline:
    """The packets on their way to one stub.

    on_refusal: called when the stub has refused a packet that it should not.  arranged: gives what
    is to be sent for what is queued.
    """

    def __init__(
        self,
        link: Link,
        on_refusal: Callable[[], None],
        arranged: Callable[[list[Queued]], list[Queued]],
    ) -> None:
        self._link = link
        self._on_refusal = on_refusal
        self._arranged = arranged
        self._queue: dict[bytes, Queued] = {}
        self._sent: Sent | None = None  # set while the queue is deferred: called when it was sent
        self._ahead: Batch | None = None
        self._written: dict[bytes, bytes] = {}  # by key, the write of a value that was sent last
        self._unanswered: Sequence[Queued] = ()

    @property
    def unanswered(self) -> list[bytes]:
        """Writes of registers that were sent, and whose replies are still to come."""
        return [one.payload for one in self._unanswered if one.payload[:1] == b"P"]

    # -- the queue

    def put(self, key: bytes, queued: Queued) -> None:
        """Queue a packet, to be sent with the next question; one with the same key is replaced."""
        self._queue[key] = queued

    def put_value(self, key: bytes, queued: Queued) -> None:
        """Queue a write of a value that the stub keeps, unless it was the last write sent of it."""
        self._queue.pop(key, None)  # a second write of it goes to the end of the queue
        if self._written.get(key) != queued.payload:
            self._queue[key] = queued

    def cancel(self, key: bytes) -> bool:
        """Take a packet out of the queue; whether it was there, and so had not been sent yet."""
        return self._queue.pop(key, None) is not None

    def holds(self, key: bytes) -> bool:
        """Whether a packet with this key is queued, and has not been sent yet."""
        return key in self._queue

    @property
    def queued(self) -> list[bytes]:
        """The packets that are queued, and have not been sent yet."""
        return [one.payload for one in self._queue.values()]

    def forget_written(self) -> None:
        """Somebody else may have changed the values that the stub keeps: send each write again."""
        self._written.clear()

    def abandon(self) -> None:
        """Drop what is queued, but for keys that start with `z`: breakpoints are still removed."""
        self._queue = {key: one for key, one in self._queue.items() if key[:1] == b"z"}
        self._sent = self._ahead = None

    def defer(self, sent: Sent) -> None:
        """Let what is queued wait until it could matter; packets that come meanwhile may cancel it.

        sent: called when it was sent.
        """
        if self._queue:
            self._sent = sent
        else:
            sent(True)

    def let_wait(self) -> None:
        """Let what is queued wait, as `defer` does, where nobody need be called."""
        if self._queue and self._sent is None:
            self._sent = _nobody

    # -- sending

    def ask(self, payloads: Sequence[bytes] = ()) -> list[bytes]:
        """The replies to packets, which are sent behind all that is queued.

        StubRefused: the stub has refused something that was queued.
        """
        return self._answered(self._begin(payloads))

    def query(self, payload: bytes, *, past: bool) -> bytes:
        """The reply to a packet.

        past: what is deferred makes no difference to it, and need not be sent first.
        """
        self._land()
        if self._sent is not None and past:
            return self._link.call(payload)
        return self.ask((payload,))[0]

    def flush(self) -> None:
        """Send what is queued, and wait for the replies.  StubRefused: the first refusal."""
        self._land()
        while self._queue or self._sent is not None:
            self.ask()

    def send_ahead(self, but: Collection[bytes] = ()) -> None:
        """Send what is queued; a refusal is found out, and raised, before the next packet.

        but: the keys of those that stay in the queue.
        """
        self._ahead = self._begin((), but)

    def _land(self) -> None:
        """Wait for the replies to what was sent ahead."""
        if self._ahead is not None:
            batch, self._ahead = self._ahead, None
            self._answered(batch)

    def _begin(self, payloads: Sequence[bytes], but: Collection[bytes] = ()) -> Batch:
        """Send what is queued, and packets behind it.  Only one batch is in flight at a time."""
        self._land()
        going = [one for key, one in self._queue.items() if key not in but]
        sent, self._sent = self._sent, None
        self._queue = {key: one for key, one in self._queue.items() if key in but}
        queue = self._arranged(going)
        for one in queue:
            if one.payload[:1] == b"P":
                self._written[one.payload.partition(b"=")[0]] = one.payload
        self._unanswered = queue
        packets = [*(one.payload for one in queue), *payloads]
        return Batch(queue, sent, self._link.begin(packets) if packets else list)

    def _answered(self, batch: Batch) -> list[bytes]:
        """Wait for a batch; the replies to its packets behind those that were queued."""
        replies = batch.replies()
        self._unanswered = ()
        first: StubRefused | None = None
        for one, reply in zip(batch.queued, replies):
            if reply == b"OK":
                continue
            self._written.pop(one.payload.partition(b"=")[0], None)
            refused = StubRefused(f"the stub refused {one.what} (reply {shown(reply)})")
            if one.refused is None or not one.refused(refused):
                first = first or refused
        if first is not None:
            self._on_refusal()
        if batch.sent is not None:
            batch.sent(first is None)
        if first is not None:
            raise first
        return replies[len(batch.queued) :]


def _nobody(_done: bool) -> None:
    """For a queue that is deferred without anybody to call."""

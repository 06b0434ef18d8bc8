# SPDX-License-Identifier: MIT
"""Packets that are queued, deferred and in flight.

A packet takes the stub less time than waiting for its reply does.  So what can only be done or
refused is queued, and goes out with the next question.  The queue holds differences: what is put
twice under one key is sent once.  What is deferred may wait until something is asked that it could
matter for.  What is sent ahead is answered later, but before the next packet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from ..errors import StubRefused
from .link import Link

Refused = Callable[[StubRefused], bool]
"""Told that the stub has refused something: whether that is all right."""

Sent = Callable[[bool], None]
"""Told that something was sent and answered: whether the stub has done all of it."""


class Queued(NamedTuple):
    """A packet that is to be answered OK.

    what: it does, as an error names it.  refused: asked when it is not, None: that is an error.
    """

    payload: bytes
    what: str
    refused: Refused | None = None


class Batch(NamedTuple):
    """What was sent and is not yet answered.

    queued: of that what is to be answered OK, which comes first.  sent: who is told.  replies:
    waits for them.
    """

    queued: Sequence[Queued]
    sent: Sent | None
    replies: Callable[[], list[bytes]]


def expect_ok(reply: bytes, what: str) -> None:
    """StubRefused that names what the packet should have done, if the reply is not OK."""
    if reply != b"OK":
        raise StubRefused(f"the stub refused {what} (reply {shown(reply)})")


def shown(reply: bytes) -> str:
    """A reply as an error has it."""
    return repr(reply.decode("latin-1"))


class Pipeline:
    """Of one stub.  on_refusal is called when anything is refused that should not be; arranged
    gives what is sent for what is queued.
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
        self._sent: Sent | None = None  # who is told when the queue is sent; it is deferred then
        self._ahead: Batch | None = None
        self._written: dict[bytes, bytes] = {}  # by key, what was sent last of what is kept
        self._unanswered: Sequence[Queued] = ()

    @property
    def unanswered(self) -> list[bytes]:
        """Writes of registers that were sent, and whose replies are still to come."""
        return [one.payload for one in self._unanswered if one.payload[:1] == b"P"]

    # -- the queue

    def put(self, key: bytes, queued: Queued) -> None:
        """To be done with the next question, behind all that was put before."""
        self._queue[key] = queued

    def put_value(self, key: bytes, queued: Queued) -> None:
        """The same for what the stub keeps: it is left out where that was sent last anyway."""
        self._queue.pop(key, None)  # what is written twice is last written last
        if self._written.get(key) != queued.payload:
            self._queue[key] = queued

    def cancel(self, key: bytes) -> bool:
        """What was put is not to be done after all; whether it had not been sent yet."""
        return self._queue.pop(key, None) is not None

    def holds(self, key: bytes) -> bool:
        """Whether something is put that has not been sent yet."""
        return key in self._queue

    @property
    def queued(self) -> list[bytes]:
        """What is put and has not been sent yet."""
        return [one.payload for one in self._queue.values()]

    def forget_written(self) -> None:
        """What the stub keeps may be changed by others."""
        self._written.clear()

    def abandon(self) -> None:
        """Drop what is queued, but for what starts with `z`: breakpoints are still removed."""
        self._queue = {key: one for key, one in self._queue.items() if key[:1] == b"z"}
        self._sent = self._ahead = None

    def defer(self, sent: Sent) -> None:
        """What is queued may wait for what comes next; it is not sent if that undoes it."""
        if self._queue:
            self._sent = sent
        else:
            sent(True)

    def keep(self) -> None:
        """The same, where nobody need be told."""
        if self._queue and self._sent is None:
            self._sent = _nobody

    # -- sending

    def ask(self, payloads: Sequence[bytes] = ()) -> list[bytes]:
        """The replies to packets, after all that is queued.  StubRefused: that is refused."""
        return self._answered(self._begin(payloads))

    def query(self, payload: bytes, *, past: bool) -> bytes:
        """The reply to a packet.  past: what is deferred makes no difference to it, and stays."""
        self._land()
        if self._sent is not None and past:
            return self._link.call(payload)
        return self.ask((payload,))[0]

    def flush(self) -> None:
        """Have done what is queued.  StubRefused for the first that is refused."""
        self._land()
        while self._queue or self._sent is not None:
            self.ask()

    def send_ahead(self, but: Collection[bytes] = ()) -> None:
        """The same, but what is refused is found out before the next packet.

        but: the keys of what stays in the queue.
        """
        self._ahead = self._begin((), but)

    def _land(self) -> None:
        """Wait for what was sent ahead."""
        if self._ahead is not None:
            batch, self._ahead = self._ahead, None
            self._answered(batch)

    def _begin(self, payloads: Sequence[bytes], but: Collection[bytes] = ()) -> Batch:
        """Send what is queued, and packets behind it.  Only one batch is in flight."""
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
        """The replies behind those to what was queued."""
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
    """Is told."""

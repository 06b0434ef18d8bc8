# SPDX-License-Identifier: MIT
"""How packets get to a stub: what a door has to give to the `Stub` that it makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Link(Protocol):
    """A connection to a stub, which answers one packet after another."""

    def call(self, payload: bytes) -> bytes:
        """Send a packet to the stub, whose guest is stopped; the reply.  StubGone: none came."""

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """Send some packets, none of which resumes the guest; all at once if the stub can take it.

        Returns a function that waits for the replies; it is called before anything else is sent.
        """

    def resume(self, payload: bytes) -> bytes:
        """Send a packet that resumes the guest; its stop reply, however long that takes.

        The user's interrupt is passed on to the stub meanwhile.  StubGone: the stub goes away.
        """

    def interrupted(self) -> bool:
        """Whether the user has asked to stop since this was last called, passed on or not."""

# SPDX-License-Identifier: MIT
"""How packets get to a stub: what a door gives to the stub that it is to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Link(Protocol):
    """A connection to a stub, which answers one packet after another."""

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

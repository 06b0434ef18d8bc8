# SPDX-License-Identifier: MIT
"""A link that tells apart the packets that were sent and those whose replies were waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..machine import FakeLink, Machine


class SlowLink(FakeLink):
    """A link whose replies come when they are waited for.

    bursts: the packets of each burst, in the order sent.  waited: the number of bursts whose
    replies were waited for.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.bursts: list[list[bytes]] = []
        self.waited = 0

    def call(self, payload: bytes) -> bytes:
        """See the product's `Link`."""
        return self.begin([payload])()[0]

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See the product's `Link`."""
        self.bursts.append(list(payloads))

        def replies() -> list[bytes]:
            self.waited += 1
            return [self.machine.call(payload) for payload in payloads]

        return replies

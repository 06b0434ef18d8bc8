# SPDX-License-Identifier: MIT
"""A Ctrl-C that comes when the guest has just stopped for something else.

While a command runs gdb stops and resumes the guest many times, and sends its interrupt perhaps
between two resumes.  A stub alone then loses the Ctrl-C.  At a prompt gdb sends no interrupt.  So
if a resume follows at once, the interrupt is meant for it; if none does, the user has a prompt.
"""

from __future__ import annotations

import time

LATE_INTERRUPT = 0.5
"""Seconds for which an interrupt that came too late for one resume counts for the next."""


class LateInterrupt:
    """Remembers the last interrupt that came too late."""

    def __init__(self) -> None:
        self._came: float | None = None  # time.monotonic

    def came(self) -> None:
        """gdb has sent an interrupt, but the guest stands still or stopped for something else."""
        self._came = time.monotonic()

    def take(self) -> bool:
        """At a resume: whether the last interrupt is meant for it.  It counts for one resume."""
        came, self._came = self._came, None
        return came is not None and time.monotonic() - came < LATE_INTERRUPT

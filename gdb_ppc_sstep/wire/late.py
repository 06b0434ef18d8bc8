# SPDX-License-Identifier: MIT
"""A Ctrl-C that comes when the guest has just stopped for something else.

While a command runs gdb stops and resumes many times, and its interrupt may come between.  A stub
alone then loses the Ctrl-C.  At a prompt gdb sends no interrupt; so one that is followed by a
resume at once is meant for that, and one that is not has been answered by a prompt.
"""

from __future__ import annotations

import time

LATE_INTERRUPT = 0.5
"""Seconds for which an interrupt that came too late for one resume counts for the next."""


class LateInterrupt:
    """The last one."""

    def __init__(self) -> None:
        self._came: float | None = None  # time.monotonic

    def came(self) -> None:
        """gdb has sent one, and the guest stands still or has stopped for something else."""
        self._came = time.monotonic()

    def take(self) -> bool:
        """At a resume: whether one is meant for it.  It counts once."""
        came, self._came = self._came, None
        return came is not None and time.monotonic() - came < LATE_INTERRUPT

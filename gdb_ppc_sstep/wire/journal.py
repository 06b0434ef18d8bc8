# SPDX-License-Identifier: MIT
"""What of ours is in the guest, kept where those find it who outlive us."""

from __future__ import annotations

import os

from ..engine import record
from ..engine.ledger import Snapshot


class Journal:
    """The record (see `engine.record`) as the first line of a file.  fd: None for none."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._written = ""

    def __call__(self, snapshot: Snapshot) -> None:
        """Write it, if it is another one."""
        if self._fd is None:
            return
        text = record.written(snapshot)
        if text != self._written:
            os.pwrite(self._fd, text.encode() + b"\n", 0)
            self._written = text

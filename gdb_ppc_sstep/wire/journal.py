# SPDX-License-Identifier: MIT
"""What of ours is in the guest, kept where those find it who outlive us."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from ..engine import record
from ..engine.ledger import Snapshot


class Journal:
    """The record (see `engine.record`) as the first line of a file."""

    def __init__(self, fd: int | None, say: Callable[[str], None]) -> None:
        """fd: None for no record.  say: takes a line for the user."""
        self._fd = fd
        self._say = say
        self._written = ""
        self._failed = False

    def __call__(self, snapshot: Snapshot) -> None:
        """Write it, if it is another one.

        The step goes on where that fails: only one that is killed needs its record.
        """
        if self._fd is None:
            return
        text = record.written(snapshot)
        if text == self._written:
            return
        data = text.encode() + b"\n"
        try:
            if os.pwrite(self._fd, data, 0) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):  # an old one, or a part, would tell of what is not there
                os.ftruncate(self._fd, 0)
            self._written = ""
            if not self._failed:
                self._say(
                    "ppc-sstep: what is in the guest during a step cannot be recorded "
                    f"({error.strerror}); `ppc-sstep clean` will not know all of it if this "
                    "session is killed"
                )
            self._failed = True
        else:
            self._written, self._failed = text, False

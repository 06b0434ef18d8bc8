# SPDX-License-Identifier: MIT
"""The journal: the record of our changes in the guest, in a file that survives a killed layer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from ..engine import record
from ..engine.ledger import Snapshot


class Journal:
    """Writes the record (see `engine.record`) as the first line of a file."""

    def __init__(self, fd: int | None, say: Callable[[str], None]) -> None:
        """fd: the file, None for no record.  say: takes a line for the user."""
        self._fd = fd
        self._say = say
        self._written = ""
        self._failed = False

    def __call__(self, snapshot: Snapshot) -> None:
        """Write the record of a snapshot, unless the file has that already.

        If writing fails, the user is told and the step goes on: only a killed session needs its
        record.
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
            with suppress(OSError):  # an old or partial record would tell of changes that are gone
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

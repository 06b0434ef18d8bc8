# SPDX-License-Identifier: MIT
"""The debug log: packets and decisions go to whoever started the layer, or to a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO


class DebugLog:
    """The debug log of one layer.  say: takes a line for whoever started the layer."""

    def __init__(self, say: Callable[[str], None], *, logs: bool = False) -> None:
        self.say = say
        self._logs = logs
        self._file: BinaryIO | None = None
        self._failed = False

    @property
    def logs(self) -> bool:
        """Whether packets and decisions are logged."""
        return self._logs

    def switch(self, logs: bool) -> None:
        """Log packets and decisions from now on, or no more."""
        self._logs = logs

    def to_file(self, path: str) -> None:
        """Append the log to a file, or (empty path) give it to `say`, which is told of errors."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if path:
            try:
                self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (kept)
            except (OSError, ValueError) as error:
                self.say(f"ppc-sstep: no log is written: {error}")

    def packet(self, line: str, payload: bytes) -> None:
        """Log a packet.  line: who has sent it to whom; the payload is put behind it."""
        self.line(line + payload.decode("latin-1"))

    def decided(self, line: str, *values: object) -> None:
        """Log a decision.  line, values: a format and its values, as `str.format` takes them."""
        if self._logs:
            self.line(line.format(*values))

    def line(self, line: str) -> None:
        """Log a line, if the log is on.  A file that cannot be written is told to `say` once."""
        if not self._logs:
            return
        if self._file is None:
            self.say(line)
            return
        try:
            self._file.write(line.encode(errors="replace") + b"\n")
            self._failed = False
        except OSError as error:  # such as a full disk: a step is not to fail for that
            if not self._failed:
                self.say(f"ppc-sstep: the log is not written: {error.strerror}")
            self._failed = True

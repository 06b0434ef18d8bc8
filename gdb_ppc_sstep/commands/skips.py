# SPDX-License-Identifier: MIT
"""Functions and files that `step` passes by, from the table that `info skip` prints.  Pure.

gdb's Python API does not tell of them.  The rules are those of gdb/skip.c.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import NamedTuple

_ROW = re.compile(
    r"^\d+\s+(?P<enabled>[yn])\s+(?P<glob>[yn])\s(?P<file>\S.*?)\s+(?P<regexp>[yn])\s(?P<function>.+)$"
)


class Skip(NamedTuple):
    """A row that is enabled.  file, function: empty where it has none.

    glob, regexp: whether file and function are patterns.
    """

    file: str
    glob: bool
    function: str
    regexp: bool

    def covers(self, function: str, files: tuple[str, ...]) -> bool:
        """Whether a function is to be passed by.  files: its source file's names."""
        found = [self._has_file(files)] if self.file else []
        found += [self._has_function(function)] if self.function else []
        return bool(found) and all(found)

    def _has_file(self, files: tuple[str, ...]) -> bool:
        if self.glob:  # as many folders of a name as the pattern has, and no * for two of them
            parts = self.file.split("/")
            ends = (one.split("/")[-len(parts) :] for one in files)
            return any(
                len(end) == len(parts) and all(map(fnmatch.fnmatchcase, end, parts)) for end in ends
            )
        return any(one == self.file or one.endswith("/" + self.file) for one in files)

    def _has_function(self, function: str) -> bool:
        if self.regexp:
            try:
                return re.search(self.function, function) is not None
            except re.error:
                return False  # POSIX knows some that Python does not
        name, wanted = ("".join(one.split()) for one in (function, self.function))
        return name == wanted or name.startswith(wanted + "(")


def parse(text: str) -> Iterator[Skip]:
    """The rows of `info skip` that are enabled."""
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is not None and row["enabled"] == "y":
            file, function = (
                "" if one == "<none>" else one for one in (row["file"], row["function"].rstrip())
            )
            yield Skip(file, row["glob"] == "y", function, row["regexp"] == "y")

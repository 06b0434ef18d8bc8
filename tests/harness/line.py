# SPDX-License-Identifier: MIT
"""A guest whose stub is at a serial line: a pseudoterminal that QEMU has made for it."""

from __future__ import annotations

import os
import re
import select
import time
import tty

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu, QemuError, wait_for

MADE = re.compile(r"char device redirected to (/dev/\S+) \(label line\)")


class LineQemu(Qemu):
    """As `Qemu`, but `target` is the path of a terminal, and nothing serves the unix socket.

    Like any serial line it serves whoever has it open, and does not tell one client from another.
    """

    def __init__(self, program: Program, *, steps: bool) -> None:
        arguments = ("-bios", str(program.image), "-chardev", "pty,id=line", "-gdb", "chardev:line")
        super().__init__(arguments, steps=steps)
        self.target = self._path()

    def _path(self) -> str:
        wait_for(lambda: MADE.search(self.log.read_text()) is not None, "QEMU's terminal", 20)
        found = MADE.search(self.log.read_text())
        assert found is not None
        return found[1]

    def _ask(self, text: str, timeout: float) -> list[str]:
        data, end, received = text.encode(), time.monotonic() + timeout, b""
        fd = os.open(self._path(), os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(fd)
            os.write(fd, b"$%s#%02x" % (data, sum(data) & 255))
            while not (replies := re.findall(rb"\$([^#]*)#..", received)):
                if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
                    self._check()
                    raise QemuError(f"no reply to {text} in {timeout:g} s")
                received += os.read(fd, 4096)
            os.write(fd, b"+")
        finally:
            os.close(fd)
        return [reply.decode("latin-1") for reply in replies]

# SPDX-License-Identifier: MIT
"""gdb's Debug Adapter Protocol server (gdb >= 14): its connections are taken as well."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.driver import EXTENSION

pytestmark = pytest.mark.bare


class Dap:
    """A client of `gdb -i dap`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["gdb-multiarch", "-nx", "-q", "-i=dap", "-d", SOURCES, f"-iex=source {EXTENSION}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0

    def send(self, command: str, **arguments: Any) -> None:
        self._number += 1
        request = {
            "seq": self._number,
            "type": "request",
            "command": command,
            "arguments": arguments,
        }
        body = json.dumps(request).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def until(self, kind: str, name: str) -> dict[str, Any]:
        """The next message of a kind ("event", "response") and name."""
        assert self.process.stdout is not None
        while True:
            header = self.process.stdout.readline()
            assert header, "gdb has ended"
            length = re.match(rb"Content-Length: (\d+)", header)
            if length is None:
                continue
            self.process.stdout.readline()
            message: dict[str, Any] = json.loads(self.process.stdout.read(int(length[1])))
            if message["type"] == kind and message.get("event", message.get("command")) == name:
                return message


def test_stepping(programs: Callable[..., Program], boot: Callable[..., Qemu]) -> None:
    version = subprocess.run(["gdb-multiarch", "--version"], capture_output=True, text=True)
    found = re.search(r"(\d+)\.\d+", version.stdout)
    if found is None or int(found[1]) < 14:
        pytest.skip("gdb before 14 has no DAP server")
    program, dap = programs("demo"), Dap()
    guest = boot(program, steps=False)
    try:
        dap.send("initialize", adapterID="test")
        dap.until("response", "initialize")
        dap.send("attach", target=guest.target, program=str(program.elf))
        dap.send("setFunctionBreakpoints", breakpoints=[{"name": "work"}])
        dap.send("configurationDone")
        dap.until("event", "stopped")
        dap.send("continue", threadId=1)
        assert dap.until("event", "stopped")["body"]["reason"] == "breakpoint"
        for command in ("next", "stepIn", "stepIn", "stepOut", "next"):
            dap.send(command, threadId=1)
            stopped = dap.until("event", "stopped")["body"]
            assert stopped["reason"] in ("step", "breakpoint", "function breakpoint"), stopped
        dap.send("continue", threadId=1)
        assert dap.until("event", "stopped")["body"]["reason"] == "breakpoint"
        dap.send("evaluate", expression="info ppc-sstep", context="repl")
        assert ": taken" in dap.until("response", "evaluate")["body"]["result"]
    finally:
        dap.process.kill()
        dap.process.wait()

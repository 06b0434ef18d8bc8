# SPDX-License-Identifier: MIT
"""gdb's Debug Adapter Protocol server (gdb >= 14): it shows what it shows with native stepping."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import EXTENSION, GDB, gdb_version

pytestmark = [
    pytest.mark.bare,
    pytest.mark.skipif(gdb_version() < (14, 0), reason="gdb before 14 has no DAP server"),
]


class Dap:
    """A client of `gdb -i dap`, ended with the `with` block."""

    def __init__(self, *, extension: bool) -> None:
        self.process = subprocess.Popen(
            [GDB, "-nx", "-q", "-i=dap", "-d", str(SOURCES)]
            + ([f"-iex=source {EXTENSION}"] if extension else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0
        self._ahead: list[dict[str, Any]] = []

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
        """The next message of a kind ("event", "response") and name; others may come before."""

        def wanted(message: dict[str, Any]) -> bool:
            said = message.get("event", message.get("command"))
            return message["type"] == kind and bool(said == name)

        for message in self._ahead:
            if wanted(message):
                self._ahead.remove(message)
                return message
        while not wanted(message := self._next()):
            self._ahead.append(message)
        return message

    def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        length = None
        while length is None:
            header = self.process.stdout.readline()
            assert header, "gdb has ended"
            length = re.match(rb"Content-Length: (\d+)", header)
        self.process.stdout.readline()
        message: dict[str, Any] = json.loads(self.process.stdout.read(int(length[1])))
        return message

    def ask(self, command: str, **arguments: Any) -> Any:
        """The body of the response to a request, which must succeed."""
        self.send(command, **arguments)
        response = self.until("response", command)
        assert response["success"], response
        return response.get("body")

    def where(self) -> list[str]:
        """Why the guest has stopped, once it has, and its frames."""
        reason = self.until("event", "stopped")["body"]["reason"]
        frames = self.ask("stackTrace", threadId=1)["stackFrames"]
        return [reason, *(f"{frame['name']}:{frame.get('line')}" for frame in frames)]

    def __enter__(self) -> Dap:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()


RESUMES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("continue", {}),
    ("next", {}),
    ("stepIn", {}),
    ("stepOut", {}),
    ("continue", {}),
    ("stepIn", {"granularity": "instruction"}),
    ("next", {"granularity": "instruction"}),
    ("stepIn", {}),
    ("stepIn", {"granularity": "line"}),
    ("stepOut", {}),
    ("next", {}),
    ("continue", {"singleThread": True}),
    ("next", {}),
)


def session(dap: Dap, guest: Qemu, program: Program) -> list[list[str]]:
    """Where a client's requests lead."""
    dap.ask("initialize", adapterID="test", linesStartAt1=True, columnsStartAt1=True)
    dap.send("attach", target=guest.target, program=str(program.elf))
    dap.ask("setFunctionBreakpoints", breakpoints=[{"name": "work"}])
    dap.ask(
        "setBreakpoints",
        source={"path": str(SOURCES / "demo.c")},
        breakpoints=[{"line": 9, "condition": "x == 3"}, {"line": 24, "hitCondition": "2"}],
    )
    dap.send("configurationDone")
    places = [dap.where()]
    for command, arguments in RESUMES:
        dap.send(command, threadId=1, **arguments)
        places.append([command, *dap.where()])
    return places


def test_the_same_places(programs: Callable[..., Program], boot: Callable[..., Qemu]) -> None:
    program = programs("demo")
    with Dap(extension=False) as dap:
        native = session(dap, boot(program, steps=True), program)
    with Dap(extension=True) as dap:
        assert session(dap, boot(program, steps=False), program) == native
        assert len({tuple(place[1:]) for place in native}) > 8, native

        dap.ask("setFunctionBreakpoints", breakpoints=[])
        dap.ask(
            "setBreakpoints",
            source={"path": str(SOURCES / "demo.c")},
            breakpoints=[{"line": 9, "condition": "x == -1"}],  # stepped over all the time
        )
        for _ in range(3):
            dap.ask("continue", threadId=1)
            time.sleep(0.3)  # a pause that comes at once is lost, natively as well
            dap.ask("pause", threadId=1)
            assert dap.where()[0] == "pause"
        dap.send("next", threadId=1)
        assert dap.where()[0] == "step"
        said = dap.ask("evaluate", expression="info ppc-sstep", context="repl")["result"]
        assert ": taken" in said
        dap.ask("disconnect")

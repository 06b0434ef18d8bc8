# SPDX-License-Identifier: MIT
"""A client of the Debug Adapter Protocol."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fixtures.closing import Closing


class Dap(Closing):
    """A client of a debug adapter.  It starts the adapter by a command, and ends it on `close`.

    Ending also kills all that the adapter has started.  environment: the adapter's.
    """

    def __init__(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
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
        """Wait for the next message of a kind ("event", "response") with this name.

        Messages that come before it are kept for later calls.
        """

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

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The bodies of the events of these names that have come and that nobody waited for."""
        return [one["body"] for one in self._ahead if one.get("event") in names]

    def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        length = None
        while length is None:
            header = self.process.stdout.readline()
            assert header, "the adapter has ended"
            length = re.match(rb"Content-Length: (\d+)", header)
        self.process.stdout.readline()
        message: dict[str, Any] = json.loads(self.process.stdout.read(int(length[1])))
        return message

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a request and wait for its response, a success.  Returns the response's body."""
        self.send(command, **arguments)
        response = self.until("response", command)
        assert response["success"], response
        return response.get("body")

    def where(self) -> list[str]:
        """Wait until the guest stops.  Returns the reason, and `function:line` of each frame."""
        reason = self.until("event", "stopped")["body"]["reason"]
        frames = self.ask("stackTrace", threadId=1)["stackFrames"]
        return [reason, *(f"{frame['name']}:{frame.get('line')}" for frame in frames)]

    def close(self) -> None:
        """End the adapter and its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # the adapter has gone, and buffered bytes cannot be sent
                if stream is not None:
                    stream.close()

# SPDX-License-Identifier: MIT
"""The doors: the interface that each has, and the wire door.

The other one, `commands.door.CommandsDoor`, is loaded only when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import gdb

from ..errors import SstepError
from ..options import Options
from ..rsp import private
from ..rsp.private import Stretch
from . import detect, takeover


class Door(Protocol):
    """Steps the guest of one connection.  SstepError, gdb.error: it cannot do what is asked.

    steps_by_commands: it is the commands door; gdb must not ask the stub for steps itself.
    """

    steps_by_commands: bool

    @property
    def busy(self) -> bool:
        """Whether the guest is being moved behind gdb's back."""

    @property
    def warning(self) -> str:
        """What the user has to know of this door at this stub, after a space; empty if nothing."""

    def activate(self, active: bool) -> None:
        """Step from now on, or (not active) let gdb's step requests reach the stub."""

    def apply(self, options: Options, *, debug: bool, debug_file: str) -> None:
        """Step as the user has set it.

        debug: whether to log.  debug_file: the file for the log, empty for gdb's own log.
        """

    def status(self, *, active: bool) -> dict[str, Any]:
        """What `info ppc-sstep` shows, with the guest at rest: `engine.report.Teller.status`."""

    def report(self, *, active: bool) -> dict[str, Any]:
        """What a bug report has, with the guest at rest: see `engine.report.Teller.report`."""

    def log_end(self) -> str:
        """The end of the door's log; empty where the door has no log of its own."""

    def leftovers(self, known: str, *, clean: bool) -> list[dict[str, Any]]:
        """What a killed session has left, with the guest at rest: see `engine.report.leftovers`."""

    def expect_lines(self, thread: bytes, stretches: Sequence[Stretch]) -> None:
        """gdb is about to step a thread through code by lines; without stretches, it no longer is.

        thread: its thread-id.  stretches: see `rsp.private.SetLines`.
        """

    def leaving(self) -> None:
        """gdb is about to let the guest go."""

    def closed(self) -> None:
        """The connection has ended: gdb has removed it, and is about to close its descriptor."""

    def news(self) -> str:
        """The text that the door has logged since the last call, for gdb's log."""

    def ended(self) -> bool:
        """After `closed`: whether nothing of the door runs any more."""

    def record(self) -> str:
        """After `ended`: what it was doing when it was killed, as an `engine.record`, or empty."""

    def last(self) -> dict[str, Any] | None:
        """After `ended`: what `report` would have told at the end, None if that is lost."""


class WireDoor:
    """The wire door: a layer between gdb and the stub (see `takeover`), which we send packets."""

    steps_by_commands = False

    def __init__(self, connection: gdb.RemoteTargetConnection) -> None:
        """Take the connection.  SstepError: it cannot be taken, and nothing has changed."""
        self._connection = connection
        self._layer = takeover.take(connection)

    @property
    def busy(self) -> bool:
        """See `Door`."""
        return False

    @property
    def warning(self) -> str:
        """See `Door`."""
        return ""

    def activate(self, active: bool) -> None:
        """See `Door`."""
        self._set("active", "on" if active else "off")

    def apply(self, options: Options, *, debug: bool, debug_file: str) -> None:
        """See `Door`."""
        for name, value in options.to_text().items():
            self._set(name, value)
        self._set("log-file", debug_file.encode().hex())
        self._set("log", "on" if debug else "off")

    def _set(self, name: str, value: str) -> None:
        reply = detect.send(self._connection, f"{private.SET}{name}={value}")
        if reply != b"OK":
            said = (reply or b"nothing").decode("latin-1")
            raise SstepError(f"the step layer does not take {name}={value}: it says {said!r}")

    def status(self, *, active: bool) -> dict[str, Any]:
        """See `Door`."""
        return ask_status(self._connection)

    def report(self, *, active: bool) -> dict[str, Any]:
        """See `Door`."""
        return ask_report(self._connection)

    def log_end(self) -> str:
        """See `Door`."""
        return self._layer.log_end()

    def leftovers(self, known: str, *, clean: bool) -> list[dict[str, Any]]:
        """See `Door`."""
        from ..commands.link import thread_id  # seldom

        # The layer has not seen gdb select a thread, if it has only just come in between.
        thread = thread_id(gdb.selected_thread())
        detect.send(self._connection, "Hg" + thread.decode())
        packet = private.CLEAN if clean else private.LEFT
        found: list[dict[str, Any]] = _ask(self._connection, f"{packet}:{known.encode().hex()}")
        if clean:
            gdb.execute("maintenance flush register-cache", to_string=True)
        return found

    def expect_lines(self, thread: bytes, stretches: Sequence[Stretch]) -> None:
        """See `Door`."""
        lines = private.lines_text(thread, stretches) if stretches else private.NO_LINES
        self._set(private.LINES, lines)

    def leaving(self) -> None:
        """See `Door`.  The layer sees it by itself."""

    def closed(self) -> None:
        """See `Door`.  The layer ends when gdb's descriptor is closed."""
        self._layer.let_go()

    def news(self) -> str:
        """See `Door`."""
        return self._layer.news()

    def ended(self) -> bool:
        """See `Door`."""
        return not self._layer.alive()

    def record(self) -> str:
        """See `Door`."""
        return self._layer.record()

    def last(self) -> dict[str, Any] | None:
        """See `Door`."""
        try:
            left: dict[str, Any] = json.loads(self._layer.last())
        except ValueError:
            return None
        return left


def ask_status(connection: gdb.RemoteTargetConnection) -> dict[str, Any]:
    """`Door.status` from the layer on a connection, whether this gdb started it or not."""
    status: dict[str, Any] = _ask(connection, private.STATUS)
    return status


def ask_report(connection: gdb.RemoteTargetConnection) -> dict[str, Any]:
    """`Door.report` from the layer on a connection, whether this gdb started it or not."""
    report: dict[str, Any] = _ask(connection, private.REPORT)
    return report


def _ask(connection: gdb.RemoteTargetConnection, packet: str) -> Any:
    reply = detect.send(connection, packet)
    if not reply:
        raise gdb.GdbError("The step layer does not answer; connect again.")
    if reply.startswith(b"E"):
        raise gdb.GdbError(reply.decode("latin-1").partition(".")[2])
    return json.loads(bytes.fromhex(reply.decode()))

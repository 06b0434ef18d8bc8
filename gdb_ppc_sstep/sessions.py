# SPDX-License-Identifier: MIT
"""Which of gdb's connections are taken, and why or why not."""

from __future__ import annotations

import json
from typing import Any

import gdb

from . import detect, private, takeover
from .errors import SstepError


class Settings:
    """What the user has set; `control` writes it."""

    mode = "auto"
    ail = "auto"
    debug = False
    debug_file = ""


class Session:
    """One remote connection, by its number in `info connections`."""

    def __init__(self, connection: gdb.RemoteTargetConnection) -> None:
        self.connection = connection
        self.layer: takeover.LayerProcess | None = None
        self.active = False
        self.finding: detect.Finding | None = None
        self.why = ""
        """Why the connection is not taken."""

    def decide(self, inferior: gdb.Inferior) -> None:
        """Take the connection, or leave it, as the mode and the stub say."""
        mode = Settings.mode
        if not detect.is_ppc64(inferior):
            self.why = f"the target is no 64-bit PowerPC ({inferior.architecture().name()})"
            return
        try:
            self.finding = None if mode == "off" else detect.stub_steps(self.connection)
        except gdb.error as error:
            self.why = f"the stub did not say whether it steps: {error}"
            gdb.write(f"ppc-sstep: this connection is not taken: {self.why}\n", gdb.STDERR)
            return
        wanted = mode == "on" or (self.finding is not None and self.finding.steps is False)
        if mode == "off":
            self.why = "mode is off"
        elif not wanted and self.finding and self.finding.steps:
            self.why = "the stub steps by itself"
        elif not wanted:
            self.why = "not known whether the stub steps; `set ppc-sstep mode on` takes it"
        if not wanted:
            self._activate(False)
        elif self.layer is None:
            self._take()
        else:
            self._activate(True)

    def _take(self) -> None:
        try:
            self.layer = takeover.take(self.connection)
        except SstepError as error:
            self.why = str(error)
            gdb.write(f"ppc-sstep: this connection is not taken: {error}\n", gdb.STDERR)
            return
        self.active = True
        self.send_settings()
        because = "" if Settings.mode == "on" else "this stub ignores step requests; "
        gdb.write(f"ppc-sstep: {because}stepping by the Trace interrupt.\n")

    def _activate(self, active: bool) -> None:
        """Switch a layer that is there; it then forwards step requests as it forwards the rest."""
        self.active = active and self.layer is not None
        if self.layer is not None:
            self._set("active", "1" if active else "0")

    def send_settings(self) -> None:
        """Tell the layer what the user has set."""
        if self.layer is not None:
            self._set("ail", "" if Settings.ail == "auto" else Settings.ail)
            self._set("log-file", Settings.debug_file.encode().hex())
            self._set("log", "1" if Settings.debug else "0")

    def _set(self, name: str, value: str) -> None:
        detect.send(self.connection, f"{private.SET}{name}={value}")

    def status(self) -> dict[str, Any]:
        """What the layer says of itself (see `private`)."""
        reply = detect.send(self.connection, private.STATUS)
        if not reply:
            raise gdb.GdbError("The step layer does not answer; connect again.")
        status: dict[str, Any] = json.loads(bytes.fromhex(reply.decode()))
        return status

    def show_log(self) -> None:
        """Print what the layer has logged since."""
        text = self.layer.news() if self.layer is not None else ""
        if text:
            gdb.write(text, gdb.STDLOG)


_sessions: dict[int, Session] = {}


def session_of(inferior: gdb.Inferior) -> Session | None:
    """The session of an inferior's connection; None if that is not a remote one."""
    connection = inferior.connection
    if not isinstance(connection, gdb.RemoteTargetConnection) or not connection.is_valid():
        return None
    return _sessions.setdefault(connection.num, Session(connection))


def look() -> None:
    """Decide about the selected inferior's connection if it is new, and show the layers' logs.

    For when gdb is at rest: after a stop, and before a prompt.
    """
    inferior = gdb.selected_inferior()
    connection = inferior.connection
    if connection is not None and connection.num not in _sessions and at_rest(inferior):
        session = session_of(inferior)
        if session is not None:
            session.decide(inferior)
    for session in list(_sessions.values()):
        session.show_log()


def at_rest(inferior: gdb.Inferior) -> bool:
    """Whether packets may be sent: there are threads and none of them runs."""
    threads = inferior.threads()
    return bool(threads) and not any(thread.is_running() for thread in threads)


def ask_again() -> None:
    """Decide anew about every connection that is at rest: the mode or the stub has changed."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.decide(inferior)


def tell_settings() -> None:
    """Tell every layer whose connection is at rest what the user has set."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.send_settings()


def removed(number: int) -> None:
    """A connection is gone; its layer ends by itself."""
    session = _sessions.pop(number, None)
    if session is not None:
        session.show_log()
        _ended.append(session)


_ended: list[Session] = []


def reap() -> None:
    """Take what the layers of gone connections leave: last words, exit status."""
    for session in list(_ended):
        gone = session.layer is None or not session.layer.alive()
        session.show_log()
        if gone:
            _ended.remove(session)

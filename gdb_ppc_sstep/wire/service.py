# SPDX-License-Identifier: MIT
"""The service of `gdb-ppc-sstep`: which client is served, and what the others are told.

Each client has a thread of its own.  One client at a time has the seat: a layer, and a connection
to the stub.  A client takes the seat with its first packet, so a silent one keeps nobody waiting.
"""

from __future__ import annotations

import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..engine import host
from ..engine.shown import lines, report
from ..errors import SstepError, StubSilent
from ..options import Options
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.private import LEFT_BEHIND
from .addresses import Address, connected, named, prompt, reason, shown
from .greet import greet, visit
from .layer import Layer
from .link import WireLink
from .log import DebugLog
from .refusal import begins, refuse
from .wire import GdbGone, Wire

FIRST_PACKET = 30.0
"""Seconds within which a client has to send its first packet."""

MAKE_WAY = 1.5
"""Seconds for which a client waits until the one before is done.  gdb's remotetimeout is 2."""

MANY = 16
"""The most clients that may be connected, served or not."""

AGAIN = 0.5
"""Seconds between two attempts to find a stub that comes later."""


def say(line: str) -> None:
    """Print a line on stderr for whoever has started the service."""
    _log(f"gdb-ppc-sstep: {line}")


def _log(line: str) -> None:
    with suppress(OSError):  # stderr may go to a full disk; clients are served all the same
        print(line, file=sys.stderr, flush=True)


def start_thread(run: Callable[[], object], *, daemon: bool = True) -> threading.Thread:
    """Start a thread to which the kernel delivers no signal.

    Python acts on a signal only in the main thread, which would sleep on if another were woken.
    """
    thread = threading.Thread(target=run, daemon=daemon)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return thread


class _Session:
    """One client.  wire, layer: None until the stub is there.  over: it is served no more."""

    def __init__(self, client: socket.socket) -> None:
        self.layer: Layer | None = None
        self.client = client
        self.name = named(client)
        self.wire: Wire | None = None
        self.over = threading.Event()
        self._seated = time.monotonic()

    def seated(self) -> None:
        """The client is served from now on."""
        self._seated = time.monotonic()

    @property
    def heard(self) -> float | None:
        """When the client's last packet came (time.monotonic), None if none has."""
        return self.wire.gdb.heard if self.wire is not None else None

    def shown(self) -> str:
        """What another client is told of this one."""
        now = time.monotonic()
        text = f"another client ({self.name}) has been served for {now - self._seated:.0f} seconds"
        if self.heard is not None:
            text += f", and its last packet came {now - self.heard:.0f} seconds ago"
        return text + "; one is served at a time"

    def silent(self, idle: float | None) -> float | None:
        """Wait until the client has been silent for too long; the limit that it passed, in seconds.

        idle: the limit after its first packet, None for none.  Returns None if the session is over,
        or the client may be silent.
        """
        while True:
            heard = self.heard
            limit = FIRST_PACKET if heard is None else idle
            if limit is None:
                return None
            left = (self._seated if heard is None else heard) + limit - time.monotonic()
            if left <= 0:
                return limit
            if self.over.wait(min(left, idle or left)):  # the first packet may come at any time
                return None

    def end(self) -> None:
        """End the session as if the client had gone, so that the guest is left clean."""
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)


class Service:
    """Serves one client at a time at one stub."""

    def __init__(
        self, stub: Address, *, options: Options, debug: bool, idle: float | None = None
    ) -> None:
        """idle: seconds after which a silent client is disconnected, None for never."""
        self._stub = stub
        self._options = options
        self._debug = debug
        self._idle = idle
        self._once = False
        self._served = True
        self._seat = threading.Lock()
        self._session: _Session | None = None
        self._room = threading.Semaphore(MANY)
        self._stopping = False
        self._woken, self._wake = socket.socketpair()

    def look(self, *, wait: bool) -> bool:
        """Connect to the stub once, to see whether it can be used; True if it can.

        wait: try again until it can.  False: `stop` was called before that.  OSError, SstepError:
        without `wait`, the stub is not there, or cannot be used.
        """
        told = False
        while not self._stopping:
            try:
                self._visit()
                return True
            except (SstepError, OSError) as error:
                if not wait:
                    raise
                if not told:
                    say(f"waiting for {self.why(error)}")
                    told = True
            select.select([self._woken], [], [], AGAIN)
        return False

    def why(self, error: Exception) -> str:
        """The text for an error that says that the stub is not there, or cannot be used."""
        hint = "; is another debugger connected to it?" if isinstance(error, StubSilent) else ""
        return f"the stub at {shown(self._stub)}: {reason(error)}{hint}"

    def _visit(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, connected(self._stub) as sock:
            visit(WireLink(Wire(ours, sock), GdbBreakpoints()))

    def serve(self, server: socket.socket, *, once: bool) -> bool:
        """Serve clients until `stop` is called; whether the last one could be served.

        once: stop after the first client that had the seat.
        """
        self._once = once
        while not self._stopping:
            if self._woken in select.select([server, self._woken], [], [])[0]:
                break
            client, _ = server.accept()
            if self._room.acquire(blocking=False):
                start_thread(partial(self._meet, client))
            else:
                say(f"{MANY} clients are connected; another one is disconnected")
                client.close()
        with self._seat:  # whoever has it leaves the guest clean first
            return self._served

    def stop(self, *_signal: object) -> None:
        """End the service; a signal handler as well.

        The client's session ends as if it had gone, so that the guest is left clean.
        """
        self._stopping = True
        self._wake.send(b"x")
        session = self._session
        if session is not None:
            session.end()

    def report(self) -> str:
        """The text for a bug report, whatever the client's thread is doing."""
        session = self._session
        sections = {
            "Versions": [*host.lines(), "Started as gdb-ppc-sstep"],
            "Settings": [f"{name} {value}" for name, value in self._options.to_text().items()],
            "Stub": [shown(self._stub)],
            "Client": [session.shown()] if session is not None else [],
        }
        if session is not None and session.layer is not None:
            told = session.layer.told()
            sections["Connection"] = list(lines(told["status"]))
            sections["Packets, the last ones"] = told["packets"]
        return report(time.time(), sections)

    def _meet(self, client: socket.socket) -> None:
        """Deal with one client, in its thread, until it is served or refused."""
        try:
            with prompt(client):
                self._seated(_Session(client))
        except GdbGone:
            pass  # before it has said anything
        except OSError as error:
            say(f"a client: {reason(error)}")
        finally:
            self._room.release()

    def _seated(self, session: _Session) -> None:
        try:
            begins(session.client, FIRST_PACKET)
        except SstepError as error:
            say(f"{session.name} is disconnected: {error}")
            return
        if not self._seat.acquire(timeout=MAKE_WAY):
            other = self._session
            why = other.shown() if other is not None else "another client is served"
            say(f"{session.name} is refused: {why}")
            refuse(session.client, why)
            return
        try:
            self._session = session
            if self._stopping:  # looked at after it can be ended
                return
            session.seated()
            start_thread(partial(self._watch, session))
            self._served = self._serve(session)
            if self._once:
                self.stop()
        finally:
            self._session = None
            session.over.set()
            self._seat.release()

    def _watch(self, session: _Session) -> None:
        limit = session.silent(self._idle)
        if limit is not None:
            say(f"{session.name} is disconnected: it sent nothing for {limit:g} seconds")
            session.end()

    def _serve(self, session: _Session) -> bool:
        """Serve the client until it or the stub goes away; whether it could be served."""
        try:
            with connected(self._stub) as sock:
                log, gdbs = DebugLog(_log, logs=self._debug), GdbBreakpoints()
                session.wire = wire = Wire(session.client, sock)
                wire.log_packets(log.packet if self._debug else None)
                link = WireLink(wire, gdbs)
                layer = Layer(link, greet(link), gdbs, log, options=self._options)
                session.layer = layer
                for left in layer.leftovers():
                    say(f"{left.thread.decode('latin-1')}: {left.what}, {LEFT_BEHIND}")
                ended = layer.run()
        except (SstepError, OSError) as error:
            why = self.why(error)
            say(why)
            refuse(session.client, why)
            return False
        except Exception:
            # An error of ours ends this client's session, and not the service.
            say(f"internal error\n{traceback.format_exc()}")
            return False
        if ended is not None and not isinstance(ended, StubSilent):
            say(self.why(ended))
        if wire.gdb_trouble:
            say(f"{session.name} is disconnected: {wire.gdb_trouble}")
        return True

# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep`: the step layer alone, for any RSP client (LLDB, an IDE's debugger, a script).

It listens for clients, one after the other, and connects each to the stub.  The client sees a stub
that steps; nothing need be loaded into it.  Every stub is taken, as with `set ppc-sstep mode on`.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Union

from ..errors import SstepError
from ..options import SWITCH, Interrupts, Options, Watchpoints
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.private import LEFT_BEHIND
from .greet import greet
from .layer import Layer
from .link import WireLink
from .log import DebugLog
from .wire import Wire

Address = Union[str, tuple[str, int]]  # a unix socket's path, or host and port


def parse_address(text: str) -> Address:
    """`PORT`, `:PORT`, `HOST:PORT`, `[IPV6]:PORT` or a path with a `/`.  ValueError if none."""
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"\d+", port) or int(port) > 65535:
        raise ValueError(text)
    return host.strip("[]") or "localhost", int(port)


def _connected(address: Address) -> socket.socket:
    if isinstance(address, tuple):
        return _prompt(socket.create_connection(address))
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _prompt(sock: socket.socket) -> socket.socket:
    """The same socket, sending small packets at once (without it each step waits for a timer)."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _listening(address: Address) -> socket.socket:
    if isinstance(address, tuple):
        family, _, _, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        return socket.create_server(where[:2], family=family)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(address)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def _shown(address: Address) -> str:
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Service:
    """One listening socket, and the client that is served."""

    def __init__(
        self,
        stub: Address,
        *,
        options: Options,
        debug: bool,
    ) -> None:
        self._stub = stub
        self._options = options
        self._debug = debug
        self._client: socket.socket | None = None
        self._stopping = False

    def serve(self, server: socket.socket, *, once: bool) -> bool:
        """Serve clients until stopped, or only one; whether the last could be served."""
        served = True
        while not self._stopping:
            client, _ = server.accept()
            with _prompt(client):
                self._client = client
                served = self._serve(client)
                self._client = None
            if once:
                break
        return served

    def _serve(self, client: socket.socket) -> bool:
        try:
            with _connected(self._stub) as sock:
                log, gdbs = DebugLog(_say, logs=self._debug), GdbBreakpoints()
                wire = Wire(client, sock)
                wire.log_packets(log.packet if self._debug else None)
                link = WireLink(wire, gdbs)
                layer = Layer(link, greet(link), gdbs, log, options=self._options)
                for left in layer.leftovers():
                    thread = left.thread.decode("latin-1")
                    _say(f"gdb-ppc-sstep: {thread}: {left.what}, {LEFT_BEHIND}")
                layer.run()
        except (SstepError, OSError) as error:
            _say(f"gdb-ppc-sstep: {_shown(self._stub)}: {error}")
            return False
        except Exception:
            # An error of ours ends this client's session, and not the service.
            _say(f"gdb-ppc-sstep: internal error\n{traceback.format_exc()}")
            return False
        return True

    def stop(self, *_signal: object) -> None:
        """End: a client's session ends as if it had gone, so that the guest is left clean."""
        self._stopping = True
        if self._client is None:
            raise SystemExit(0)
        self._client.shutdown(socket.SHUT_RDWR)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no [HOST:]PORT and no PATH") from None


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="gdb-ppc-sstep",
        description="Stand between a debugger and the gdbstub of a ppc64 guest that cannot step "
        "(POWER KVM HV), and step by the Trace interrupt.",
        epilog="An ADDRESS is [HOST:]PORT (HOST is localhost if it is left out) or the PATH of a "
        "unix socket.",
    )
    parser.add_argument("--listen", metavar="ADDRESS", type=_address, help="where clients connect")
    parser.add_argument("--connect", metavar="ADDRESS", type=_address, help="where the stub is")
    parser.add_argument("--once", action="store_true", help="end after the first client")
    parser.add_argument(
        "--ail",
        type=int,
        choices=(0, 2, 3),
        help="LPCR[AIL] of the guest, for a stub that does not give LPCR (Linux guests: 3)",
    )
    parser.add_argument(
        "--interrupts",
        choices=[choice.value for choice in Interrupts],
        default=Interrupts.INTO.value,
        help="what a step shows of an interrupt that its instruction takes: the first instruction "
        "of its handler (default), or what that returns to",
    )
    parser.add_argument(
        "--mask-interrupts",
        choices=list(SWITCH),
        default="on",
        help="whether interrupts from outside wait while an instruction is stepped (default: on)",
    )
    parser.add_argument(
        "--watchpoints",
        choices=[choice.value for choice in Watchpoints],
        default=Watchpoints.AUTO.value,
        help="how watchpoints are seen where the stub has none: by the CPU's own register or by "
        "steps (default: auto)",
    )
    parser.add_argument("--debug", action="store_true", help="log packets and decisions to stderr")
    parser.add_argument(
        "--gdbinit",
        action="store_true",
        help="print the line for ~/.gdbinit that loads the gdb extension, and end",
    )
    options = parser.parse_args(arguments)
    if options.gdbinit:
        print(f"source {Path(__file__).parents[1] / '__init__.py'}")
        return 0
    if options.listen is None or options.connect is None:
        parser.error("--listen and --connect are needed")
    try:
        server = _listening(options.listen)
    except OSError as error:
        _say(f"gdb-ppc-sstep: {_shown(options.listen)}: {error}")
        return 1
    service = Service(
        options.connect,
        options=Options(
            options.ail,
            Interrupts(options.interrupts),
            SWITCH[options.mask_interrupts],
            Watchpoints(options.watchpoints),
        ),
        debug=options.debug,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, service.stop)
    with server:
        try:
            print(f"listening on {_shown(server.getsockname())}", flush=True)
            return 0 if service.serve(server, once=options.once) else 1
        finally:
            if isinstance(options.listen, str):
                os.unlink(options.listen)

# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep`: the step layer alone, for any RSP client (LLDB, an IDE's debugger, a script).

It listens for clients, and connects one after the other to the stub.  The client sees a stub that
steps, and need not load anything.  Every stub is taken, as with `set ppc-sstep mode on`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from ..errors import SstepError
from ..options import SWITCH, Interrupts, Options, Watchpoints
from ..version import VERSION
from .addresses import Address, is_local, listening, parse_address, reason, same, shown
from .companion import accompany, with_address
from .service import Service, say

UNSERVED, NO_STUB = 1, 3
"""Exit statuses.  2 is argparse's, for wrong arguments."""

EPILOG = """\
An ADDRESS is [HOST:]PORT (HOST is localhost if it is left out), [IPV6]:PORT, or the PATH of a unix
socket, with a / in it.

With COMMAND the service listens at a unix socket of its own, and COMMAND is a debugger that
connects there: gdb and LLDB are told to, another one has {} in its arguments where the address is
to be.  The service ends with it.

exit status:
  0  it was ended by SIGTERM, SIGINT or SIGHUP, or with --once the client was served
  1  it cannot listen, or with --once the client could not be served
  2  the arguments are wrong
  3  the stub cannot be had (see --wait)
  With COMMAND that of COMMAND: 127 if it was not found, 128 + N if signal N ended it.
"""


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"  # as argparse's errors have it


def argument_parser() -> argparse.ArgumentParser:
    """The parser with all options.

    The manual page lists them too, and shells complete them: see docs/packaging.md.
    """
    parser = argparse.ArgumentParser(
        prog="gdb-ppc-sstep",
        description="Stand between a debugger and the gdbstub of a ppc64 guest that cannot step "
        "(POWER KVM HV), and step by the Trace interrupt.",
        usage="%(prog)s [OPTION...] --listen ADDRESS\n"
        "       %(prog)s [OPTION...] -- COMMAND [ARGUMENT...]",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", nargs="*", metavar="COMMAND", help=argparse.SUPPRESS)
    add("--listen", metavar="ADDRESS", type=_address, help="where clients connect")
    add(
        "--connect",
        metavar="ADDRESS",
        type=_address,
        default=("localhost", 1234),
        help="where the stub is (default: localhost:1234, that of QEMU's -s)",
    )
    add("--wait", action="store_true", help="wait for a stub that comes later, before listening")
    add("--once", action="store_true", help="end after the first client")
    add(
        "--idle",
        metavar="SECONDS",
        type=_seconds,
        help="disconnect a client that sends nothing for so long (default: never, for a debugger "
        "at its prompt and one whose guest runs send nothing)",
    )
    add(
        "--listen-anywhere",
        action="store_true",
        help="allow --listen at an address that other machines can reach",
    )
    add(
        "--ready-fd",
        metavar="N",
        type=int,
        help="write the address, as one line, to this file descriptor when listening",
    )
    add(
        "--ail",
        type=int,
        choices=(0, 2, 3),
        help="LPCR[AIL] of the guest, for a stub that does not give LPCR (Linux guests: 3)",
    )
    add(
        "--interrupts",
        choices=[choice.value for choice in Interrupts],
        default=Interrupts.INTO.value,
        help="what a step shows of an interrupt that its instruction takes: the first instruction "
        "of its handler (default), or what that returns to",
    )
    add(
        "--watchpoints",
        choices=[choice.value for choice in Watchpoints],
        default=Watchpoints.AUTO.value,
        help="how watchpoints are seen where the stub has none: by the CPU's own register, or by "
        "steps (default: auto)",
    )
    add(
        "--mask-interrupts",
        choices=list(SWITCH),
        default="on",
        help="whether interrupts from outside wait while an instruction is stepped (default: on)",
    )
    add(
        "--report",
        metavar="FILE",
        help="at SIGUSR1 write this file for a bug report, over what it has: versions, settings "
        "and the last 500 packets, with the memory contents that these carry",
    )
    add("--debug", action="store_true", help="log packets and decisions to stderr")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
    add(
        "--gdbinit",
        action="store_true",
        help="print the line for ~/.gdbinit that loads the gdb extension, and end",
    )
    return parser


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the arguments, and check that they fit together.

    SystemExit: they are wrong, and the user was told why; or they ask for help or the version.
    """
    parser = argument_parser()
    options = parser.parse_args(arguments)
    listen, connect = options.listen, options.connect
    if options.gdbinit:
        return options
    if listen is None and not options.command:
        parser.error("--listen ADDRESS or -- COMMAND is needed")
    if isinstance(connect, tuple) and connect[1] == 0:
        parser.error("--connect: there is no port 0 to connect to")
    if listen is not None:
        try:
            if same(listen, connect):
                parser.error(f"--listen and --connect are both {shown(listen)}")
            if not is_local(listen):
                reach = f"--listen {shown(listen)}: whoever can reach this address controls the"
                if not options.listen_anywhere:
                    parser.error(f"{reach} guest; give --listen-anywhere if that is meant")
                say(f"warning: {reach} guest")
        except OSError as error:
            parser.error(f"--listen {shown(listen)}, --connect {shown(connect)}: {reason(error)}")
    if options.command:
        try:
            with_address(options.command, "")
        except SstepError as error:
            parser.error(str(error))
    return options


@contextmanager
def _place(listen: Address | None) -> Iterator[Address]:
    """The address to listen at; with None a unix socket that is removed in the end."""
    if listen is not None:
        yield listen
        return
    with tempfile.TemporaryDirectory(prefix="gdb-ppc-sstep-") as directory:
        yield os.path.join(directory, "stub")


def _tell_ready(fd: int, address: str) -> None:
    """Write the line of --ready-fd.  OSError: the file descriptor cannot be written."""
    os.write(fd, f"{address}\n".encode())
    if fd > 2:
        os.close(fd)


def main(arguments: list[str] | None = None) -> int:
    """Run the command with these arguments (None: those of the process); its exit status."""
    options = parsed(arguments)
    if options.gdbinit:
        print(f"source {Path(__file__).parents[1] / '__init__.py'}")
        return 0
    service = Service(
        options.connect,
        options=Options(
            options.ail,
            Interrupts(options.interrupts),
            SWITCH[options.mask_interrupts],
            Watchpoints(options.watchpoints),
        ),
        debug=options.debug,
        idle=options.idle,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, service.stop)
    if options.report is not None:
        signal.signal(signal.SIGUSR1, partial(_report, service, os.path.abspath(options.report)))
    try:
        if not service.look(wait=options.wait):
            return 0
    except (SstepError, OSError) as error:
        say(service.why(error))
        return NO_STUB
    with _place(options.listen) as listen:
        try:
            server = listening(listen)
        except (SstepError, OSError) as error:
            say(f"{shown(listen)}: {reason(error)}")
            return UNSERVED
        with server:
            try:
                return _run(service, server, options)
            finally:
                if isinstance(listen, str):
                    with suppress(FileNotFoundError):
                        os.unlink(listen)


def _report(service: Service, path: str, *_signal: object) -> None:
    """Write the file of --report, at SIGUSR1."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(service.report())
        say(f"{path} is written")
    except OSError as error:
        say(f"{path} cannot be written: {reason(error)}")


def _run(service: Service, server: socket.socket, options: argparse.Namespace) -> int:
    """Serve clients at a socket that listens; the exit status of the command."""
    address = shown(server.getsockname())
    if options.ready_fd is not None:
        try:
            _tell_ready(options.ready_fd, address)
        except OSError as error:
            say(f"--ready-fd {options.ready_fd}: {reason(error)}")
            return UNSERVED
    if options.command:
        return accompany(with_address(options.command, address), service, server)
    print(f"listening on {address}", flush=True)
    return 0 if service.serve(server, once=options.once) else UNSERVED

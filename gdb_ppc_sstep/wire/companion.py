# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep -- COMMAND`: a client that the service starts, and with which the service ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from functools import partial

from ..errors import SstepError
from .service import Service, say, start_thread

PLACE = "{}"
"""In the arguments of a command this stands for the address of the service."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit statuses for a command that cannot be started, the same as a shell's."""


def with_address(command: Sequence[str], address: str) -> list[str]:
    """Put the address into a command: in place of each `{}`, else as gdb or LLDB takes it.

    SstepError: the command is neither gdb nor LLDB, and has no `{}`.
    """
    if any(PLACE in word for word in command):
        return [word.replace(PLACE, address) for word in command]
    program, *arguments = command
    name = os.path.basename(program)
    if "lldb" in name:
        url = f"unix-connect://{address}" if "/" in address else f"connect://{address}"
        return [program, "-o", f"process connect {url}", *arguments]
    if "gdb" in name:
        return [program, "-ex", f"target remote {address}", *arguments]
    raise SstepError(
        f"say with {PLACE} where {name} takes the address that it has to connect to, as in "
        f"`-- {name} --target {PLACE}`"
    )


def accompany(command: Sequence[str], service: Service, server: socket.socket) -> int:
    """Run a command, and serve clients until it ends; its exit status.

    The status is as a shell has it: 128 + N if signal N ended it.  The main thread has to call
    this.
    """
    started: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()

    def end(*_signal: object) -> None:
        ended.set()
        for process in started:
            process.terminate()

    # Ctrl-C at the terminal is for the command, which does not inherit a handler of ours.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    serving = start_thread(partial(service.serve, server, once=False))
    try:
        with subprocess.Popen(command) as process:
            started.append(process)
            if ended.is_set():  # while it was started
                process.terminate()
            status = process.wait()
    except OSError as error:
        say(f"{command[0]}: {error.strerror}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    finally:
        service.stop()
        serving.join()
    return status if status >= 0 else 128 - status

# SPDX-License-Identifier: MIT
"""Drive a gdb on a terminal by pexpect: a method for each verb, output as text, values as ints."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pexpect

from fixtures.closing import Closing

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "gdb_ppc_sstep" / "__init__.py"
PROMPT = "(gdb) "
GDB = os.environ.get("GDB", "gdb-multiarch")
"""The gdb under test; the environment variable GDB may name another one."""


@cache
def gdb_version(program: str = GDB) -> tuple[int, int]:
    """The major and minor version of a gdb: of the one under test unless another is named."""
    command = [program, "-nx", "-batch", "-ex", "python print(gdb.VERSION)"]
    said = subprocess.run(command, capture_output=True, text=True)
    found = re.match(r"(\d+)\.(\d+)", said.stdout)
    assert found, f"{program}: {said}"
    return int(found[1]), int(found[2])


class Gdb(Closing):
    """A gdb that ends with the `with` block; its transcript and remote log are kept.

    directory: where `NAME.transcript` and `NAME.remote` are written.  extension: whether gdb loads
    our extension.  door: the value for `set ppc-sstep door`.  arguments: further ones for gdb.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "gdb",
        extension: bool = True,
        door: str | None = None,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.transcript = (directory / f"{name}.transcript").open("w", encoding="utf-8")
        settings = (
            *("set height 0", "set width 0", "set confirm off", "set style enabled off"),
            *("set startup-with-shell off", "set auto-load safe-path /"),
            *("set debuginfod enabled off", f"set remotelogfile {directory}/{name}.remote"),
        )
        command = ["-nx", "-q", *(f"-iex={one}" for one in settings)]
        if extension:
            command.append(f"-iex=source {EXTENSION}")
        if door is not None:
            command.append(f"-iex=set ppc-sstep door {door}")
        environment = dict(os.environ if environment is None else environment)
        environment.pop("DEBUGINFOD_URLS", None)
        environment.update(TERM="dumb", LC_ALL="C.UTF-8", INPUTRC="/dev/null", NO_COLOR="1")
        self.child: pexpect.spawn[str] = pexpect.spawn(
            GDB,
            [*command, *arguments],
            env=environment,
            dimensions=(50, 4000),
            encoding="utf-8",
            codec_errors="replace",
            timeout=timeout,
            logfile=self.transcript,
            searchwindowsize=2 * len(PROMPT),
        )
        self.child.delaybeforesend = None
        self.banner = self._until_prompt(timeout)

    @property
    def pid(self) -> int:
        """The process id of gdb."""
        assert self.child.pid is not None
        return self.child.pid

    def _until_prompt(self, timeout: float) -> str:
        self.child.expect_exact(PROMPT, timeout=timeout)
        return str(self.child.before or "").replace("\r", "")

    def send(self, text: str) -> None:
        """Type a command, and do not wait for its end."""
        self.child.sendline(text)

    def finish(self, timeout: float | None = None) -> str:
        """Wait for the prompt after `send`.  Returns the output without the echoed command."""
        output = self._until_prompt(self.timeout if timeout is None else timeout)
        return output.partition("\n")[2]

    def command(self, text: str, timeout: float | None = None) -> str:
        """Type a command and wait for the prompt.  Returns the output."""
        self.send(text)
        return self.finish(timeout)

    def interrupt(self, timeout: float = 10) -> str:
        """Type Ctrl-C while a command runs.  Returns what gdb prints until the prompt."""
        self.child.sendintr()
        return self._until_prompt(timeout)

    def interrupt_after(self, seconds: float, command: str, timeout: float = 10) -> str:
        """Type a command, and Ctrl-C so much later.  Returns what gdb prints until the prompt.

        A `stepi N` ends where code of a program is not in memory yet, natively too: gdb reads the
        instruction before it steps.  Then it is `continue` that is interrupted.
        """
        self.send(command)
        try:
            output = self.finish(seconds)
        except pexpect.TIMEOUT:
            return self.interrupt(timeout)
        assert output.startswith("Cannot access memory at address"), output
        self.send("continue")
        time.sleep(seconds)
        return self.interrupt(timeout)

    def value(self, expression: str) -> int:
        """The value of an expression, as an unsigned 64-bit integer."""
        output = self.command(f"output/x (unsigned long)({expression})")
        found = re.fullmatch(r"0x([0-9a-f]+)", output.strip())
        assert found, f"{expression}: {output}"
        return int(found[1], 16)

    @property
    def pc(self) -> int:
        """The program counter."""
        return self.value("$pc")

    def connect(self, target: str, elf: Path | None = None, kind: str = "remote") -> str:
        """Have gdb read an ELF file, and do `target KIND TARGET`.  Returns the latter's output."""
        if elf is not None:
            self.command(f"file {elf}")
        output = self.command(f"target {kind} {target}")
        assert f"{target}: " not in output, output  # such as: Connection refused
        return output

    def status(self) -> str:
        """The output of `info ppc-sstep`."""
        return self.command("info ppc-sstep")

    def kill(self) -> None:
        """Kill gdb by SIGKILL, as if it had crashed."""
        os.kill(self.pid, signal.SIGKILL)
        self.child.wait()

    def close(self) -> None:
        """End gdb."""
        try:
            self.child.close(force=True)
        except pexpect.ExceptionPexpect:  # pexpect waits only 0.1 s for its SIGKILL to work
            self.child.wait()
        self.transcript.close()


def open_files(gdb: Gdb) -> int:
    """How many files a gdb has open."""
    return len(os.listdir(f"/proc/{gdb.pid}/fd"))


def layers_of(gdb: Gdb) -> list[int]:
    """The process ids of the layers that a gdb has started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            status = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parent, state = int(status[1]), status[0]
        if b"gdb_ppc_sstep.wire" in command and parent == gdb.pid and state != "Z":
            found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def serial_line(target: str) -> Iterator[str]:
    """The path of a terminal that leads to a unix socket, as a serial line to a stub would."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    try:
        command = [sys.executable, str(ROOT / "tests" / "harness" / "pipe.py"), target]
        with subprocess.Popen(command, stdin=ours, stdout=ours) as bridge:
            try:
                yield os.ttyname(theirs)
            finally:
                bridge.kill()
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def _port(target: str, *arguments: str) -> Iterator[str]:
    """The number of a port that leads to a unix socket.  arguments: for `pipe.py`."""
    command = [sys.executable, str(ROOT / "tests" / "harness" / "pipe.py"), target, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bridge:
        assert bridge.stdout is not None
        try:
            yield bridge.stdout.readline().strip()
        finally:
            bridge.kill()


@contextmanager
def tcp(target: str, host: str) -> Iterator[str]:
    """What gdb connects to for a unix socket that is reached by TCP, at an address of a host."""
    with _port(target, "--listen", host) as port:
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def udp(target: str) -> Iterator[str]:
    """What gdb connects to for a unix socket that is reached by UDP."""
    with _port(target, "--datagrams") as port:
        yield f"udp:127.0.0.1:{port}"

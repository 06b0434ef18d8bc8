# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep` as a reliable service: whom it serves, what it tells the others, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu, wait_for
from gdb_ppc_sstep.rsp.framing import LONGEST, frame
from tests.harness.driver import EXTENSION, GDB, PROMPT, ROOT, Gdb, layers_of
from tests.harness.service import COMMAND, address, client, says, service

pytestmark = pytest.mark.bare

SERVED = re.compile(
    r"another client \((127\.0\.0\.1:\d+)\) has been served for \d+ seconds, and its last packet "
    r"came \d+ seconds ago; one is served at a time"
)


def asked(sock: socket.socket, payload: bytes) -> bytes:
    """Send a packet.  Returns the reply, empty if the connection is closed."""
    sock.sendall(b"+" + frame(payload))
    data = b""
    while not re.search(rb"\$[^#]*#..", data):
        more = sock.recv(4096)
        if not more:
            return b""
        data += more
    return data


def is_closed(sock: socket.socket) -> bool:
    """Wait until the other end closes the connection.  TimeoutError: it does not."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def steps(gdb: Gdb) -> bool:
    """Whether a step does what it should."""
    gdb.command("tbreak work")
    gdb.command("continue")
    here = gdb.pc
    gdb.command("stepi 2")
    return gdb.pc == here + 8


# -- clients


def test_a_second_client_is_told_why_it_has_to_wait(
    tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    with (
        service("--listen", "0", "--connect", guest.target) as process,
        Gdb(tmp_path, name="first", extension=False) as first,
        Gdb(tmp_path, name="second", extension=False) as second,
    ):
        where = address(process)
        first.connect(where, demo.elf)
        output = second.command(f"target remote {where}")
        found = SERVED.search(output)
        assert found and output.count("served at a time") == 1, output
        assert f" is refused: another client ({found[1]}) has" in says(process)
        assert steps(first)
        first.command("detach")
        second.connect(where, demo.elf)
        assert steps(second)


def test_a_silent_client_keeps_nobody_waiting(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with (
        service("--listen", "0", "--connect", guest.target) as process,
        Gdb(tmp_path, extension=False) as gdb,
    ):
        where = address(process)
        with client(where), client(where) as scanner:
            scanner.sendall(b"GET / HTTP/1.1\r\n\r\n")
            gdb.connect(where, demo.elf)
            assert steps(gdb)


def test_an_idle_client_is_disconnected(guest: Qemu) -> None:
    with service("--listen", "0", "--connect", guest.target, "--idle", "0.3") as process:
        where = address(process)
        with client(where) as sock:
            assert b"$QC" in asked(sock, b"qC")
            name = "{}:{}".format(*sock.getsockname())
            assert is_closed(sock)
        told = f"gdb-ppc-sstep: {name} is disconnected: it sent nothing for 0.3 seconds\n"
        assert says(process) == told
        with client(where) as sock:
            assert b"$QC" in asked(sock, b"qC")


def test_a_packet_that_does_not_end_ends_its_session(guest: Qemu) -> None:
    with service("--listen", "0", "--connect", guest.target) as process:
        where = address(process)
        with client(where) as sock:
            name = "{}:{}".format(*sock.getsockname())
            sock.sendall(b"$m")
            try:
                for _ in range(2 * LONGEST // 65536):
                    sock.sendall(b"x" * 65536)
            except OSError:
                pass
            assert is_closed(sock)
        told = f"gdb-ppc-sstep: {name} is disconnected: it sent a packet of more than 1 MiB\n"
        assert says(process) == told
        with client(where) as sock:
            assert b"$QC" in asked(sock, b"qC")


def test_a_client_that_cannot_be_served_is_told_why(
    tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    with (
        service("--listen", "0", "--connect", guest.target, "--once") as process,
        Gdb(tmp_path, extension=False) as gdb,
    ):
        where = address(process)
        guest.close()
        why = f"the stub at {guest.target}: No such file or directory"
        output = gdb.command(f"target remote {where}")
        assert output.endswith(f"E.ppc-sstep: {why}\n"), output
        assert says(process) == f"gdb-ppc-sstep: {why}\n"
        assert process.wait(10) == 1


def test_a_stub_that_dies_is_logged(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with (
        service("--listen", "0", "--connect", guest.target) as process,
        Gdb(tmp_path, extension=False) as gdb,
    ):
        gdb.connect(address(process), demo.elf)
        guest.process.kill()
        told = f"gdb-ppc-sstep: the stub at {guest.target}: the stub closed the connection\n"
        assert says(process) == told


# -- the stub, at the start


def test_the_stub_is_tried_at_the_start(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nothing")
    with service("--listen", "0", "--connect", nowhere) as process:
        told = f"gdb-ppc-sstep: the stub at {nowhere}: No such file or directory\n"
        assert says(process) == told
        assert process.wait(10) == 3


@pytest.mark.parametrize("runs", [False, True], ids=["stopped", "running"])
def test_the_try_leaves_the_guest_as_it_was(
    runs: bool, boot: Callable[..., Qemu], demo: Program
) -> None:
    """A guest that runs takes processor time, and one that stands still takes none."""
    guest = boot(demo, steps=False, stopped=not runs)
    with service("--listen", "0", "--connect", guest.target) as process:
        address(process)
        before = processor_time(guest)
        if runs:
            wait_for(lambda: processor_time(guest) > before + 0.3, "the guest to run", 20)
        else:
            time.sleep(0.5)
            assert processor_time(guest) < before + 0.1


def processor_time(guest: Qemu) -> float:
    """What QEMU has taken of the processors' time, in seconds (proc(5), utime and stime)."""
    stat = Path(f"/proc/{guest.process.pid}/stat").read_text()
    return sum(map(int, stat.rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def test_wait_for_a_stub_that_comes_later(tmp_path: Path, guest: Qemu) -> None:
    where = tmp_path / "later"
    with service("--wait", "--listen", "0", "--connect", where) as process:
        told = f"gdb-ppc-sstep: waiting for the stub at {where}: No such file or directory\n"
        assert says(process) == told
        where.symlink_to(guest.target)
        with client(address(process)) as sock:
            assert b"$QC" in asked(sock, b"qC")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_waiting_is_ended_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nothing")
    with service("--wait", "--listen", "0", "--connect", nowhere) as process:
        says(process)
        process.send_signal(number)
        assert process.wait(10) == 0


# -- where it listens


def test_a_socket_that_a_killed_service_left_is_taken_over(tmp_path: Path, guest: Qemu) -> None:
    where = str(tmp_path / "socket")
    with service("--listen", where, "--connect", guest.target) as killed:
        address(killed)
        killed.kill()
        killed.wait()
    assert Path(where).is_socket()
    with service("--listen", where, "--connect", guest.target) as process:
        address(process)
        with client(where) as sock:
            assert b"$QC" in asked(sock, b"qC")
        with service("--listen", where, "--connect", guest.target) as other:
            told = f"gdb-ppc-sstep: {where}: another program listens at this socket\n"
            assert says(other) == told
            assert other.wait(10) == 1
        process.terminate()
        assert process.wait(10) == 0
    assert not Path(where).exists()
    Path(where).write_text("precious")
    with service("--listen", where, "--connect", guest.target) as process:
        told = f"gdb-ppc-sstep: {where}: there is a file of this name, which is not a socket\n"
        assert says(process) == told
        assert process.wait(10) == 1
    assert Path(where).read_text() == "precious"


def test_ready_fd_is_for_scripts(guest: Qemu) -> None:
    ready, says_ready = os.pipe()
    with (
        os.fdopen(ready) as line,
        service(
            *("--listen", "0", "--connect", guest.target, "--ready-fd", str(says_ready)),
            pass_fds=(says_ready,),
        ) as process,
    ):
        os.close(says_ready)
        told = line.read()  # it ends, because the service closes its end
        assert told == address(process) + "\n"
        with client(told.strip()) as sock:
            assert b"$QC" in asked(sock, b"qC")
    with service("--listen", "0", "--connect", guest.target, "--ready-fd", "77") as process:
        assert says(process) == "gdb-ppc-sstep: --ready-fd 77: Bad file descriptor\n"
        assert process.wait(10) == 1


def test_listening_anywhere_is_warned_of(guest: Qemu) -> None:
    with service(
        "--listen", "0.0.0.0:0", "--listen-anywhere", "--connect", guest.target
    ) as process:
        assert says(process) == (
            "gdb-ppc-sstep: warning: --listen 0.0.0.0:0: whoever can reach this address controls "
            "the guest\n"
        )
        assert address(process).startswith("0.0.0.0:")


# -- gdb with the extension


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("door", ["auto", "commands"])
def test_gdb_with_the_extension_leaves_it_alone(
    door: str, mode: str, tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    with (
        service("--listen", "0", "--connect", guest.target) as process,
        Gdb(tmp_path, door=door) as gdb,
    ):
        gdb.command(f"set ppc-sstep mode {mode}")
        where = address(process)
        assert "ppc-sstep" not in gdb.connect(where, demo.elf)
        assert layers_of(gdb) == []
        assert (
            f"Connection 1 (remote {where}): not taken: it leads to gdb-ppc-sstep, which steps the "
            "guest and has settings of its own\n"
            "Stub steps: yes (gdb-ppc-sstep is between gdb and the stub)\n"
            "Guest runs on: QEMU without KVM (TCG)\n"
        ) in gdb.status(), "what the service says of itself follows"
        assert steps(gdb)
        gdb.command("ppc-sstep probe")
        assert layers_of(gdb) == []


# -- with a client of its own


def companion(*command: object, connect: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "--connect", connect, "--", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "TERM": "dumb"},
        encoding="utf-8",
        echo=False,
        timeout=30,
        dimensions=(50, 4000),
    )


def test_a_gdb_that_it_starts(
    tmp_path: Path, guest: Qemu, demo: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own folder shows what it leaves, and is short: a unix socket's path has at most 107 bytes.
    folder = tempfile.TemporaryDirectory(prefix="companion-")
    monkeypatch.setenv("TMPDIR", folder.name)
    settings = ("set debuginfod enabled off", "set confirm off", "set width 0")
    child = companion(
        *(GDB, "-nx", "-q", "-d", SOURCES, *(f"-iex={one}" for one in settings)),
        *(f"-iex=source {EXTENSION}", demo.elf, "-ex", "tbreak work", "-ex", "continue"),
        connect=guest.target,
    )
    try:

        def command(text: str) -> str:
            child.sendline(text)
            child.expect_exact(PROMPT)
            return str(child.before)

        child.expect_exact(PROMPT)
        assert "Temporary breakpoint 1, work" in str(child.before)
        assert "ppc-sstep: " not in str(child.before)
        assert "0x00000000000202e4" in command("stepi")
        assert "41\t" in command("next")
        child.sendline("continue")
        time.sleep(0.5)
        child.sendintr()  # the terminal sends the SIGINT to the service as well
        child.expect_exact(PROMPT)
        assert "SIGINT" in str(child.before)
        assert "not taken: it leads to gdb-ppc-sstep" in command("info ppc-sstep")
        child.sendline("quit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7
    finally:
        child.close(force=True)
    with folder:
        assert list(Path(folder.name).glob("gdb-ppc-sstep-*")) == []


def test_its_gdb_has_ranges_from_the_start(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    """From version 14 on gdb asks what the stub can do while it connects, so it knows of ranges."""
    commands = ("tbreak work", "continue", "next", "next", "kill")
    gdb = (GDB, "-nx", "-q", "-batch", demo.elf, *(f"-ex={one}" for one in commands))
    done = subprocess.run(
        [*COMMAND, "--debug", "--connect", guest.target, "--", *map(str, gdb)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done
    assert re.search(r"gdb  -> vCont;r[0-9a-f]+,[0-9a-f]+:p1\.1", done.stderr)


SHOWS_PLACE = "import sys, socket; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        ((sys.executable, "-c", SHOWS_PLACE, "{}"), 0, ""),
        ((sys.executable, "-c", "import sys; sys.exit(9)", "{}"), 9, ""),
        ((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)", "{}"), 137, ""),
        (("/nothing", "{}"), 127, "gdb-ppc-sstep: /nothing: No such file or directory\n"),
        (("/etc/passwd", "{}"), 126, "gdb-ppc-sstep: /etc/passwd: Permission denied\n"),
    ],
    ids=["connects", "fails", "is killed", "is not there", "is no program"],
)
def test_it_ends_with_its_client(
    command: tuple[str, ...], status: int, line: str, guest: Qemu
) -> None:
    done = subprocess.run(
        [*COMMAND, "--connect", guest.target, "--", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", line)


def test_ended_by_a_signal_it_ends_its_client(tmp_path: Path, guest: Qemu) -> None:
    pid = tmp_path / "pid"
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    arguments = ("--connect", guest.target, "--", sys.executable, "-c", code, pid, "{}")
    with service(*arguments) as process:
        wait_for(lambda: pid.exists() and pid.read_text() != "", "the client", 20)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)

# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep` in this process: arguments, who is served, what is told, how it ends."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gdb_ppc_sstep.carrier import link as link_module
from gdb_ppc_sstep.options import Interrupts, Options
from gdb_ppc_sstep.version import VERSION
from gdb_ppc_sstep.wire import service as service_module
from gdb_ppc_sstep.wire.service import Service
from gdb_ppc_sstep.wire.standalone import main, parsed

from .. import machine as m
from ..machine import TEXT, Machine
from .rig import STEP, TIMEOUT, Gdb, StubServer, framed, program

ENDING = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
HANDLED = (*ENDING, signal.SIGUSR1)
HELD = "whoever can reach this address controls the guest; give --listen-anywhere if that is meant"


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of signals are as before after each test."""
    kept = {number: signal.getsignal(number) for number in HANDLED}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "--listen ADDRESS or -- COMMAND is needed"),
        ("--listen x", "argument --listen: 'x' is neither [HOST:]PORT nor a PATH with a /"),
        (
            "--listen *:0",
            "argument --listen: '*:0': * is not a host; 0.0.0.0 or [::] means every interface",
        ),
        ("--listen 1 --connect 0", "--connect: there is no port 0 to connect to"),
        ("--listen :1234", "--listen and --connect are both localhost:1234"),
        ("--listen 127.0.0.1:1234", "--listen and --connect are both 127.0.0.1:1234"),
        ("--listen /x/y --connect /x/z/../y", "--listen and --connect are both /x/y"),
        ("--listen 0.0.0.0:1", f"--listen 0.0.0.0:1: {HELD}"),
        ("--listen [::]:1", f"--listen [::]:1: {HELD}"),
        ("--listen 1 --idle 0", "argument --idle: invalid number of seconds value: '0'"),
        ("--listen 1 --idle inf", "argument --idle: invalid number of seconds value: 'inf'"),
        ("--listen 1 --idle x", "argument --idle: invalid number of seconds value: 'x'"),
        ("--listen 1 --ready-fd x", "argument --ready-fd: invalid int value: 'x'"),
        (
            "-- /bin/ddd x",
            "say with {} where ddd takes the address that it has to connect to, as in "
            "`-- ddd --target {}`",
        ),
    ],
)
def test_arguments_that_are_wrong_are_one_line(
    arguments: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"\ngdb-ppc-sstep: error: {line}\n")


def test_a_host_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--listen", "host.invalid:1"])
    told = "error: --listen host.invalid:1, --connect localhost:1234: "
    assert told in capsys.readouterr().err


def test_answers_without_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gdbinit"]) == 0
    root = Path(__file__).parents[3]
    assert capsys.readouterr().out == f"source {root}/gdb_ppc_sstep/__init__.py\n"
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gdb-ppc-sstep {VERSION}\n"
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for code in (0, 1, 2, 3):
        assert f"\n  {code}  " in said


def test_a_stub_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(tmp_path / "stub")
    assert main(["--listen", "0", "--connect", where]) == 3
    told = f"gdb-ppc-sstep: the stub at {where}: No such file or directory\n"
    assert capsys.readouterr().err == told


def test_a_stub_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As QEMU's does while another client is connected."""
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.1)
    where = str(tmp_path / "stub")
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(where)
        busy.listen()
        assert main(["--listen", "0", "--connect", where]) == 3
    assert capsys.readouterr().err == (
        f"gdb-ppc-sstep: the stub at {where}: the stub did not answer within 0.1 seconds; is "
        "another debugger connected to it?\n"
    )


def test_the_unit_file_is_one_that_works() -> None:
    """docs/gdb-ppc-sstep.service: its command has arguments that fit together."""
    unit = (Path(__file__).parents[3] / "docs" / "gdb-ppc-sstep.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit.replace("\\\n", " "), re.MULTILINE)
    assert command is not None
    program, *arguments = command[1].split()
    assert Path(program).name == "gdb-ppc-sstep"
    options = parsed(arguments)
    assert options.listen is not None and options.wait


class Stub:
    """A simulated machine's stub at a unix socket, for one client after the other."""

    def __init__(self, where: Path, machine: Machine, *, says: bytes = b"") -> None:
        """says: what each client gets as its first packet."""
        self.path = str(where / "stub")
        self.machine = machine
        self.says = says
        self.clients: list[StubServer] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._server.accept()
                if self.says:
                    sock.sendall(framed(self.says))
                self.clients.append(StubServer(self.machine, sock, acks=True))

    def first(self) -> StubServer:
        """That of the first client, which has been here."""
        while not self.clients:
            time.sleep(0.001)
        return self.clients[0]

    def close(self) -> None:
        self._server.close()
        os.unlink(self.path)


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path, program(m.NOP))


class Client:
    """Does something in a thread once the service says that it is ready; then SIGTERM for us."""

    def __init__(self, what: Callable[[str], None]) -> None:
        self._what = what
        self._ready, self.says_ready = os.pipe()
        self.error: BaseException | None = None
        self._thread = service_module.start_thread(self._run)

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()
        assert self.error is None, repr(self.error)

    def _run(self) -> None:
        try:
            with os.fdopen(self._ready) as ready:
                self._what(ready.readline().strip())
        except BaseException as error:
            self.error = error
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def run(stub: Stub, what: Callable[[str], None], *arguments: str) -> int:
    """The status of a service while a client does that."""
    client = Client(what)
    ready = ("--ready-fd", str(client.says_ready))
    status = main(["--connect", stub.path, "--listen", "0", *ready, *arguments])
    client.join()
    return status


def connect(where: str) -> Gdb:
    host, _, port = where.rpartition(":")
    return Gdb(socket.create_connection((host, int(port))), acks=True)


def test_it_serves_until_a_signal(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    def steps(where: str) -> None:
        gdb = connect(where)
        assert gdb.stop(STEP) == b"T05thread:p01.01;"
        assert gdb.ask(b"qppc-sstep.layer") == b"OK"

    assert run(stub, steps) == 0
    assert capsys.readouterr().out.startswith("listening on 127.0.0.1:")
    assert [client.packets[0] for client in stub.clients] == [b"qC", b"qC"]
    assert b"D" not in stub.first().packets, "a guest that stood still was let run"


def test_a_guest_that_ran_runs_on_after_the_try(stub: Stub) -> None:
    stub.says = b"T02thread:p01.01;"
    assert run(stub, lambda where: None) == 0
    assert stub.first().packets[-1] == b"D"


def test_a_stub_that_will_not_do(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.machine.absent.add("srr0")
    stub.says = b"T02thread:p01.01;"
    assert main(["--connect", stub.path, "--listen", "0"]) == 3
    why = "the stub's target description has no register srr0"
    assert capsys.readouterr().err == f"gdb-ppc-sstep: the stub at {stub.path}: {why}\n"
    assert stub.first().packets[-1] == b"D", "its guest runs on all the same"


def test_a_report_at_a_signal(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a client's session, which goes on."""
    reports: list[str] = []
    # Not capsys: it loses what another thread prints while it is read.
    errors = io.StringIO()
    monkeypatch.setattr("sys.stderr", errors)

    def report(file: Path) -> str:
        before, end = errors.tell(), time.monotonic() + TIMEOUT
        os.kill(os.getpid(), signal.SIGUSR1)
        while "written" not in (said := errors.getvalue()[before:]):  # told once it is closed
            assert time.monotonic() < end, said
            time.sleep(0.001)
        return file.read_text() if file.is_file() else said

    def asks(where: str) -> None:
        gdb = connect(where)
        assert gdb.stop(STEP) == b"T05thread:p01.01;"
        reports.append(report(tmp_path / "report"))
        assert gdb.stop(STEP) == b"T05thread:p01.01;"

    assert run(stub, asks, "--report", str(tmp_path / "report"), "--interrupts", "over") == 0
    (text,) = reports
    assert "\ninterrupts over\n" in text and f"\n== Stub\n{stub.path}\n" in text
    assert "\nSteps done: 1\n" in text and "gdb  -> vCont;s" in text
    assert run(stub, lambda where: reports.append(report(tmp_path)), "--report", "/no/file") == 0
    assert reports[1] == "gdb-ppc-sstep: /no/file cannot be written: No such file or directory\n"


def test_once(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[bytes] = []

    def asks(where: str) -> None:
        stub.close()
        gdb = connect(where)
        told.extend((gdb.ask(b"qSupported"), gdb.ask(b"vMustReplyEmpty")))

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself
    assert run(stub, asks, "--once") == 1
    why = f"the stub at {stub.path}: No such file or directory"
    assert told == [b"", f"E.ppc-sstep: {why}".encode()]
    assert capsys.readouterr().err == f"gdb-ppc-sstep: {why}\n"


def test_once_served(stub: Stub) -> None:
    def asks(where: str) -> None:
        gdb = connect(where)
        assert gdb.ask(b"qC") == b"QCp01.01"
        gdb.close()

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert run(stub, asks, "--once") == 0


def test_the_second_is_told(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_module, "MAKE_WAY", 0.05)

    def asks(where: str) -> None:
        first, second = connect(where), connect(where)
        assert first.ask(b"qC") == b"QCp01.01"
        told = second.ask(b"?")
        assert told.startswith(b"E.ppc-sstep: another client (127.0.0.1:"), told
        assert told.endswith(b" seconds ago; one is served at a time")
        assert second.ask(b"m0,4") == b"E22", "what would be taken for memory"
        second.close()
        assert first.stop(STEP) == b"T05thread:p01.01;"

    assert run(stub, asks) == 0
    assert " is refused: another client (127.0.0.1:" in capsys.readouterr().err


def test_the_silent_are_disconnected(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_module, "FIRST_PACKET", 0.2)
    names: list[str] = []

    def waits(where: str) -> None:
        for said in (b"", b"++GET / HTTP/1.1", b"+$qC"):
            silent = connect(where)
            names.append("{}:{}".format(*silent.sock.getsockname()))
            silent.sock.sendall(said)
            assert silent.rest() == b""
        client = connect(where)
        assert client.ask(b"qC") == b"QCp01.01"
        assert client.sock.getsockname()
        with pytest.raises(TimeoutError):  # who has spoken may be silent
            client.sock.settimeout(0.5)
            client.sock.recv(1)

    assert run(stub, waits) == 0
    assert capsys.readouterr().err == (
        f"gdb-ppc-sstep: {names[0]} is disconnected: it sent no packet within 0.2 seconds\n"
        f"gdb-ppc-sstep: {names[1]} is disconnected: it sent no packet within 0.2 seconds\n"
        f"gdb-ppc-sstep: {names[2]} is disconnected: it sent nothing for 0.2 seconds\n"
    )


def test_the_idle_are_disconnected(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    def waits(where: str) -> None:
        client = connect(where)
        assert client.ask(b"qC") == b"QCp01.01"
        assert client.rest() == b""

    assert run(stub, waits, "--idle", "0.2") == 0
    assert capsys.readouterr().err.endswith(" is disconnected: it sent nothing for 0.2 seconds\n")


def test_too_many(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_module, "MANY", 2)

    def crowd(where: str) -> None:
        clients = [connect(where) for _ in range(3)]
        assert clients[2].rest() == b""

    assert run(stub, crowd) == 0
    told = "gdb-ppc-sstep: 2 clients are connected; another one is disconnected\n"
    assert capsys.readouterr().err == told


def test_a_packet_without_end(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    def floods(where: str) -> None:
        client = connect(where)
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                client.sock.sendall(b"$" + b"x" * 65536 if _ == 0 else b"x" * 65536)
        with contextlib.suppress(ConnectionError):
            assert client.rest() == b""
        other = connect(where)
        assert other.ask(b"qC") == b"QCp01.01"

    assert run(stub, floods) == 0
    told = " is disconnected: it sent a packet of more than 1 MiB\n"
    assert capsys.readouterr().err.endswith(told)


def test_a_stub_that_goes(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    def asks(where: str) -> None:
        client = connect(where)
        assert client.ask(b"qC") == b"QCp01.01"
        stub.clients[-1].hang_up()
        assert client.rest() == b""

    assert run(stub, asks) == 0
    told = f"gdb-ppc-sstep: the stub at {stub.path}: the stub closed the connection\n"
    assert capsys.readouterr().err == told


def test_waiting_for_the_stub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service_module, "AGAIN", 0.01)
    path = tmp_path / "stub"
    late = threading.Timer(0.2, lambda: Stub(tmp_path, program(m.NOP)))
    late.start()
    client = Client(lambda where: None)
    ready = ("--ready-fd", str(client.says_ready))
    assert main(["--wait", "--listen", "0", "--connect", str(path), *ready]) == 0
    client.join()
    told = f"gdb-ppc-sstep: waiting for the stub at {path}: No such file or directory\n"
    assert capsys.readouterr().err == told


def test_waiting_is_ended_by_a_signal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert main(["--wait", "--listen", "0", "--connect", str(tmp_path / "stub")]) == 0
    assert capsys.readouterr().out == ""


def test_it_cannot_listen(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(tmp_path / "no" / "socket")
    assert main(["--connect", stub.path, "--listen", where]) == 1
    assert capsys.readouterr().err == f"gdb-ppc-sstep: {where}: No such file or directory\n"
    assert main(["--connect", stub.path, "--listen", "0", "--ready-fd", "999"]) == 1
    assert capsys.readouterr().err == "gdb-ppc-sstep: --ready-fd 999: Bad file descriptor\n"


def test_listening_anywhere_is_warned_of(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--listen", "0.0.0.0:0", "--listen-anywhere")
    assert run(stub, lambda where: None, *arguments) == 0
    assert capsys.readouterr().err == (
        "gdb-ppc-sstep: warning: --listen 0.0.0.0:0: whoever can reach this address controls the "
        "guest\n"
    )


def test_its_unix_socket_is_removed(stub: Stub, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert run(stub, lambda where: None, "--listen", str(path)) == 0
    assert not path.exists()


# -- options of steps


@contextmanager
def served(machine: Machine, options: Options, where: Path, *, qemu: bool = True) -> Iterator[Gdb]:
    """A client of a service with these options, whose stub is a simulated machine's."""
    served: list[bool] = []
    with socket.socket(socket.AF_UNIX) as stub, socket.socket(socket.AF_UNIX) as server:
        for sock, name in ((stub, "stub"), (server, "server")):
            sock.bind(str(where / name))
            sock.listen()
        service = Service(str(where / "stub"), options=options, debug=False)
        serving = threading.Thread(
            target=lambda: served.append(service.serve(server, once=True)), daemon=True
        )
        serving.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(where / "server"))
            client.sendall(b"+$")  # nobody is served before a packet begins
            stub.settimeout(TIMEOUT)
            stub_server = StubServer(machine, stub.accept()[0], acks=True)
            stub_server.qemu = qemu
            yield Gdb(client, acks=True)
        serving.join(TIMEOUT)
        stub_server.thread.join(TIMEOUT)
        assert served == [True]
        assert stub_server.error is None, repr(stub_server.error)


@pytest.mark.parametrize("qemu", [True, False], ids=["QEMU", "another stub"])
def test_options_of_the_command_hold_for_its_clients(tmp_path: Path, qemu: bool) -> None:
    machine = program(m.NOP)
    machine.absent.add("lpcr")
    with served(machine, Options(ail=3), tmp_path, qemu=qemu) as client:
        assert client.stop(STEP) == b"T05thread:p01.01;"
    assert machine.cpu["pc"] == TEXT + 4


def test_a_client_can_change_them(tmp_path: Path) -> None:
    machine = program(m.NOP)
    machine.absent.add("lpcr")
    with served(machine, Options(3, Interrupts.OVER), tmp_path) as client:
        assert client.ask(b"Qppc-sstep.ail=auto") == b"OK"
        assert b"set ppc-sstep ail" in client.ask(STEP)
        assert client.ask(b"Qppc-sstep.ail=3") == b"OK"
        assert client.stop(STEP) == b"T05thread:p01.01;"

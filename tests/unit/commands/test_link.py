# SPDX-License-Identifier: MIT
"""The commands door's link on a descriptor that is gdb's: gdb goes on with it afterwards.

gdb is a fake, and the stub is the other end of a socketpair.  What the stub sends mostly waits
there before it is asked.
"""

from __future__ import annotations

import importlib
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gdb_ppc_sstep.carrier import link as base
from gdb_ppc_sstep.errors import StubGone, StubSilent
from gdb_ppc_sstep.rsp.breakpoints import Breakpoint, GdbBreakpoints

from ..wire.rig import TIMEOUT, framed

GO, HIT, STOPPED = b"vCont;c:p1.1", b"T05thread:p01.01;", b"T02thread:p01.01;"


class Connection:
    """As gdb.RemoteTargetConnection."""

    valid = True

    def is_valid(self) -> bool:
        return self.valid


class Both:
    """A GdbLink and what is around it: the stub's end, gdb's end, and what gdb has printed."""

    def __init__(self, module: Any, printed: list[str], *, acks: bool, is_qemu: bool) -> None:
        self.module, self.printed = module, printed
        self.gdb, self.stub = socket.socketpair()
        for end in (self.gdb, self.stub):
            end.settimeout(TIMEOUT)
        self.connection, self.gdbs = Connection(), GdbBreakpoints()
        self._ack = b"+" if acks else b""
        self.says(b"QCp01.01")
        self.link = module.GdbLink(self.connection, self.gdb.fileno(), self.gdbs, is_qemu=is_qemu)
        assert self.got(b"qC") == self._ack

    def says(self, *replies: bytes) -> None:
        """The stub acknowledges and answers as many packets."""
        for reply in replies:
            self.stub.sendall(self._ack + framed(reply))

    @contextmanager
    def stub_gets(self, *exchanges: tuple[bytes, bytes]) -> Iterator[None]:
        """Meanwhile the stub is sent the one, and answers with the other, in this order."""
        done: list[bytes] = []

        def serve() -> None:
            for wanted, reply in exchanges:
                done.append(b"")
                while len(done[-1]) < len(wanted):
                    done[-1] += self.stub.recv(len(wanted) - len(done[-1]))
                self.stub.sendall(reply)

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield
        finally:
            serving.join(TIMEOUT)
        assert done == [wanted for wanted, _ in exchanges]

    def got(self, *packets: bytes) -> bytes:
        """The stub has been sent these packets, and this behind them; gdb has nothing to read."""
        assert not select.select([self.gdb], [], [], 0)[0], "gdb would take it for its next reply"
        wanted = b"".join(map(framed, packets))
        data = self.stub.recv(len(wanted), socket.MSG_WAITALL)
        assert data == wanted
        return self.stub.recv(100) if select.select([self.stub], [], [], 0)[0] else b""


Make = Callable[..., Both]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """make(acks, is_qemu): a `Both`."""
    printed: list[str] = []
    fake: Any = types.ModuleType("gdb")
    fake.InferiorThread = fake.RemoteTargetConnection = object
    fake.STDERR, fake.write = 1, lambda text, _stream: printed.append(text)
    fake.parameter = {"remotetimeout": 0}.__getitem__
    monkeypatch.setitem(sys.modules, "gdb", fake)
    name = "gdb_ppc_sstep.commands.link"
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    made: list[Both] = []

    def make(*, acks: bool = True, is_qemu: bool = False) -> Both:
        made.append(Both(module, printed, acks=acks, is_qemu=is_qemu))
        return made[-1]

    yield make
    for one in made:
        one.gdb.close()
        one.stub.close()
    del sys.modules[name]


@pytest.fixture(params=[True, False], ids=["acks", "no acks"])
def acks(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_what_is_acknowledged_is_learnt_from_the_first_reply(make: Make, acks: bool) -> None:
    """Where it is, each reply is, before gdb goes on."""
    both = make(acks=acks)
    for _ in range(2):
        both.says(b"OK")
        assert both.link.call(b"P1=0") == b"OK"
        assert both.got(b"P1=0") == (b"+" if acks else b"")


def test_packets_go_to_qemu_at_once(make: Make, acks: bool) -> None:
    """It takes the next packet for the acknowledgement of the last."""
    both = make(acks=acks, is_qemu=True)
    wait = both.link.begin([b"P1=0", b"g"])
    assert both.got(b"P1=0", b"g") == b""
    both.says(b"OK", b"00")
    assert wait() == [b"OK", b"00"]
    both.says(HIT)
    assert both.link.resume(GO) == HIT
    assert both.stub.recv(100) == (b"++" if acks else b"") + framed(GO)


def test_packets_go_to_others_one_by_one(make: Make) -> None:
    both = make()
    with both.stub_gets((framed(b"P1=0"), b"+$OK#9a"), (b"+" + framed(b"g"), b"+$00#60")):
        assert both.link.begin([b"P1=0", b"g"])() == [b"OK", b"00"]
    assert both.got() == b"+"


def test_a_packet_of_a_burst_that_the_stub_has_not_understood_is_sent_again(make: Make) -> None:
    both = make(is_qemu=True)
    burst = framed(b"P1=0") + framed(b"g")
    with both.stub_gets((burst, b"-+$00#60"), (b"+" + framed(b"P1=0"), b"+$OK#9a")):
        assert both.link.begin([b"P1=0", b"g"])() == [b"OK", b"00"]


def test_a_reply_with_a_bad_checksum(make: Make) -> None:
    """One packet of a burst is sent again, but what the stub counts is counted anew: a breakpoint
    is made what it was to be, with gdb's own.  Of the last packet the reply is sent again.
    """
    both = make(is_qemu=True)
    both.gdbs.insert(Breakpoint(0, 0x100, 4))
    planted, removed = framed(b"Z0,100,4"), framed(b"z0,100,4")
    with both.stub_gets(
        (planted + framed(b"g"), b"+$OK#00+$00#60"),
        (b"++" + removed, b"+$OK#9a"),
        (b"+" + removed, b"+$E22#a9"),
        (b"+" + planted, b"+$OK#9a"),
        (b"+" + planted, b"+$OK#9a"),
    ):
        assert both.link.begin([b"Z0,100,4", b"g"])() == [b"OK", b"00"]
    with both.stub_gets((b"+" + framed(b"g"), b"+$01#00"), (b"-", framed(b"01"))):
        assert both.link.call(b"g") == b"01"


def test_a_stop_that_is_told_twice_is_told_once(make: Make) -> None:
    both = make()
    both.says(HIT)
    both.stub.sendall(framed(HIT))
    assert both.link.resume(GO) == HIT
    both.says(HIT)
    assert both.link.resume(GO) == HIT
    assert not select.select([both.gdb], [], [], 0)[0]


def test_nothing_is_sent_to_a_guest_that_runs_long(make: Make) -> None:
    """A NAK would stop it, and QEMU 10 would not tell."""
    both = make()
    moments = 5

    def fill(packets: int = 1) -> bool:
        nonlocal moments
        came: bool = filled(packets)
        moments -= not came
        if not came and not moments:
            both.says(HIT)
        return came

    filled, both.link.peer.fill = both.link.peer.fill, fill
    assert both.link.resume(GO) == HIT
    assert both.got(GO) == b"+"


def ctrl_c() -> None:
    """The user types Ctrl-C.  A test runner may have threads that have SIGINT not blocked."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_ctrl_c_interrupts_a_guest_that_runs(make: Make) -> None:
    """Then it is gdb's to see."""
    both = make()

    def type_it() -> None:
        assert both.stub.recv(len(framed(GO)), socket.MSG_WAITALL) == framed(GO)
        both.stub.sendall(b"+")
        ctrl_c()
        assert both.stub.recv(10) == b"\x03"
        both.stub.sendall(framed(STOPPED))

    with pytest.raises(KeyboardInterrupt), both.module.interrupts_held():
        typing = threading.Thread(target=type_it)  # which has SIGINT blocked as well
        typing.start()
        assert not both.link.interrupted()
        assert both.link.resume(GO) == STOPPED
        typing.join(TIMEOUT)
        assert both.link.interrupted()
        assert both.got() == b"+"


@pytest.mark.parametrize("packet", [GO, b"g"])
def test_ctrl_c_does_not_interrupt_what_ends_at_once(make: Make, packet: bytes) -> None:
    """A step, or a burst: its replies come, and Ctrl-C is looked at behind it."""
    both = make(is_qemu=True)
    with pytest.raises(KeyboardInterrupt), both.module.interrupts_held():
        ctrl_c()
        both.says(HIT)
        ask = both.link.resume if packet == GO else both.link.call
        assert ask(packet) == HIT
        assert both.got(packet) == b""
        assert both.link.interrupted()


def test_a_guest_that_does_not_stop_for_ctrl_c(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """gdb would wait for ever, and nobody could end that."""
    monkeypatch.setattr(base, "REPLY_TIMEOUT", 0.05)
    both = make()
    with pytest.raises(KeyboardInterrupt), both.module.interrupts_held():
        ctrl_c()
        both.stub.sendall(b"+")
        with pytest.raises(StubSilent, match="did not stop"):
            both.link.resume(GO)
        assert both.gdb.recv(100) == b""


def test_what_the_guest_prints_is_shown(make: Make) -> None:
    both = make()
    both.says(b"O" + b"h\xc3\xa4\n".hex().encode())
    both.stub.sendall(framed(b"Ox") + framed(HIT))
    assert both.link.resume(GO) == HIT
    assert both.printed == ["h\xe4\n"]


def test_file_io_is_refused(make: Make) -> None:
    """Only gdb's own code could do it: the guest is told that it cannot be done."""
    both = make()
    both.says(b"Fopen,100/4,0,0")
    both.says(HIT)
    assert both.link.resume(GO) == HIT
    assert both.got(GO) == b"++" + framed(b"F-1,58")


def test_a_stub_that_is_gone_is_gone_for_gdb_too(make: Make) -> None:
    """Whether that is found when sending or when waiting; gdb finds it when it reads."""
    both = make()
    both.stub.close()
    for ask, packet in ((both.link.call, b"g"), (both.link.resume, GO)):
        with pytest.raises(StubGone):
            ask(packet)
        both.gdb.sendall(framed(b"g"))
        assert both.gdb.recv(100) == b""


@pytest.mark.parametrize("packets", [[b"g"], [b"P1=0", b"g"]], ids=["one", "burst"])
def test_a_late_reply_of_a_silent_stub_is_not_for_gdb(
    make: Make, monkeypatch: pytest.MonkeyPatch, packets: list[bytes]
) -> None:
    monkeypatch.setattr(base, "REPLY_TIMEOUT", 0.05)
    both = make(is_qemu=True)
    if len(packets) > 1:
        both.says(b"OK")
    with pytest.raises(StubSilent):
        both.link.begin(packets)()
    assert both.gdb.recv(100) == b""
    with pytest.raises(StubGone):
        both.link.call(b"g")


def test_a_descriptor_that_is_no_longer_the_connections_is_left_alone(make: Make) -> None:
    """gdb has closed it, and its number may be something else's."""
    both = make()
    both.connection.valid = False
    with pytest.raises(StubGone):
        both.link.call(b"g")
    assert both.got() == b""
    both.stub.sendall(b"x")
    assert both.gdb.recv(100) == b"x"

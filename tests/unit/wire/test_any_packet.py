# SPDX-License-Identifier: MIT
"""Whichever packet of two steps the stub answers late, in pieces, twice, or never, or dies at.

The layer's patience is PATIENCE here and 5 seconds in life; a stub that answers late does so within
it, as one that takes 2 seconds, or after it, as one that takes 10.  Those take 2 and 10 seconds in
tests/system/test_stub_faults.py.  --soak 2: at every packet, and not at every third.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdb_ppc_sstep.carrier import link as link_module

from .. import machine as m
from ..machine import SE, TEXT, Machine
from .rig import STEP, Gdb, Rig, StubServer, framed, program

PATIENCE, LATE, TOO_LATE = 1.0, 0.25, 1.4
"""Seconds.  What waits for PATIENCE to end has it shortened to SHORT, and does not miss by much."""
SHORT, SHORT_TOO_LATE = 0.15, 0.3

GIVES_UP = 3.0
"""Seconds after which gdb does, and goes."""

WORDS = (m.addi(4, 4, 1), m.lbz(5, 6), *[m.NOP] * 30)
ASKED = (STEP, b"g", STEP, b"m%x,40" % TEXT)
SILENT = "ppc-sstep: the stub did not answer within 0.15 seconds; the connection is closed\n"
NOT_STOPPED = "ppc-sstep: the guest did not stop; the connection is closed\n"


class Failing(StubServer):
    """after: the fault comes so many packets after `armed` is set; None for all of them.

    lost: the packet that is not answered was not obeyed either.
    """

    fault = ""
    armed = False
    after: int | None = 0
    struck = b""

    def _answer(self, payload: bytes) -> bool:
        if self.armed and self.after == 0 and not self.struck:
            self.struck = payload
            if self.fault == "lost":
                return True
            if self.fault == "killed":
                return False
        elif self.armed and self.after:
            self.after -= 1
        return super()._answer(payload)

    def _put(self, data: bytes) -> None:
        if (
            not self.armed
            or data in (b"", b"+", b"-")
            or (self.after != 0 and self.after is not None)
        ):
            super()._put(data)
        elif self.fault == "in pieces":
            for one in data:
                super()._put(bytes([one]))
                time.sleep(0)
        elif self.after is None or (self.struck and self.fault):
            self._faulty(data)
        else:
            super()._put(data)

    def _faulty(self, data: bytes) -> None:
        fault = self.fault
        if self.after is not None:
            self.fault = ""
        if fault == "twice":
            data += data
        elif fault == "late":
            time.sleep(LATE)
        elif fault == "too late":
            time.sleep(SHORT_TOO_LATE)
        elif fault in ("never", "killed and obeyed"):
            if fault != "never":
                self.hang_up()
            return
        super()._put(data)


class Patient(Gdb):
    """Drops a packet that comes in place of an acknowledgement, as gdb does."""

    def send(self, payload: bytes) -> None:
        self.sock.sendall(framed(payload))
        while self.acks and self.raw(1) != b"+":
            while self.raw(1) != b"#":
                pass
            self.raw(2)


Session = Callable[..., Rig]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """session(machine, acks=...): a rig with a stub that fails, and its record in a file."""
    rigs: list[tuple[Rig, int]] = []

    def start(machine: Machine, **options: bool) -> Rig:
        name = tmp_path / str(len(rigs))
        record = os.open(f"{name}.record", os.O_RDWR | os.O_CREAT)
        rig = Rig(machine, Path(f"{name}.log"), server=Failing, record=record, **options)
        rig.gdb = Patient(rig.gdb.sock, acks=rig.gdb.acks)
        rig.gdb.sock.settimeout(GIVES_UP)
        rigs.append((rig, record))
        assert rig.start() == "ok"
        return rig

    yield start
    for rig, record in rigs:
        rig.close()
        os.close(record)


def failing(rig: Rig, fault: str, after: int | None) -> Failing:
    """The rig's stub, which fails from now on."""
    server = rig.server
    assert isinstance(server, Failing)
    server.fault, server.after, server.struck = fault, after, b""
    server.armed = True
    return server


def asked(rig: Rig) -> int:
    """How many of ASKED gdb has an answer to, when all are asked or the connection is closed.

    It gives up, and goes, where a stop does not come.
    """
    done = 0
    try:
        for payload in ASKED:
            reply = rig.gdb.ask(payload)
            assert not reply.startswith(b"E"), reply
            done += 1
    except socket.timeout:
        rig.gdb.close()
    except (AssertionError, OSError) as error:
        assert "closed the connection" in str(error) or isinstance(error, OSError), error
    return done


def after_steps(machine: Machine) -> list[list[dict[str, int]]]:
    return [machine.native(steps=count) for count in range(3)]


def places(request: pytest.FixtureRequest) -> range:
    return range(0, 100, 1 if request.config.getoption("soak") > 1 else 3)


ACKS = pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])


@ACKS
@pytest.mark.parametrize("qemu", [True, False], ids=["", "one by one"])
@pytest.mark.parametrize("fault", ["in pieces", "twice"])
def test_all_replies_are_odd(session: Session, fault: str, acks: bool, qemu: bool) -> None:
    """Nobody sees anything of it.  Without acknowledgements no reply can come twice."""
    if fault == "twice" and not acks:
        pytest.skip("a reply is sent again only where replies are acknowledged")
    machine = program(*WORDS)
    after = after_steps(machine)
    rig = session(machine, acks=acks, qemu=qemu)
    failing(rig, fault, None)
    assert asked(rig) == len(ASKED)
    rig.settle()
    assert machine.changed(after[2]) == {}
    assert machine.planted == {}
    rig.gdb.close()
    rig.ended()
    assert rig.log == ""


@pytest.mark.parametrize("fault", ["late", "twice"])
def test_one_reply_is_odd(
    session: Session, fault: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", PATIENCE)
    for number in places(request):
        machine = program(*WORDS)
        after = after_steps(machine)
        rig = session(machine)
        server = failing(rig, fault, number)
        assert asked(rig) == len(ASKED), number
        rig.settle()
        assert machine.changed(after[2]) == {}, number
        assert machine.planted == {}
        rig.gdb.close()
        rig.ended()
        assert rig.log == ""
        if not server.struck:
            break
    assert number > 12


@ACKS
@pytest.mark.parametrize("fault", ["too late", "never", "lost", "killed", "killed and obeyed"])
def test_one_reply_does_not_come(
    session: Session,
    fault: str,
    acks: bool,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """gdb's end is closed, with one line unless the stub has closed its own.

    A stop may take as long as it likes, until gdb goes.  The guest is there with a stub that was
    silent: the next session finds what is left, in the record.
    """
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", SHORT)
    ends: Counter[str] = Counter()
    for number in places(request):
        machine = program(*WORDS)
        after = after_steps(machine)
        rig = session(machine, acks=acks)
        server = failing(rig, fault, number)
        done = asked(rig)
        if not server.struck:
            assert done == len(ASKED)
            server.armed = False
            break
        said = "" if fault.startswith("killed") else SILENT
        if server.struck.startswith(b"vCont;c") and fault == "too late":
            assert done == len(ASKED)
            said = ""
            rig.gdb.close()
        elif server.struck.startswith(b"vCont;c") and said:
            said = NOT_STOPPED
        rig.ended()
        assert rig.log == said, (number, server.struck)
        ends[said] += 1
        known = Path(rig._log).with_suffix(".record").read_text().partition("\n")[0]
        machine.breakpoints.clear()  # as QEMU does when the next gdb asks `?`
        again = session(machine)
        assert again.gdb.ask(b"Hgp1.1") == b"OK"
        left = again.gdb.ask(b"qppc-sstep.clean:" + known.encode().hex().encode())
        ends["left"] += left != b"[]".hex().encode()
        here = [cpus[0]["pc"] for cpus in after].index(machine.cpu["pc"])
        assert machine.changed(after[here]) == {}, (number, server.struck)
        assert not machine.cpu["msr"] & SE
        again.gdb.close()
        again.ended()
        assert machine.planted == {}
    print(dict(ends))
    assert number > 12

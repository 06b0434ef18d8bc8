# SPDX-License-Identifier: MIT
"""What cannot be avoided under KVM HV: the same steps and stops by raw packets.

Neither gdb nor ours is there.  One packet is sent when that before it has been answered.  The guest
is at the place where gdb has left it, it is little-endian, and who asks knows that nothing else
interferes: no interrupt, no instruction that the Trace interrupt does not step, nobody else's
breakpoint.  So it is a measure for what does look at all these things, and no way to step.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from fixtures.closing import Closing
from gdb_ppc_sstep.ppc import msr
from gdb_ppc_sstep.rsp import description
from gdb_ppc_sstep.rsp.framing import Packet, Parser, frame, plain

TIMEOUT = 60.0
"""Seconds for one reply."""


class FloorError(RuntimeError):
    """The stub has not answered as it must."""


class Floor(Closing):
    """A stub, stopped, and nobody else connected to it.

    connect: makes the connection.  What is stepped is the first vCPU; the others run with it.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._socket = connect()
        try:
            self._socket.settimeout(TIMEOUT)
            self._parser, self._acknowledged = Parser(), b""
            self._ask(b"qSupported:multiprocess+;qXfer:features:read+")
            self._ask(b"?")
            registers = description.parse(self._annex)
            self._numbers = {name: b"%x" % one.number for name, one in registers.items()}
            self._ask(b"g")
            self.vector = msr.TRACE
            if msr.relocates(self.read("msr")):
                self.vector |= 0xC000000000004000
        except BaseException:
            self.close()
            raise

    def _annex(self, name: str) -> str:
        text, more = "", True
        while more:
            reply = self._ask(b"qXfer:features:read:%s:%x,800" % (name.encode(), len(text)))
            more = reply[:1] == b"m"
            text += plain(reply[1:]).decode("latin-1")
        return text

    def _ask(self, payload: bytes) -> bytes:
        """The reply to one packet."""
        self._socket.sendall(self._acknowledged + frame(payload))
        while True:
            data = self._socket.recv(65536)
            if not data:
                raise FloorError(f"no reply to {payload!r}: the stub is gone")
            for item in self._parser.feed(data):
                if isinstance(item, Packet):
                    self._acknowledged = b"+"
                    return item.payload

    def _must(self, payload: bytes, reply: bytes) -> None:
        got = self._ask(payload)
        if not got.startswith(reply):
            raise FloorError(f"{payload!r} was answered with {got!r}")

    def read(self, name: str) -> int:
        """A register."""
        return int.from_bytes(
            bytes.fromhex(self._ask(b"p" + self._numbers[name]).decode()), "little"
        )

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        data = value.to_bytes(8, "little").hex().encode()
        self._must(b"P%s=%s" % (self._numbers[name], data), b"OK")

    def insert(self, address: int) -> None:
        """Plant a breakpoint."""
        self._must(b"Z0,%x,4" % address, b"OK")

    def remove(self, address: int) -> None:
        """Take it out again."""
        self._must(b"z0,%x,4" % address, b"OK")

    def run(self) -> None:
        """Until the next breakpoint; registers are fetched then.

        Under KVM HV a step request is a continue, with which QEMU knows each of its breakpoints.
        """
        self._must(b"vCont;s:p1.1;c:p1.-1", b"T05")
        self._ask(b"g")

    def step(self, before: int) -> int:
        """One instruction by the Trace interrupt, whose vector is planted; from MSR to MSR."""
        self.write("msr", (before | msr.SE) & ~msr.EE)
        self.run()
        pc, saved = self.read("srr0"), self.read("srr1")
        after = saved & ~(msr.SRR1_STATUS | msr.SE) | before & msr.EE
        self.write("pc", pc)
        self.write("msr", after)
        return after

    def close(self) -> None:
        """The guest stays where it is."""
        self._socket.close()


class Least(Protocol):
    """What a case's commands need at least.

    number: how many of what is measured that is.  exact: the guest gets to where the commands bring
    it.
    """

    @property
    def number(self) -> int:
        """See `Least`."""

    @property
    def exact(self) -> bool:
        """See `Least`."""

    def run(self, floor: Floor) -> None:
        """Do it."""


class Steps(NamedTuple):
    """So many steps: one time the vector, and then 7 packets for each."""

    number: int
    exact: bool = True

    def run(self, floor: Floor) -> None:
        """See `Least`."""
        floor.insert(floor.vector)
        state = floor.read("msr")
        for _ in range(self.number):
            state = floor.step(state)
        floor.remove(floor.vector)


class Stops(NamedTuple):
    """So many times from the place where the guest is to there again: a step, and a run."""

    number: int
    exact: bool = True

    def run(self, floor: Floor) -> None:
        """See `Least`."""
        place = floor.read("pc")
        floor.insert(floor.vector)
        for _ in range(self.number):
            floor.step(floor.read("msr"))
            floor.insert(place)
            floor.run()
            floor.remove(place)
        floor.remove(floor.vector)


class Return(NamedTuple):
    """Run to where LR leads."""

    number: int = 1
    exact: bool = False

    def run(self, floor: Floor) -> None:
        """See `Least`."""
        place = floor.read("lr") & ~3
        floor.insert(place)
        floor.run()
        floor.remove(place)


class Lines(NamedTuple):
    """So many lines of straight code, of so many bytes each: run to the end of each."""

    number: int
    size: int
    exact: bool = False

    def run(self, floor: Floor) -> None:
        """See `Least`."""
        place = floor.read("pc")
        for _ in range(self.number):
            place += self.size
            floor.insert(place)
            floor.run()
            floor.remove(place)

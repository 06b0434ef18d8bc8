# SPDX-License-Identifier: MIT
"""The floor under KVM HV: the same steps and stops by raw packets, the cost that cannot be avoided.

Neither gdb nor ours takes part.  The floor sends each packet when the one before it is answered.
It begins where gdb has left the guest, which is little-endian.  The caller knows that nothing else
interferes: no interrupt, no instruction that the Trace interrupt does not step, nobody else's
breakpoint.  So the floor is a measure for ours, which has to look for all these things, and no way
to step.
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
"""How many seconds the floor waits for one reply."""


class FloorError(RuntimeError):
    """The stub has not answered as it must."""


class Floor(Closing):
    """A client of a stopped stub that has no other client.

    connect: makes the connection.  It steps the first vCPU; the others run with it.
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
        """Send one packet.  Returns the reply.  FloorError: the stub is gone."""
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
        """Read a register."""
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
        """Take a breakpoint out."""
        self._must(b"z0,%x,4" % address, b"OK")

    def run(self) -> None:
        """Let the guest run to the next breakpoint, and fetch the registers there.

        Under KVM HV a step request resumes as a continue does, but with it QEMU takes no breakpoint
        of its own for a hardware breakpoint (see docs/kvm.md).
        """
        self._must(b"vCont;s:p1.1;c:p1.-1", b"T05")
        self._ask(b"g")

    def step(self, before: int) -> int:
        """Step one instruction by the Trace interrupt; a breakpoint has to be at its vector.

        before: the MSR before the step.  Returns the MSR after it.
        """
        self.write("msr", (before | msr.SE) & ~msr.EE)
        self.run()
        pc, saved = self.read("srr0"), self.read("srr1")
        after = saved & ~(msr.SRR1_STATUS | msr.SE) | before & msr.EE
        self.write("pc", pc)
        self.write("msr", after)
        return after

    def close(self) -> None:
        """Close the connection.  The guest stays where it is."""
        self._socket.close()


class Least(Protocol):
    """The least that a case's commands need; a subclass says how to do it by raw packets.

    number: how many steps or stops it does.  exact: whether the guest ends where the commands bring
    it.
    """

    @property
    def number(self) -> int:
        """See `Least`."""

    @property
    def exact(self) -> bool:
        """See `Least`."""

    def run(self, floor: Floor) -> None:
        """Do it on a floor."""


class Steps(NamedTuple):
    """So many steps: a breakpoint at the Trace vector once, and then 7 packets for each step."""

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
    """So many times from a place to the same place again: each time a step and a run."""

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
    """Run to the address in LR."""

    number: int = 1
    exact: bool = False

    def run(self, floor: Floor) -> None:
        """See `Least`."""
        place = floor.read("lr") & ~3
        floor.insert(place)
        floor.run()
        floor.remove(place)


class Lines(NamedTuple):
    """So many lines of straight code, each of `size` bytes: run to the end of each line."""

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

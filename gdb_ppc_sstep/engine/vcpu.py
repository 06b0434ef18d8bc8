# SPDX-License-Identifier: MIT
"""The vCPU whose thread is selected: its registers, even those that the stub withholds."""

from __future__ import annotations

from ..errors import StubRefused
from ..ppc import isa, msr
from ..stub.stub import Stub
from .borrowed import BorrowedCode
from .steps import Frame, Task
from .vectors import Vectors

_KEPT = tuple(f"r{number}" for number in range(14, 32))  # handlers and system calls keep these


class Vcpu:
    """Reads and writes registers of the selected thread.  Values are 64-bit unsigned."""

    def __init__(self, stub: Stub, vectors: Vectors, borrowed: BorrowedCode) -> None:
        self._stub = stub
        self._vectors = vectors
        self._borrowed = borrowed
        self._giving: set[bytes | None] = set()  # threads whose SRR0 and SRR1 the stub has given

    def read(self, name: str) -> int:
        """A register's value; of SRR0, SRR1 and PVR even where the stub withholds them.

        StubRefused: neither the stub nor the guest's code gives it.
        """
        try:
            return self._stub.read(name)
        except StubRefused:
            if name == "pvr" and (pvr := self._vectors.processor()) is not None:
                return pvr
            access = self._borrowed.find(name, writes=False)
            if access is None:
                raise
        return self._borrowed.run(access)

    def write(self, name: str, value: int) -> None:
        """Write a register, now or later; SRR0 and SRR1 even where the stub withholds them.

        StubRefused: neither the stub nor the guest's code can write it.
        """
        if name in isa.SRR.values():
            try:
                self._stub.read(name)
            except StubRefused:
                access = self._borrowed.find(name, writes=True)
                if access is None:
                    raise
                self._borrowed.run(access, value)
                return
        self._stub.write(name, value)

    def given_srrs(self) -> tuple[int, int] | None:
        """SRR0 and SRR1, None where the stub withholds them.

        StubRefused: the stub has no such registers, or refuses them now and has given this thread's
        before.
        """
        for name in ("srr0", "srr1"):
            if not self._stub.has(name):
                raise StubRefused(f"the stub's target description has no register {name}")
        try:
            given = self._stub.read("srr0"), self._stub.read("srr1")
        except StubRefused:
            if self._stub.thread in self._giving:
                raise
            return None  # QEMU 7.2 on every vCPU but the first
        self._giving.add(self._stub.thread)
        return given

    def gives_srrs(self) -> bool:
        """Whether the stub gives SRR0 and SRR1 of this thread, which does not change."""
        return self._stub.thread in self._giving or self.given_srrs() is not None

    def reaches_srrs(self) -> bool:
        """Whether SRR0 and SRR1 of a handler can be read, and SRR1 written, in whatever way."""
        return self.gives_srrs() or self._borrowed.reaches_srrs()

    def saved_by(self, vector: int) -> tuple[int, int] | None:
        """The address and MSR that the interrupt of a vector saved; None if they cannot be had."""
        address, state = msr.saved_in(vector)
        try:
            return self.read(address), self.read(state)
        except StubRefused:
            return None

    def task(self, state: int) -> Task:
        """The task that the thread runs, or ran when an interrupt saved the MSR `state`."""
        space = self._stub.read_optional("pid") if state & msr.PR else None
        return Task(self._stub.read("r1"), space)

    def frame(self, *, whole: bool) -> Frame:
        """What tells this execution of the thread's code from others.  whole: with r14 to r31."""
        kept = tuple(self._stub.read(name) for name in (_KEPT if whole else ()))
        return Frame(self._stub.read("r1"), self._stub.read("msr"), kept)

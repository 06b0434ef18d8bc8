# SPDX-License-Identifier: MIT
"""The vCPU whose thread is selected: its registers, even those that the stub withholds."""

from __future__ import annotations

from ..errors import StubRefused
from ..ppc import isa, msr
from ..stub.stub import Stub
from .borrowed import BorrowedCode
from .steps import Frame, Task
from .vectors import Vectors

_KEPT = tuple(f"r{number}" for number in range(14, 32))  # by handlers and system calls


class Vcpu:
    """Of one stub.  Values are 64-bit unsigned."""

    def __init__(self, stub: Stub, vectors: Vectors, borrowed: BorrowedCode) -> None:
        self._stub = stub
        self._vectors = vectors
        self._borrowed = borrowed
        self._giving: set[bytes | None] = set()  # threads whose SRR0 and SRR1 the stub has given

    def read(self, name: str) -> int:
        """A register; SRR0, SRR1 and PVR even where the stub withholds them.

        StubRefused: nothing gives it.
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
        """Set a register, now or later; SRR0 and SRR1 as in `read`."""
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

        StubRefused: it refuses them this once, and has given them before.
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
        """Whether the stub gives SRR0 and SRR1, which does not change."""
        return self._stub.thread in self._giving or self.given_srrs() is not None

    def reaches_srrs(self) -> bool:
        """Whether a handler's SRR0 and SRR1 can be read and SRR1 written, in whatever way."""
        return self.gives_srrs() or self._borrowed.reaches_srrs()

    def saved_by(self, vector: int) -> tuple[int, int] | None:
        """What the interrupt of a vector saved, address and MSR; None where that is not known."""
        address, state = msr.saved_in(vector)
        try:
            return self.read(address), self.read(state)
        except StubRefused:
            return None

    def task(self, state: int) -> Task:
        """The task that it is in, or was in at an interrupt that saved the MSR `state`."""
        space = self._stub.read_optional("pid") if state & msr.PR else None
        return Task(self._stub.read("r1"), space)

    def frame(self, *, whole: bool) -> Frame:
        """What tells the present execution of its code from others.  whole: r14 to r31 as well."""
        kept = tuple(self._stub.read(name) for name in (_KEPT if whole else ()))
        return Frame(self._stub.read("r1"), self._stub.read("msr"), kept)

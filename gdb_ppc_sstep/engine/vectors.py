# SPDX-License-Identifier: MIT
"""Where interrupts of the selected thread arrive, and the registers that decide it."""

from __future__ import annotations

from ..errors import SstepError, StubRefused
from ..ppc import msr, strategy
from ..stub.stub import Stub


class Vectors:
    """The interrupt vectors of one guest."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._ail: int | None = None  # as the user has set it; None: LPCR decides
        self._pvr: int | None = None
        self._last: msr.Relocation | None = None  # by the LPCR that was read last
        self._proved: int | None = None  # the stub's version when an interrupt proved `_last` right

    def set_ail(self, ail: int | None) -> None:
        """Take LPCR[AIL] from the user (0, 2 or 3), or (None) from LPCR."""
        self._ail = ail

    def at_stop(self) -> strategy.Vector:
        """A function vector(offset, msr) for this stop; it reads LPCR once, where LPCR decides.

        It raises what `relocation` raises.
        """
        relocation: msr.Relocation | None = None

        def vector(offset: int, state: int) -> int:
            nonlocal relocation
            if not msr.relocates(state):
                return offset
            if relocation is None:
                relocation = self.relocation()
            return msr.vector(offset, state, relocation)

        return vector

    def relocation(self) -> msr.Relocation:
        """LPCR[AIL] and the rules for it.  SstepError: neither the stub nor the user gives it."""
        pvr = self.processor()
        if self._ail is not None:
            power10 = msr.Relocation.of(0, pvr).power10
            return msr.Relocation(self._ail, hail=self._ail == 3, power10=power10)
        if self._last is not None and self.is_proved:
            return self._last
        lpcr = self._shared_register("lpcr")
        if lpcr is None:
            raise SstepError(
                "the stub does not give LPCR, so where interrupts go is not known; "
                "use `set ppc-sstep ail 0`, `2` or `3` (Linux guests use 3)"
            )
        self._last = msr.Relocation.of(lpcr, pvr)
        return self._last

    def arrived(self, offset: int, state: int, place: int) -> None:
        """An interrupt was taken with the MSR `state`, and arrived at `place` for its `offset`.

        If that is where the LPCR that was read last puts it, LPCR need not be read again at this
        stop.
        """
        last = self._last
        if last is not None and msr.relocates(state) and msr.vector(offset, state, last) == place:
            self._proved = self._stub.version

    @property
    def is_proved(self) -> bool:
        """Whether LPCR need not be read at this stop."""
        return self._proved == self._stub.version

    def processor(self) -> int | None:
        """The PVR, None if the stub does not give it.  It is asked for until it is given."""
        if self._pvr is None:
            self._pvr = self._shared_register("pvr")
        return self._pvr

    def _shared_register(self, name: str) -> int | None:
        """A register that is the same on all vCPUs; None where the stub gives it on none."""
        stub = self._stub
        value = stub.read_optional(name)
        if value is not None or not stub.has(name):
            return value
        # QEMU 7.2 gives SPRs of the first vCPU only (fixed in QEMU 8).
        selected = stub.thread
        try:
            stub.select(_first_of_process(selected))
            return stub.read_optional(name)
        except StubRefused:
            return None
        finally:
            stub.select(selected)


def _first_of_process(thread: bytes | None) -> bytes | None:
    """The thread-id of the first vCPU in the process of a thread."""
    if thread is None:
        return None
    process, dot, _ = thread.rpartition(b".")
    return process + dot + b"1"

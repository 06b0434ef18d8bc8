# SPDX-License-Identifier: MIT
"""Hypercalls of the selected thread, by an `sc 1` that the guest's kernel has anyway.

They write registers of a vCPU that the stub does not give (QEMU 7.2 gives SPRs of the first vCPU
only): the hypervisor writes them, as if the guest had asked.
"""

from __future__ import annotations

from ..errors import StubRefused, Unsettled
from ..ppc import linux_code, msr
from ..ppc.linux_code import Hypercall
from ..stub.stub import Stub
from .alone import Alone
from .past import Past

SET_MODE = 0x31C
"""H_SET_MODE (Linux arch/powerpc/include/asm/hvcall.h); it takes flags, a resource, two values."""

_UNRECOVERABLE = 256  # instructions that an interrupt's entry or exit may have with MSR[RI]=0
_BLOCK = 0x400
_LONGEST = 0x4000000  # bytes of a kernel that are searched
_MOST_EMPTY = 256  # so many blocks without code are the kernel's end, or this is no kernel
_VOLATILE = tuple(f"r{n}" for n in range(13))  # what a hypercall may change
_CHANGED = (*_VOLATILE, "cr", "xer", "ctr", "lr")


class Unsure(StubRefused):
    """The stub has refused something when the hypercall may have been made already."""


class Hypercalls:
    """Makes hypercalls on the threads of one stub."""

    def __init__(self, stub: Stub, past: Past, alone: Alone) -> None:
        self._stub = stub
        self._past = past
        self._alone = alone
        self._found: Hypercall | None = None
        self._searched = False

    def call(self, number: int, *arguments: int) -> int:
        """Make a hypercall; its result, signed 64-bit.

        The call overwrites SRR0 and SRR1.  Where these still matter (MSR[RI]=0), the thread alone
        is first stepped until they do not.  StubRefused: that does not go well, or the guest has no
        code for the call; Unsure: the call may have been made.
        """
        stub = self._stub
        for _ in range(_UNRECOVERABLE):
            state, pc = stub.read("msr"), stub.read("pc")
            if state & (msr.RI | msr.PR):
                break
            if self._past.step_past(stub.thread, pc, state) is not None:
                raise StubRefused("it was interrupted on the way out of an interrupt's entry")
        else:
            raise StubRefused("it does not come out of the entry of an interrupt (MSR[RI]=0)")
        if not msr.relocates(state):
            raise StubRefused("its MMU is off, so it runs no kernel that calls the hypervisor")
        through = msr.in_handler(state, linux_code.KERNEL_BASE) | msr.RI
        call = self._find(state, through)
        if call is None:
            raise StubRefused("the guest's kernel has no `sc 1` that could be found")
        # In problem state r13 is the program's; the code behind the call takes it for the kernel's.
        end = call.address + 4 if state & msr.PR else call.end
        values = {f"r{3 + n}": value for n, value in enumerate((number, *arguments))}
        registers = {**values, "pc": call.address, "msr": through}
        try:
            with self._alone.executed(registers, (end,), changes=_CHANGED):
                result = stub.read("r3")
        except Unsettled:
            raise
        except StubRefused as refused:
            raise Unsure(str(refused)) from refused
        return result - (1 << 64) if result >> 63 else result

    def srr_valid(self) -> int | None:
        """The offset of the kernel's `srr_valid`: see `linux_code.Hypercall`.

        None too if the selected thread does not run such a kernel in privileged state.
        """
        state = self._stub.read("msr")
        in_kernel = msr.relocates(state) and not state & msr.PR
        call = self._find(state, state) if in_kernel else None
        return None if call is None else call.srr_valid

    def _find(self, state: int, through: int) -> Hypercall | None:
        """The call in the kernel's code.

        The code is searched once; whether a call that was found is still there is looked at each
        time.
        """
        stub, found = self._stub, self._found
        if found is None and self._searched:
            return None
        with self._alone.seeing(through):
            if found is None or not self._at(found.address):
                self._searched = True
                found = self._found = self._search(stub.read("pc"))
        return found

    def _at(self, address: int) -> bool:
        return any(self._calls(address, 12))

    def _calls(self, address: int, length: int) -> list[Hypercall]:
        code = self._stub.memory(address, length)
        return list(linux_code.hypercalls(code, address, self._stub.order))

    def _search(self, pc: int) -> Hypercall | None:
        """Search near pc first, where an idle vCPU has just made a hypercall, then the kernel."""
        base, other, empty = linux_code.KERNEL_BASE, None, 0
        near = pc & -_BLOCK
        for block in (near, *range(base, base + _LONGEST, _BLOCK)):
            # What follows an `sc 1` may be in the next block.
            code = self._stub.memory(block, _BLOCK + 8) or self._stub.memory(block, _BLOCK)
            empty = 0 if any(code) else empty + 1
            if block != near and (not code or empty > _MOST_EMPTY):
                break
            for call in linux_code.hypercalls(code, block, self._stub.order):
                if call.srr_valid is not None:
                    return call
                other = other or call
        return other

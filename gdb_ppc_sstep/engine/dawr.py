# SPDX-License-Identifier: MIT
"""DAWR0 and DAWRX0 of each vCPU: reads and writes them, and proves that they work.

A host may ignore them (POWER9 DD2.2 and older, where they are off): then they read back as they
were written, and never match.  So we try: where the hypervisor writes them, its answer tells; else
a vCPU executes a load of the guest's own that has to match.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import StubRefused
from ..ppc import dawr, isa, msr
from ..ppc.access import access
from ..ppc.dawr import Window
from ..stub.known import PAGE
from ..stub.stub import Stub
from .alone import Alone
from .hypercall import SET_MODE, Hypercalls
from .vectors import Vectors

_DAWR0 = 2  # the resource of H_SET_MODE
_SUCCESS = 0
_NOT_THERE = (-55, -2)  # H_P2, H_FUNCTION: the host has no DAWR that works
_BLOCK = 0x400  # bytes of code that are asked for at once
_LD, _LWZ = 58, 32


class Dawr:
    """Reads and writes DAWR0 and DAWRX0 of the vCPUs of one guest."""

    def __init__(
        self,
        stub: Stub,
        vectors: Vectors,
        alone: Alone,
        hypercalls: Hypercalls,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._vectors = vectors
        self._alone = alone
        self._hypercalls = hypercalls
        self._log = log
        self._honours: dict[int, bool] = {}  # by the length of a window, whether it was honoured
        self._giving: set[bytes | None] = set()  # threads whose DAWR the stub has given

    def given(self) -> Window | None:
        """DAWR0 and DAWRX0 of the selected thread; None where the stub does not give them."""
        address = self._stub.read_optional("dawr0")
        control = self._stub.read_optional("dawrx0") if address is not None else None
        if address is None or control is None:
            return None
        self._giving.add(self._stub.thread)
        return Window(address, control)

    def write(self, window: Window, before: Window) -> None:
        """Write DAWR0 and DAWRX0 of the selected thread.  before: their present values.

        StubRefused: they cannot be written.
        """
        stub = self._stub
        if stub.thread in self._giving or self.given() is not None:
            if window.matches and window.address != before.address:
                stub.write("dawr0", window.address, reads_back=True)
            stub.write("dawrx0", window.control, reads_back=True)
            return
        result = self._hypercalls.call(SET_MODE, 0, _DAWR0, window.address, window.control)
        if result in _NOT_THERE:
            raise StubRefused(f"the hypervisor has no DAWR: it answers {result}")
        if result != _SUCCESS:
            raise StubRefused(f"the hypervisor does not set DAWR0: it answers {result}")

    def known(self, window: Window) -> bool | None:
        """Whether the host honours a window as long as this one; None if that was not tried."""
        return self._honours.get(window.length)

    def prove(self, window: Window) -> bool:
        """Find out on the selected thread whether the host honours a window as long as this one.

        StubRefused: it cannot be tried here.
        """
        if self.given() is None:
            self.write(dawr.OFF, dawr.OFF)  # raises if the hypervisor answers that it has no DAWR
            honours = True
        else:
            honours = self._loads(window.length)
        self._log("a window of {} bytes is honoured: {}", window.length, honours)
        self._honours[window.length] = honours
        return honours

    def _loads(self, length: int) -> bool:
        """Whether a load from the last doubleword of a window of this length matches.

        The thread executes a load of its own code, from that code.  A window may be cut short:
        QEMU's emulation of POWER10 looks for its length elsewhere in DAWRX0 (seen with QEMU 10.0).
        """
        stub = self._stub
        state, pc = stub.read("msr"), stub.read("pc")
        if stub.read_optional("dsisr") is None:
            raise StubRefused("the stub gives DAWRX0 and not DSISR")
        vector = self._vectors.at_stop()(dawr.DATA_STORAGE, state)
        if state & msr.PR:
            # In problem state interrupts cannot be held, and a handler may schedule another task.
            # In the kernel they can, and the vector's page has loads.
            state, pc = msr.in_handler(state, vector) | msr.RI, vector
        with self._alone.seeing(state):
            load = self._a_load(pc, length)
        if load is None:
            raise StubRefused("there is no load near pc by which DAWR could be tried")
        place, word = load
        instruction = isa.decode(word)
        from_zero = access(instruction, 0, place, msr.SF, lambda name: 0)
        assert from_zero is not None
        last = place & ~7
        watch = dawr.Watch(last + 8 - length, length, loads=True, stores=False)
        window = dawr.window((watch,), self._vectors.processor())
        assert window is not None
        registers = {
            instruction.ra: place - from_zero.address & msr.MASK64,
            "dawr0": window.address,
            "dawrx0": window.control,
            "dsisr": 0,
            "pc": place,
            "msr": state,
        }
        changes = (instruction.rt, "srr0", "srr1", "dar")
        with self._alone.executed(registers, (place + 4, vector), changes=changes) as arrived:
            if arrived == vector and not stub.read("dsisr") & dawr.MATCH:
                raise StubRefused("the load by which DAWR is tried takes another interrupt")
            return arrived == vector

    def _a_load(self, pc: int, length: int) -> tuple[int, int] | None:
        """An `ld` or `lwz` in the page of pc, at whose address a window of this length may end.

        Its base register is neither r0 nor its target.  Gives its address and word.
        """
        page = pc & -PAGE
        for block in range(page, page + PAGE, _BLOCK):
            try:
                words = self._stub.code(block, _BLOCK // 4)
            except StubRefused:
                continue
            for n, word in enumerate(words):
                opcode, rt, ra = word >> 26, word >> 21 & 31, word >> 16 & 31
                plain = opcode == _LWZ or (opcode == _LD and not word & 3)
                place = block + 4 * n
                if plain and ra not in (0, rt) and dawr.may_end_at(place, length):
                    return place, word
        return None

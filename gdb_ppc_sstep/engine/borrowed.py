# SPDX-License-Identifier: MIT
"""Reads and writes registers that the stub withholds, by an mfspr or mtspr in the guest's own code.

QEMU 7.2 gives SPRs of the first vCPU only (see `ppc.spr_code`, which knows such code).
"""

from __future__ import annotations

from ..ppc import isa, msr, spr_code
from ..ppc.spr_code import SprAccess
from ..stub.stub import Stub
from .alone import Alone
from .vectors import Vectors

RETRY = 500
"""How many times a missing instruction is taken for missing before the code is searched again."""

_Key = tuple[str, bool, bool]  # the register, whether it is written, whether AIL relocates


class BorrowedCode:
    """Finds the instructions in the guest's code, and has the selected thread execute them."""

    def __init__(
        self,
        stub: Stub,
        vectors: Vectors,
        alone: Alone,
    ) -> None:
        self._stub = stub
        self._vectors = vectors
        self._alone = alone
        self._found: dict[_Key, SprAccess] = {}
        self._missed: dict[_Key, int] = {}  # for how many more times it is not searched for

    def reaches_srrs(self) -> bool:
        """Whether SRR0 and SRR1 of a handler can be read, and SRR1 written, by such code."""
        wanted = (("srr0", False), ("srr1", False), ("srr1", True))
        return all(self.find(name, writes=writes) for name, writes in wanted)

    def find(self, name: str, *, writes: bool) -> SprAccess | None:
        """An instruction that the selected thread can execute: mfspr, or mtspr if `writes`.

        None where there is none: in problem state, for other registers than SRR0 and SRR1, or if
        the code at the vectors has none.
        """
        if not self._stub.has(name) or name not in isa.SRR.values():
            return None
        state = self._stub.read("msr")
        if state & msr.PR:
            return None
        key = name, writes, msr.relocates(state)
        known = self._found.get(key)
        if known is not None and self._stub.instruction(known.address).word == known.word:
            return known
        if self._missed.get(key, 0):
            self._missed[key] -= 1
            return None
        for block in spr_code.blocks(state, self._vectors.at_stop()(msr.TRACE, state)):
            code = self._stub.memory(block, spr_code.BLOCK)
            for found in spr_code.search(code, block, self._stub.order):
                if (found.name, found.writes) == (name, writes):
                    self._found[key] = found
                    return found
        self._missed[key] = RETRY
        return None

    def run(self, access: SprAccess, value: int | None = None) -> int:
        """Have the selected thread execute this alone; what its general register has then.

        value: what is put into that register before, 64-bit unsigned.  All other registers stay as
        they are.  StubRefused: the thread does not execute it.
        """
        register, state = access.register, self._stub.read("msr")
        before = self._stub.read(register) if value is None else value
        registers = {register: before, "pc": access.address, "msr": state}
        with self._alone.executed(registers, (access.address + 4,)):
            return self._stub.read(register)

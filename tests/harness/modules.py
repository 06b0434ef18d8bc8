# SPDX-License-Identifier: MIT
"""For gdb: read a kernel module's symbols when the guest loads it, as the kernel's lx-symbols does.

The breakpoint's stop() reads the symbols and returns False, so the guest runs on.  It reads the
kernel's structures by hand, for Debian's kernel has no debugging information.
"""

from __future__ import annotations

import gdb

NAME = 24
"""Offset of `name` in `struct module` (after the state and a list head)."""
PAGE = 0x1000


class ModuleLoad(gdb.Breakpoint):
    """The breakpoint.

    files: module name -> its object file.  seen: names and addresses of the modules loaded so far.
    """

    def __init__(self, files: dict[str, str]) -> None:
        # The function's local entry, where calls within the kernel go.  gdb cannot read the code
        # before the kernel runs, so its own choice would change when it reads symbols later.
        super().__init__("*(long)&do_init_module + 8", type=gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self.files = files
        self.seen: list[tuple[str, int]] = []

    def stop(self) -> bool:
        """Read the symbols of the module that do_init_module gets."""
        inferior = gdb.selected_inferior()
        module = int(gdb.parse_and_eval("(unsigned long)$r3"))
        structure = bytes(inferior.read_memory(module, PAGE))
        name = structure[NAME : NAME + 56].partition(b"\0")[0].decode()
        base = _base(structure, module)
        self.seen.append((name, base))
        if name in self.files:
            # As lx-symbols does: a breakpoint that the user has disabled stays disabled.
            enabled = {one: one.enabled for one in gdb.breakpoints() if one is not self}
            gdb.execute(f"add-symbol-file {self.files[name]} {base:#x}", to_string=True)
            for one, was in enabled.items():
                one.enabled = was
        return False


def _base(structure: bytes, module: int) -> int:
    """The address of the module that contains this structure, by its layout's base and size."""
    for at in range(0, len(structure) - 16, 8):
        base = int.from_bytes(structure[at : at + 8], "little")
        size = int.from_bytes(structure[at + 8 : at + 12], "little")
        if base % PAGE == 0 and base <= module < base + size:
            return base
    raise gdb.GdbError(f"no layout in the structure at {module:#x}")

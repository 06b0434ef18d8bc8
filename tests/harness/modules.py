# SPDX-License-Identifier: MIT
"""For gdb: symbols of kernel modules when they are loaded, as the kernel's lx-symbols does it.

A breakpoint whose stop() loads the symbols and returns False, so that the guest runs on.  It reads
the structures by hand, for Debian's kernel has no debugging information.
"""

from __future__ import annotations

import gdb

NAME = 24
"""Offset of `name` in `struct module` (behind the state and a list head)."""
PAGE = 0x1000


class ModuleLoad(gdb.Breakpoint):
    """files: the object files of modules, by name.  seen: names and addresses of those loaded."""

    def __init__(self, files: dict[str, str]) -> None:
        # The local entry, where calls within the kernel go.  Where gdb would put it changes when
        # it reads symbols, for before the kernel runs it cannot read the code there.
        super().__init__("*(long)&do_init_module + 8", type=gdb.BP_BREAKPOINT, internal=True)
        self.silent = True
        self.files = files
        self.seen: list[tuple[str, int]] = []

    def stop(self) -> bool:
        """At do_init_module."""
        inferior = gdb.selected_inferior()
        module = int(gdb.parse_and_eval("(unsigned long)$r3"))
        structure = bytes(inferior.read_memory(module, PAGE))
        name = structure[NAME : NAME + 56].partition(b"\0")[0].decode()
        base = _base(structure, module)
        self.seen.append((name, base))
        if name in self.files:
            # lx-symbols keeps what the user has disabled disabled.
            enabled = {one: one.enabled for one in gdb.breakpoints() if one is not self}
            gdb.execute(f"add-symbol-file {self.files[name]} {base:#x}", to_string=True)
            for one, was in enabled.items():
                one.enabled = was
        return False


def _base(structure: bytes, module: int) -> int:
    """Where the module is that has the structure within itself: of its layout, base and size."""
    for at in range(0, len(structure) - 16, 8):
        base = int.from_bytes(structure[at : at + 8], "little")
        size = int.from_bytes(structure[at + 8 : at + 12], "little")
        if base % PAGE == 0 and base <= module < base + size:
            return base
    raise gdb.GdbError(f"no layout in the structure at {module:#x}")

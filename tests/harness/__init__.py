# SPDX-License-Identifier: MIT
"""Programs and classes that drive gdb and QEMU for tests/system and tests/bench.

`driver` drives a gdb.  `oracle` drives two gdbs: ours, and one on a stub that steps.  `faulty` and
`pipe` stand between gdb and the stub.  `walk`, `follow`, `replay` and `measure` run inside gdb.
`generate` makes programs.  `kernel` is for Linux guests.  `benchmark` is tests/bench.
"""

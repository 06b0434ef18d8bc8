# SPDX-License-Identifier: MIT
"""What drives gdb and QEMU for tests/system and tests/bench.

`driver` is a gdb to give commands to, `oracle` two of them: ours, and one on a stub that steps.
`faulty` and `pipe` stand between gdb and the stub.  `walk`, `follow`, `replay` and `measure` run
inside gdb, `generate` makes programs, `kernel` is for Linux guests, and `benchmark` is tests/bench.
"""

# SPDX-License-Identifier: MIT
"""A gdbstub as a machine: registers by name, memory, breakpoints, resuming.

This folder knows packets and byte orders, but neither gdb nor sockets: its caller gives it a
`Link`.  What one kind of stub does differently is in one class.

Read `link` and `stub`, then `pipeline` and `known`, then `kvm` with `view` and `words`; `introduce`
decides which kind of stub it is.
"""

# SPDX-License-Identifier: MIT
"""A gdbstub as a machine: registers by name, memory, breakpoints, resuming.

Knows packets and byte orders, but neither gdb nor sockets: whoever runs it gives it a `Link`.
What a stub does differently is said in one class.

Read `link` and `stub`, then `pipeline` and `known`, then `kvm` with `view` and `words`; `introduce`
decides which it is.
"""

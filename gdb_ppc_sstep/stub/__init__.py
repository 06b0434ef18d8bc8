# SPDX-License-Identifier: MIT
"""A gdbstub as a machine: registers by name, memory, breakpoints, resuming.

Knows packets and byte orders, but neither gdb nor sockets: whoever runs it gives it a `Link`.
Read `link`, `stub`, then `pipeline` and `known`, and `kvm` for what KVM does differently.
"""

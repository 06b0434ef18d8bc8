# SPDX-License-Identifier: MIT
"""The commands door: gdb.Commands that step by the engine on gdb's own connection.

A built-in that is replaced is gone until gdb ends, so all but `overrides` and `before` is loaded
only when the first connection needs it.

Read `overrides` and `stepping` for the commands, `before` for what comes before gdb's own; `door`,
`view` and `report` for how the guest is moved and gdb told; then `guards`.
"""

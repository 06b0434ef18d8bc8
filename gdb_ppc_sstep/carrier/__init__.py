# SPDX-License-Identifier: MIT
"""How both doors get packets to a stub: RSP over a descriptor, and the engine's `Link` over that.

This folder knows neither gdb nor who else is connected: the layer also serves gdb, the commands
door also looks for Ctrl-C.

Read `streams`, `peer` and `link`.
"""

# SPDX-License-Identifier: MIT
"""The commands door: gdb.Commands that step by the engine on gdb's own connection."""

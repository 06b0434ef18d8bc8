# SPDX-License-Identifier: MIT
"""The commands door, as far as it works without gdb."""

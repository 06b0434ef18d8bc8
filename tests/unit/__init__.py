# SPDX-License-Identifier: MIT
"""Tests without gdb and QEMU: folders as those of the product, and `machine`, a simulated guest."""

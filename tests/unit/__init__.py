# SPDX-License-Identifier: MIT
"""Tests without gdb and QEMU: a folder for each folder of the product, and a simulated guest.

`machine` is that guest.
"""

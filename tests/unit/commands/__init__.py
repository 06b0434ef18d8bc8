# SPDX-License-Identifier: MIT
"""Tests of the commands door, as far as it works without gdb."""

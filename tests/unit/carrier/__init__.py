# SPDX-License-Identifier: MIT
"""Tests of how both doors get packets to a stub."""

# SPDX-License-Identifier: MIT
"""Tests of what words and MSRs tell: pure, against binutils and against words made by hand."""

# SPDX-License-Identifier: MIT
"""What a word and an MSR tell: pure, so against binutils and against words by hand."""

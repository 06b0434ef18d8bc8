# SPDX-License-Identifier: MIT
"""The Remote Serial Protocol: what packets say, not what is done about them.  Pure.

Read `framing`, `resume`, `effects`, then `breakpoints`, `description` and `private`.
"""

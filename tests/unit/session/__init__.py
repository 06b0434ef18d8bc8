# SPDX-License-Identifier: MIT
"""gdb's side, as far as it works without gdb."""

# SPDX-License-Identifier: MIT
"""gdb's side: settings, commands, events, and which of gdb's connections are taken."""

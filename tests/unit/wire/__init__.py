# SPDX-License-Identifier: MIT
"""The layer's process, over real sockets.

Reading order: `rig`, `test_greet`, `test_forward`, `test_stepping`, then how each side may go away.
"""

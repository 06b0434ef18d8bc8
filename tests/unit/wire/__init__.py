# SPDX-License-Identifier: MIT
"""Tests of the layer's process, over real sockets.

Reading order: `rig`, `test_greet`, `test_forward`, `test_stepping`, then how each side may go away.
"""

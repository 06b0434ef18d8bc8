# SPDX-License-Identifier: MIT
"""The layer: a process between gdb and the stub, RSP in and RSP out.

It answers gdb's step requests by the engine and forwards the rest.
"""

# SPDX-License-Identifier: MIT
"""The layer: a process between gdb and the stub, RSP in and RSP out.

It answers gdb's step requests by the engine, and forwards the rest.

Read `peer`, `wire` and `link` for how bytes get there, then `layer`, `forward`, `requests` and
`lines` for what is done with a packet.  `process` starts it for gdb.  `standalone` does by itself:
there `service`, `refusal`, `companion` and `addresses`.
"""

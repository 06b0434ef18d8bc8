# SPDX-License-Identifier: MIT
"""The layer: a process between gdb and the stub, RSP in and RSP out.

The engine answers gdb's step requests; the layer forwards the rest to the stub.

Read `peer`, `wire` and `link` for how bytes get there, then `layer`, `forward`, `requests` and
`lines` for what is done with a packet.  `process` runs the layer as gdb's child.  `standalone` runs
it without gdb, as `gdb-ppc-sstep`: with `service`, `refusal`, `companion` and `addresses`.
"""

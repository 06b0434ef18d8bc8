# SPDX-License-Identifier: MIT
"""What an instruction word and an MSR tell about a step.  Pure: no gdb, no stub, no state.

Read `msr`, `isa`, `faults`, `strategy`; then `ranges`, `spr_code`, `access`, `dawr`, `linux_code`.
"""

# SPDX-License-Identifier: MIT
"""One step, and everything else that resumes the guest, on any stub.

No gdb, no sockets: both doors run this code, and the unit tests run it on a simulated machine.  The
state of a step is in the ledger; only `runner`, `past` and `alone` resume the guest.

Read `steps`, `ledger` and `targets` for what a step is; `planner`, `runner` and `settle` for how it
goes; then `stepper` and `engine`.  `watchpoints` names the rooms that deal with watchpoints.
"""

# SPDX-License-Identifier: MIT
"""What differs at the commands door from native stepping, each with its reason: all of it is here.

Tests that run at both doors leave out there what is named here, and nothing else.
"""

from __future__ import annotations

from tests.harness.driver import gdb_version

DOORS = ("wire", "commands")

HARDWARE = (
    "gdb steps behind a stub's watchpoint and asks no breakpoint: so all are gdb's, in software"
)
RECORD = "gdb's recorder makes each step itself and asks no breakpoint: it is refused"

PIECES = (
    "gdb 18 lets a call in pieces begin inside of a call of its own (DW_AT_entry_pc, an empty "
    "range): no command of gdb's shows the outer one alone where another piece of both begins, so "
    "`step` shows the inner one at once"
)

SCRIPTS = {
    "hardware watchpoint": HARDWARE,
    "hardware watchpoints": HARDWARE,
    "watch a member": HARDWARE,
    "recorded": RECORD,
}
"""Scripts of test_run_control and test_shapes."""

NEWEST = {"step into calls in pieces": PIECES}
"""Scripts of test_inlined that differ with gdb 18 and later."""

PAUSE = (
    "where a breakpoint that does not stop is hit all the time, a pause may have to be asked for "
    "again, as natively"
)
"""test_dap: at the wire door each one is seen."""

HALTED = "a vCPU that the guest has not started makes no stop, not even where it stands"
"""`stepi` of such a one: in test_breakpoints_of_one_vcpu at the wire door alone."""

SAID = (
    "ppc-sstep: gdb evaluates watchpoints after each step, which is slow; they are fast with `set "
    "ppc-sstep door wire`, in a new gdb.\n"
)
"""What gdb without us does not say."""


def runs_at(door: str, script: str) -> bool:
    """Whether a script shows at this door what native stepping shows."""
    if door == "wire":
        return True
    return script not in SCRIPTS and not (script in NEWEST and gdb_version()[0] >= 18)

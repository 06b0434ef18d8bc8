# SPDX-License-Identifier: MIT
"""Stepping, on a simulated machine whose stub ignores step requests.

What a step has to leave is what `Machine.native` leaves: one instruction, executed without anything
of ours.  Reading order: `bench`, `test_one_step`, `test_resume_packets`, then what may go wrong.
"""

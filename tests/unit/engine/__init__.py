# SPDX-License-Identifier: MIT
"""Tests of stepping, on a simulated machine whose stub ignores step requests.

A step must leave what `Machine.native` leaves: one instruction, executed without anything of ours.
Reading order: `bench`, `test_one_step`, `test_resume_packets`, then what may go wrong.
"""

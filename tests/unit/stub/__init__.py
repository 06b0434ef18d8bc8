# SPDX-License-Identifier: MIT
"""The stub as a machine: what is queued, what is known, and what KVM does differently."""

# SPDX-License-Identifier: MIT
"""The remote protocol: pure, from bytes to packets and back."""

# SPDX-License-Identifier: MIT
"""The version, said once: for pyproject.toml, `gdb-ppc-sstep --version` and reports."""

VERSION = "0.1.0"

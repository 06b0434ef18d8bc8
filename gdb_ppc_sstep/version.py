# SPDX-License-Identifier: MIT
"""The version, written only here: for pyproject.toml, `gdb-ppc-sstep --version` and bug reports."""

VERSION = "0.1.0"

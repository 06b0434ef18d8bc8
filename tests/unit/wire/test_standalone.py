# SPDX-License-Identifier: MIT
"""What `gdb-ppc-sstep` understands by an address; the rest is in tests/system."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.wire.standalone import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1234", ("localhost", 1234)),
        (":1234", ("localhost", 1234)),
        ("host.example:1", ("host.example", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("/run/gdb", "/run/gdb"),
        ("./1234", "./1234"),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":x", "1:65536", "-1"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=text or "^$"):
        parse_address(text)

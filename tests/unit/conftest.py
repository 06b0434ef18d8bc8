# SPDX-License-Identifier: MIT
"""Have a failed assertion in a helper show its values, as pytest does for one in a test."""

import pytest

for helper in ("engine.bench", "engine.failures", "wire.rig"):
    pytest.register_assert_rewrite(f"tests.unit.{helper}")

# SPDX-License-Identifier: MIT
"""A failed assertion in a helper shows its values, as one in a test does."""

import pytest

for helper in ("engine.bench", "engine.failures", "wire.rig"):
    pytest.register_assert_rewrite(f"tests.unit.{helper}")

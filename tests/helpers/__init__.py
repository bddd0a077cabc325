"""Functions and constants that several test files share."""

import pytest

for name in ("browsing", "refusals", "runs", "training"):
    pytest.register_assert_rewrite(f"helpers.{name}")  # their assertions show values when they fail, as those of tests

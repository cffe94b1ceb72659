"""Checks as single tests of pytest, which only this module imports."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from .methods import Check


def each(checks: Mapping[str, Check]) -> pytest.MarkDecorator:
    """Decorates a test with the argument ``check``, which then runs once for each of ``checks``, by its name."""
    return pytest.mark.parametrize("check", [pytest.param(check, id=name) for name, check in checks.items()])

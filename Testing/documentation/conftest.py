"""Fixtures of the tests that run what the documentation shows."""

import functools

import pytest

from contrastiveseg.synthetic import settings


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sample-data`` makes volumes of 12 x 16 x 16 voxels, so that what is shown runs in seconds."""
    small = functools.partial(settings.SyntheticSettings, size=(12, 16, 16), spacing=(20.0, 20.0, 22.0))
    monkeypatch.setattr(settings, "SyntheticSettings", small)

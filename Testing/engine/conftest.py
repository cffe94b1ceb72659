"""Fixtures that several tests of the engine share."""

from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a training is to write its checkpoint; its folder is not there yet."""
    return tmp_path / "out" / "organs.safetensors"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where imported weights are to go."""
    return tmp_path / "imported.safetensors"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list:
    """The jobs that the command line asks for, instead of doing them."""
    from contrastiveseg.jobs import run as runner

    jobs: list = []

    def take(job, emit, cancelled):
        jobs.append(job)
        return {"written": ["x.nii.gz"], "failures": []}

    monkeypatch.setattr(runner, "run", take)
    return jobs

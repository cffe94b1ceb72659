"""Libraries are not searched for garbage while they load, nor when a command ends."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys

import pytest

from contrastiveseg.descriptions import QualityJob
from contrastiveseg.garbage import unsearched
from contrastiveseg.jobs import run as running


def test_inside_nothing_is_searched_and_after_it_all_is_as_before():
    assert gc.isenabled()
    with unsearched():
        assert not gc.isenabled()
        with unsearched():
            pass
        assert not gc.isenabled(), "who had turned it off wants it off"
    assert gc.isenabled()


def test_what_fails_inside_leaves_it_as_before():
    with pytest.raises(ZeroDivisionError), unsearched():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_a_job_s_libraries_load_unsearched(monkeypatch):
    seen: dict[str, bool] = {}

    def loaded(name: str, package: str):
        seen["while loading"] = gc.isenabled()
        module = importlib.import_module(name, package)
        monkeypatch.setattr(module, "quality", lambda *given: seen.update({"while working": gc.isenabled()}))
        return module

    class Importing:
        import_module = staticmethod(loaded)

    monkeypatch.setattr(running, "importlib", Importing)
    running.run(QualityJob(input=(__file__,), segmentations=__file__))
    assert seen == {"while loading": False, "while working": True}


def test_a_command_that_ends_searches_its_libraries_no_more():
    program = (
        "import atexit, gc\n"
        "from contrastiveseg.cli import main\n"
        "atexit.register(lambda: print('left alone:', gc.get_freeze_count() > 1000))\n"
        "main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "left alone: True"

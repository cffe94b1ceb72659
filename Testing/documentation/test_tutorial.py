"""The commands of README and of the tutorial in the terminal run as printed, with small volumes and budgets."""

import re
import shlex

import pytest
from pages import ROOT, blocks

from contrastiveseg.cli import main

QUICK = "--steps 2 --precision 32 --threads 1"


def commands(page: str) -> list[list[str]]:
    """The arguments of every ``contrastiveseg`` in the page's bash blocks, with the budget of a test."""
    lines = "\n".join(blocks(ROOT / page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(re.sub(r"--minutes \d+", QUICK, line), comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["contrastiveseg"]]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/terminal.md"])
def test_commands_run_as_printed(page, small_samples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = commands(page)
    assert {"sample-data", "finetune", "segment", "evaluate"} <= {words[0] for words in run}
    for words in run:
        words = ["6" if before == "--cases" else word for before, word in zip(["", *words], words, strict=False)]
        assert main(words) == 0, (words, capsys.readouterr())
        capsys.readouterr()

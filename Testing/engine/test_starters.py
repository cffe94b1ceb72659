"""The checkpoints that ship, by name: from Python, the terminal, the worker's jobs and the panel's scripts alike."""

import subprocess
import sys
from pathlib import Path

import pytest

from contrastiveseg.checkpoints.header import digest, read_card
from contrastiveseg.checkpoints.starters import checkpoint_path, starter, starters
from contrastiveseg.cli import main
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.jobs.worker import job_from


def test_every_starter_is_a_generic_pre_trained_checkpoint():
    assert starters() == ("synthetic-labels-3d-tiny", "macl-3d-tiny")
    assert starter() == starter("synthetic-labels-3d-tiny")
    for name in starters():
        card = read_card(starter(name))
        assert card.kind == "pretrained"
        assert {channel.modality for channel in card.plan.channels} == {"any"}


def test_a_name_with_the_prefix_is_a_starter_and_anything_else_a_path():
    assert checkpoint_path("starter:macl-3d-tiny") == starter("macl-3d-tiny")
    assert checkpoint_path("models/liver.safetensors") == Path("models/liver.safetensors")
    assert checkpoint_path(Path("starter")) == Path("starter")


@pytest.mark.parametrize("name", ["liver", "", "../macl-3d-tiny", "macl-3d-tiny.safetensors"])
def test_an_unknown_starter_is_refused_with_those_there_are(name):
    with pytest.raises(InputError, match=rf"no starter '{name}'. There are: synthetic-labels-3d-tiny, macl-3d-tiny"):
        checkpoint_path(f"starter:{name}")


def test_names_are_found_without_loading_anything_heavy():
    code = (
        "import sys\nfrom contrastiveseg.checkpoints.starters import checkpoint_path\n"
        "assert checkpoint_path('starter:macl-3d-tiny').is_file()\n"
        "assert not {'torch', 'monai', 'SimpleITK', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_job_fine_tunes_from_a_starter_by_name(dataset, tmp_path):
    output = tmp_path / "organs.safetensors"
    fields = {"images": [str(dataset)], "output": str(output), "steps": 1, "precision": "32", "threads": 1}
    result = run(job_from({"kind": "finetune", "checkpoint": "starter:macl-3d-tiny", **fields}))
    assert "encoder" in result.transfer.loaded
    assert read_card(output).provenance.base == digest(starter("macl-3d-tiny"))


def test_the_terminal_knows_starters_by_name(capsys, dataset, tmp_path):
    assert main(["inspect", "starter:macl-3d-tiny"]) == 0
    assert "method       macl" in capsys.readouterr().out
    wrong = ["finetune", "--checkpoint", "starter:liver", "--images", str(dataset), "--steps", "1"]
    assert main([*wrong, "--output", str(tmp_path / "organs.safetensors")]) == 2
    assert "There are: synthetic-labels-3d-tiny, macl-3d-tiny" in capsys.readouterr().err
    # Who leaves out the word before it, or does not know a name, is told.
    for name in ("macl-3d-tiny", "starter"):
        assert main(["inspect", name]) == 2
        assert "named starter:synthetic-labels-3d-tiny and starter:macl-3d-tiny." in capsys.readouterr().err
    assert main(["finetune", *wrong[3:], "--output", str(tmp_path / "organs.safetensors")]) == 2
    assert "give one to start from, starter:synthetic-labels-3d-tiny, or none" in capsys.readouterr().err
    assert main(["segment", "--checkpoint", "starter:macl-3d-tiny", "--input", str(dataset), "--output", "x/"]) == 2
    # As it was typed, not by its file within the package.
    assert "Error: starter:macl-3d-tiny was only pre-trained" in capsys.readouterr().err

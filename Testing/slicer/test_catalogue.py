"""The catalogue on real checkpoint files: what it lists, takes in, and refuses."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from ContrastiveSegLib.errors import InputError

STARTER = Path(__file__).resolve().parents[2] / "ContrastiveSeg/Resources/Checkpoints/starter-macl-3d-tiny.safetensors"


@pytest.fixture
def catalogue(tmp_path, _honest):
    from ContrastiveSegPanel.catalogue import Catalogue

    return Catalogue(STARTER.parent, tmp_path / "models")


def names(catalogue):
    return [entry.name for entry in catalogue.entries()]


def test_starters_are_listed_though_there_is_no_models_folder_yet(catalogue):
    (entry,) = catalogue.entries()
    assert (entry.name, entry.origin, entry.segments) == ("starter-macl-3d-tiny", "starter", False)
    assert entry.card.method == "macl"


def test_own_checkpoints_follow_the_starters(catalogue, segmenter):
    added = catalogue.add(segmenter)
    assert added == catalogue.models / "organs.safetensors"
    assert added.read_bytes() == segmenter.read_bytes()
    entry = catalogue.entries()[-1]
    assert (entry.path, entry.origin, entry.segments) == (added, "mine", True)


def test_nothing_is_overwritten(catalogue, segmenter, pretrained, tmp_path):
    first = catalogue.add(segmenter)
    other = shutil.copy(pretrained, tmp_path / "organs.safetensors")
    second = catalogue.add(Path(other))
    assert second.name == "organs-2.safetensors"
    assert first.read_bytes() == segmenter.read_bytes()


def test_a_file_that_is_there_is_not_copied_again(catalogue, segmenter, tmp_path):
    first = catalogue.add(segmenter)
    assert catalogue.add(first) == first
    assert catalogue.add(Path(shutil.copy(segmenter, tmp_path / "again.safetensors"))) == first
    assert catalogue.add(STARTER) == STARTER
    assert names(catalogue) == ["starter-macl-3d-tiny", "organs"]


def test_a_file_that_is_no_checkpoint_is_not_taken_in(catalogue, tmp_path):
    wrong = tmp_path / "weights.safetensors"
    wrong.write_bytes(b"nothing of ours")
    with pytest.raises(InputError, match="not a checkpoint"):
        catalogue.add(wrong)
    assert not catalogue.models.exists()


def test_a_broken_file_is_listed_with_its_reason(catalogue, segmenter):
    added = catalogue.add(segmenter)
    added.write_bytes(added.read_bytes()[:-10])
    entry = catalogue.entries()[-1]
    assert entry.card is None
    assert "truncated" in entry.problem
    # Mended, it is read again.
    added.write_bytes(segmenter.read_bytes())
    assert catalogue.entries()[-1].segments


def test_what_is_no_checkpoint_or_half_written_is_not_listed(catalogue, segmenter):
    catalogue.add(segmenter)
    (catalogue.models / "notes.txt").write_text("mine")
    (catalogue.models / ".organs.safetensors-x1.safetensors").write_bytes(b"half")
    assert names(catalogue) == ["starter-macl-3d-tiny", "organs"]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("My liver: v2/3", "My-liver-v2-3"),
        ("..", "checkpoint"),
        ("", "checkpoint"),
        ("Leber größer", "Leber-größer"),
        ("liver.safetensors", "liver"),
        ("liver.SafeTensors ", "liver"),
        (".safetensors", "checkpoint"),
    ],
)
def test_a_new_name_fits_any_file_system(catalogue, wanted, name):
    path = catalogue.new_path(wanted)
    assert (path.parent, path.name) == (catalogue.models, f"{name}.safetensors")


def test_a_new_name_is_nobodys(catalogue, segmenter):
    catalogue.add(segmenter)
    assert catalogue.new_path("organs").name == "organs-2.safetensors"
    assert catalogue.new_path("starter-macl-3d-tiny").name == "starter-macl-3d-tiny-2.safetensors"


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("heart.safetensors", "Heart"),
        ("HEART.safetensors", "heart.safetensors"),
        ("heart.safetensors.resume", "Heart"),
        (unicodedata.normalize("NFD", "größe.safetensors"), "Größe"),
    ],
)
def test_a_new_name_is_nobodys_on_file_systems_that_do_not_tell_names_apart(catalogue, there, wanted):
    catalogue.models.mkdir()
    (catalogue.models / there).write_bytes(b"")
    assert catalogue.new_path(wanted).name == f"{wanted.removesuffix('.safetensors')}-2.safetensors"

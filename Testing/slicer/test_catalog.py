"""The catalog on real checkpoint files: what it lists, takes in, and refuses."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from contrastiveseg.errors import InputError

STARTER = Path(__file__).resolve().parents[2] / "ContrastiveSeg/contrastiveseg/starters/macl-3d-tiny.safetensors"


@pytest.fixture
def catalog(tmp_path, _honest):
    from ContrastiveSegPanel.workflows.catalog import Catalog

    return Catalog(STARTER.parent, tmp_path / "models")


def names(catalog):
    return [entry.name for entry in catalog.entries()]


def test_starters_are_listed_though_there_is_no_models_folder_yet(catalog):
    default, entry = catalog.entries()
    assert (default.name, default.origin, default.segments) == ("synthetic-labels-3d-tiny", "starter", False)
    assert (entry.name, entry.origin, entry.segments) == ("macl-3d-tiny", "starter", False)
    assert [default.card.method, entry.card.method] == ["synthetic-labels", "macl"]


def test_own_checkpoints_follow_the_starters(catalog, segmenter):
    added = catalog.add(segmenter)
    assert added == catalog.models / "organs.safetensors"
    assert added.read_bytes() == segmenter.read_bytes()
    entry = catalog.entries()[-1]
    assert (entry.path, entry.origin, entry.segments) == (added, "mine", True)


def test_nothing_is_overwritten(catalog, segmenter, pretrained, tmp_path):
    first = catalog.add(segmenter)
    other = shutil.copy(pretrained, tmp_path / "organs.safetensors")
    second = catalog.add(Path(other))
    assert second.name == "organs-2.safetensors"
    assert first.read_bytes() == segmenter.read_bytes()


def test_a_file_that_is_there_is_not_copied_again(catalog, segmenter, tmp_path):
    first = catalog.add(segmenter)
    assert catalog.add(first) == first
    assert catalog.add(Path(shutil.copy(segmenter, tmp_path / "again.safetensors"))) == first
    assert catalog.add(STARTER) == STARTER
    assert names(catalog) == ["synthetic-labels-3d-tiny", "macl-3d-tiny", "organs"]


def test_a_file_that_is_no_checkpoint_is_not_taken_in(catalog, tmp_path):
    wrong = tmp_path / "weights.safetensors"
    wrong.write_bytes(b"nothing of ours")
    with pytest.raises(InputError, match="not a checkpoint"):
        catalog.add(wrong)
    assert not catalog.models.exists()


def test_a_broken_file_is_listed_with_its_reason(catalog, segmenter):
    added = catalog.add(segmenter)
    added.write_bytes(added.read_bytes()[:-10])
    entry = catalog.entries()[-1]
    assert entry.card is None
    assert "truncated" in entry.problem
    # Mended, it is read again.
    added.write_bytes(segmenter.read_bytes())
    assert catalog.entries()[-1].segments


def test_one_bad_file_never_hides_the_others(catalog, segmenter, monkeypatch):
    from ContrastiveSegPanel.workflows import catalog as module

    added = catalog.add(segmenter)
    read = module.read_card

    def failing(path):
        if path == added:
            raise RecursionError("too deep")
        return read(path)

    monkeypatch.setattr(module, "read_card", failing)
    catalog = module.Catalog(catalog.starters, catalog.models)
    assert names(catalog) == ["synthetic-labels-3d-tiny", "macl-3d-tiny", "organs"]
    entry = catalog.entries()[-1]
    assert (entry.card, entry.problem) == (None, f"{added} cannot be read: too deep.")


def test_what_is_no_checkpoint_or_half_written_is_not_listed(catalog, segmenter):
    catalog.add(segmenter)
    (catalog.models / "notes.txt").write_text("mine")
    (catalog.models / ".organs.safetensors-x1.safetensors").write_bytes(b"half")
    assert names(catalog) == ["synthetic-labels-3d-tiny", "macl-3d-tiny", "organs"]


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
def test_a_new_name_fits_any_file_system(catalog, wanted, name):
    path = catalog.new_path(wanted)
    assert (path.parent, path.name) == (catalog.models, f"{name}.safetensors")


def test_a_new_name_is_nobodys(catalog, segmenter):
    catalog.add(segmenter)
    assert catalog.new_path("organs").name == "organs-2.safetensors"
    assert catalog.new_path("macl-3d-tiny").name == "macl-3d-tiny-2.safetensors"


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("heart.safetensors", "Heart"),
        ("HEART.safetensors", "heart.safetensors"),
        ("heart.safetensors.resume", "Heart"),
        (unicodedata.normalize("NFD", "größe.safetensors"), "Größe"),
    ],
)
def test_a_new_name_is_nobodys_on_file_systems_that_do_not_tell_names_apart(catalog, there, wanted):
    catalog.models.mkdir()
    (catalog.models / there).write_bytes(b"")
    assert catalog.new_path(wanted).name == f"{wanted.removesuffix('.safetensors')}-2.safetensors"

"""Files of a MONAI bundle: folders and archives, JSON and YAML, TorchScript that is read without being run."""

import io
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from test_monai_bundle import INFERENCE, METADATA, bundle, imported, reversed_axes, small_segresnet

from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.checkpoints.torchscript import is_torchscript, torchscript_tensors
from contrastiveseg.errors import InputError


def test_torchscript_is_read_without_being_run(tmp_path, output):
    theirs = small_segresnet()
    folder = bundle(tmp_path / "bundle", theirs)
    script = folder / "models" / "model.ts"
    torch.jit.save(torch.jit.trace(theirs, torch.randn(1, 1, 16, 16, 16)), str(script))
    assert is_torchscript(script)
    assert not is_torchscript(folder / "models" / "model.pt")
    found, wanted = torchscript_tensors(script), theirs.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())
    (folder / "models" / "model.pt").unlink()
    imported(folder, output)
    _, ours = open_segmenter(output)
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(reversed_axes(ours.eval()(reversed_axes(x))), theirs(x), rtol=1e-4, atol=1e-5)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_code_in_a_torchscript_file_is_never_run(tmp_path, output, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = bundle(tmp_path / "bundle") / "models" / "model.ts"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("model/code/model.py", "raise")
        archive.writestr("model/data.pkl", pickle.dumps(Harmful(), 2))
    with pytest.raises(InputError, match="cannot be read as a TorchScript file"):
        imported(script, output)
    assert not Path("ran").exists()


class Stored:
    """In a pickle, one number of the archive."""


class Repeated:
    """A tensor that repeats one number by strides of 0."""

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (Stored(), 0, (2**20, 2**20), (0, 0), False, {})


class Pickler(pickle.Pickler):
    def persistent_id(self, one):
        return ("storage", torch.FloatStorage, "0", "cpu", 1) if isinstance(one, Stored) else None


def test_a_torchscript_tensor_larger_than_its_values_is_refused(tmp_path):
    script, pickled = tmp_path / "model.ts", io.BytesIO()
    Pickler(pickled, 2).dump(Repeated())
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("model/data.pkl", pickled.getvalue())
        archive.writestr("model/data/0", bytes(4))
    with pytest.raises(InputError, match="tensors are larger than its values"):
        torchscript_tensors(script)


def test_what_is_no_bundle_is_refused(tmp_path, output):
    for make, words in (
        (lambda folder: folder.mkdir(), "is no MONAI bundle"),
        (lambda folder: (folder / "configs").mkdir(parents=True), r"inference\.json \(or \.yaml\)"),
        (lambda folder: (bundle(folder) / "configs" / "metadata.json").unlink(), "There is no file"),
        (lambda folder: (bundle(folder) / "configs" / "inference.json").write_text("[" * 9**6), "not a JSON file"),
        (lambda folder: (bundle(folder) / "models" / "model.pt").unlink(), "holds 0 files of weights"),
    ):
        folder = tmp_path / words[:12].replace(" ", "-")
        make(folder)
        with pytest.raises(InputError, match=words):
            imported(folder, output)


def zipped(folder: Path, within: str = "") -> Path:
    """The folder as an archive, below ``within``."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as packed:
        for file in sorted(folder.rglob("*.*")):
            packed.write(file, f"{within}{file.relative_to(folder)}")
    return archive


@pytest.mark.parametrize("within", ["", "spleen_ct/", "downloads/spleen_ct/"])
def test_an_archive_of_a_bundle_is_the_bundle(within, tmp_path, output):
    folder = bundle(tmp_path / "bundle", metadata={**METADATA, "name": ""})
    imported(folder, output)
    imported(zipped(folder, within), tmp_path / "zipped.safetensors")
    (card, weights), (other, theirs) = load(output), load(tmp_path / "zipped.safetensors")
    assert all(torch.equal(weights[name], theirs[name]) for name in weights)
    named = within.rstrip("/").rpartition("/")[2] or "bundle"
    assert other.provenance.base_method == f"{named}, imported from monai"
    assert (other.labels, other.plan) == (card.labels, card.plan)


def test_archives_without_a_bundle_or_damaged_are_refused(tmp_path, output):
    folder = bundle(tmp_path / "bundle")
    whole = zipped(folder).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("../configs.txt", "x")
    (folder / "models" / "model.pt").rename(folder / "models" / "one.pt")
    (folder / "models" / "two.pt").touch()
    zipped(folder)
    for name, words in (
        ("cut.zip", "cannot be opened as an archive"),
        ("other.zip", "holds no MONAI bundle"),
        ("bundle.zip", "holds 2 files of weights"),
    ):
        with pytest.raises(InputError, match=words):
            imported(tmp_path / name, output)


def test_a_configuration_in_yaml_is_read_as_plain_values(tmp_path, output, monkeypatch):
    yaml = pytest.importorskip("yaml")
    folder = bundle(tmp_path / "bundle")
    imported(folder, output)
    (folder / "configs" / "inference.json").unlink()
    config = folder / "configs" / "inference.yaml"
    config.write_text(yaml.safe_dump(INFERENCE))
    imported(zipped(folder), tmp_path / "yaml.safetensors")
    (card, weights), (other, theirs) = load(output), load(tmp_path / "yaml.safetensors")
    assert all(torch.equal(weights[name], theirs[name]) for name in weights)
    assert (other.labels, other.plan) == (card.labels, card.plan)
    touched = tmp_path / "touched"
    for text, words in (
        (f"a: !!python/object/apply:os.mkdir ['{touched}']", "could not determine a constructor"),
        ("a: &a [1]\nb: [*a, *a]", r"refers to parts by \*NAME"),
        ("a: [", "is not a YAML file"),
        ("[" * 5000, "is not a YAML file"),
    ):
        config.write_text(text)
        with pytest.raises(InputError, match=words):
            imported(folder, tmp_path / "none.safetensors")
    assert not touched.exists()
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r'pip install "contrastiveseg\[bundles\]"'):
        imported(folder, tmp_path / "none.safetensors")

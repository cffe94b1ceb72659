"""A model as ONNX and as a MONAI bundle: the same numbers from a tile, the same label map from a volume."""

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from contrastiveseg.checkpoints.card import Card, Label, Provenance
from contrastiveseg.checkpoints.format import save
from contrastiveseg.checkpoints.header import digest
from contrastiveseg.descriptions import ExportJob
from contrastiveseg.errors import InputError
from contrastiveseg.exports.model import open_model, processing
from contrastiveseg.jobs.run import run
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Conventions, Normalization, Plan
from contrastiveseg.segmentation.predictor import Predictor

WINDOW = Normalization("window", -100.0, 300.0, 50.0, 80.0)


def checkpoint(path, dimensions, patch=None, **plan):
    """A network of two channels with random weights, which finds labels 3 and 7 in about a third of the voxels each."""
    torch.manual_seed(0)
    spec = NetworkSpec("unet", dimensions, 2, {"widths": [8, 16], "strides": [[2] * dimensions]})
    network = Segmenter(build(spec), 3)
    network.head.weight.data.normal_(0, 1)
    patch = patch or ((16, 16, 16) if dimensions == 3 else (16, 16, 1))
    channels = (Channel("T1", "MR"), Channel("CT", "CT", WINDOW))
    made = Plan(dimensions, channels, (1.0, 1.0, 1.0), patch, 2, **plan)
    labels = (Label(3, "liver"), Label(7, "spleen"))
    card = Card("segmenter", "supervised", spec, made, labels=labels, provenance=Provenance(license="CC-BY-4.0"))
    save(path, dict(network.state_dict()), card)
    return path


@pytest.fixture(params=[3, 2], ids=["3d", "2d"])
def model(request, tmp_path):
    return checkpoint(tmp_path / "organs.safetensors", request.param)


@pytest.fixture
def scan(tmp_path):
    """Two channels whose axes run to the head, the right and the front; two tiles along one of them."""
    random = np.random.default_rng(0)
    affine = np.array([[0, 1, 0, 5], [0, 0, 1, -3], [1, 0, 0, 2], [0, 0, 0, 1.0]])
    paths = [tmp_path / f"scan_000{n}.nii.gz" for n in (0, 1)]
    for path in paths:
        values = np.repeat(np.repeat(random.normal(100, 150, (14, 8, 8)), 2, 0), 2, 1).repeat(2, 2)
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), path)
    return paths


def export(model, to, output):
    assert run(ExportJob(to=to, checkpoint=str(model), output=str(output))).output == str(output)


def test_a_bundle_segments_as_we_do(model, scan, tmp_path):
    from monai import bundle

    export(model, "monai", tmp_path / "bundle")
    options = {"bundle_root": str(tmp_path / "bundle"), "output_dir": str(tmp_path / "out"), "device": "cpu"}
    with pytest.warns(UserWarning, match="eval"):
        bundle.run(
            "run",
            config_file=str(tmp_path / "bundle" / "configs" / "inference.json"),
            datalist=[{"image": [str(path) for path in scan]}],
            **options,
        )
    (written,) = (tmp_path / "out").iterdir()
    theirs = nibabel.load(written)
    ours = Predictor.open(model, "cpu", dtype=None)(scan).array.T
    np.testing.assert_allclose(theirs.affine, nibabel.load(scan[0]).affine)
    found = np.asarray(theirs.dataobj)
    assert [(ours == value).mean() > 0.02 for value in (0, 3, 7)] == [True] * 3
    # Where tiles overlap, MONAI's weights have a least value.
    apart = np.r_[:12, 16:28]
    assert (found[apart] == ours[apart]).mean() > 0.9995
    assert (found == ours).mean() > 0.98


def test_a_bundle_has_what_the_specification_asks_for(model, tmp_path):
    export(model, "monai", tmp_path / "bundle")
    files = {path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*.*")}
    assert files == {
        *("configs/metadata.json", "configs/inference.json", "models/model.ts", "models/model.pt"),
        *("docs/README.md", "docs/license.txt"),
    }
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    assert set(metadata) >= {
        *("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
        *("task", "description", "authors", "copyright", "network_data_format"),
    }
    data = metadata["network_data_format"]
    for side in (data["inputs"]["image"], data["outputs"]["pred"]):
        assert set(side) == {
            *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"),
            "channel_def",
        }
    assert data["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "liver", "2": "spleen"}
    assert metadata["contrastiveseg"]["checkpoint_sha256"] == digest(model)
    assert (tmp_path / "bundle" / "docs" / "license.txt").read_text() == "CC-BY-4.0\n"
    scripted = torch.jit.load(tmp_path / "bundle" / "models" / "model.ts")
    weights = torch.load(tmp_path / "bundle" / "models" / "model.pt", weights_only=True)
    assert set(scripted.state_dict()) == set(weights)
    opened = open_model(model)
    tile = opened.tile(2)
    turned = [0, 1, *range(tile.ndim - 1, 1, -1)]
    assert list(tile.permute(turned).shape[2:]) == data["inputs"]["image"]["spatial_shape"]
    with torch.no_grad():
        torch.testing.assert_close(scripted(tile.permute(turned)).permute(turned), opened.network(tile))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_bundle_goes_into_a_folder_whose_name_is_no_utf_8(tmp_path):
    """As after unpacking an archive with Japanese names of the time before."""
    folder = tmp_path / os.fsdecode(b"\xb4\xc1")
    folder.mkdir()
    export(checkpoint(tmp_path / "a.safetensors", 3), "monai", folder / "bundle")
    assert {path.name for path in (folder / "bundle/models").iterdir()} == {"model.ts", "model.pt"}


def test_a_full_disk_leaves_no_bundle(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    model = checkpoint(tmp_path / "a.safetensors", 3)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"No space left on the device while writing .*model\.ts"):
        export(model, "monai", tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_labels_of_one_piece_are_kept_so_in_a_bundle(segmenter, tmp_path):
    export(segmenter, "monai", tmp_path / "bundle")
    card = open_model(segmenter).card
    steps = json.loads((tmp_path / "bundle" / "configs" / "inference.json").read_text())["postprocessing"]["transforms"]
    (kept,) = [step for step in steps if step["_target_"] == "KeepLargestConnectedComponentd"]
    assert [card.labels[n - 1].value for n in kept["applied_labels"]] == list(card.one_piece)
    assert card.one_piece


def test_onnx_gives_the_networks_logits(model, tmp_path):
    pytest.importorskip("onnxscript", reason="an optional dependency: contrastiveseg[onnx]")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    export(model, "onnx", tmp_path / "onnx")
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == {"model.onnx", "processing.json"}
    described = json.loads((tmp_path / "onnx" / "processing.json").read_text())
    path, opened = str(tmp_path / "onnx" / "model.onnx"), open_model(model)
    onnx.checker.check_model(path)
    stored = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(stored["contrastiveseg"]) == described == json.loads(json.dumps(processing(opened)))
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        tile = opened.tile(batch)
        (logits,) = session.run([described["output"]["name"]], {described["input"]["name"]: tile.numpy()})
        assert list(logits.shape[1:]) == described["output"]["shape"][1:]
        with torch.no_grad():
            np.testing.assert_allclose(logits, opened.network(tile).numpy(), atol=1e-4)


def test_the_description_says_what_is_done(tmp_path):
    model = checkpoint(tmp_path / "a.safetensors", 2)
    told = processing(open_model(model))
    assert told["input"]["axes"] == ["batch", "channel", "z", "y"]
    assert told["output"]["classes"][2] == {"index": 2, "name": "spleen", "value": 7}
    assert "clip to -100 to 300, subtract 50, divide by 80" in " ".join(told["before"])
    assert "along x the volume's own" in told["before"][-1]
    other = Conventions("RAS", True, "nnunet-cubic", "zero", 0.5)
    opened = open_model(checkpoint(tmp_path / "b.safetensors", 3, conventions=other))
    opened = replace(opened, card=replace(opened.card, decision="last"))
    told = processing(opened)
    for words, steps in (("R, A, S", "before"), ("cut the volume", "before"), ("cubic splines", "before")):
        assert any(words in step for step in told[steps])
    assert "overlap by 0.5" in told["tiles"]
    assert any("whose logit is above 0" in step for step in told["behind"])


def test_what_cannot_be_exported_is_refused_and_nothing_is_left(pretrained, tmp_path, monkeypatch):
    imported = checkpoint(tmp_path / "b.safetensors", 3, conventions=Conventions(crop=True))
    large = checkpoint(tmp_path / "large.safetensors", 3, patch=(100_000, 100_000, 100_000))
    for to, model, says in (
        ("monai", imported, "MONAI has no transforms for how this imported model"),
        ("monai", large, "tiles of 100000x100000x100000 voxels"),
        ("monai", pretrained, "was only pre-trained"),
        ("monai", tmp_path / "none.safetensors", "There is no checkpoint"),
    ):
        with pytest.raises(InputError, match=says):
            export(model, to, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r'pip install "contrastiveseg\[onnx\]"'):
        export(imported, "onnx", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"b.safetensors", "large.safetensors"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match="is not empty"):
        export(imported, "monai", tmp_path / "out")

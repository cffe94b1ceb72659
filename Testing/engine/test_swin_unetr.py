"""MONAI's SwinUNETR: the same logits as MONAI's own network of each version, ready, as a start, and exported again."""

import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import SwinUNETR, swin_unetr
from torch import nn

from contrastiveseg.checkpoints.foreign import import_weights
from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.descriptions import ExportJob, FinetuneJob, ImportJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import load_transferred
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.testing.backbones import spec_checks

#: A small network whose windows of 4 voxels are clipped and shifted as those of the published ones are.
SMALL = {"feature_size": 12, "depths": (1, 2, 1, 1), "num_heads": (2, 2, 4, 4), "window_size": 4}
#: In the form of swin_unetr_btcv_segmentation of MONAI's model zoo.
NETWORK = {"_target_": "SwinUNETR", "spatial_dims": 3, "img_size": 96, "in_channels": 1, "out_channels": 3}
NETWORK |= {"feature_size": 12, "use_checkpoint": True}
INFERENCE = {
    "network_def": NETWORK,
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "ITKReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [20.0, 20.0, 22.0], "mode": "bilinear"},
            {
                **{"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -175, "a_max": 250},
                **{"b_min": 0.0, "b_max": 1.0, "clip": True},
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [64, 32, 32], "sw_batch_size": 4, "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
}
#: Places of the voxels of a cell that MONAI before 1.5 joins: two of them twice.
FORMER = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


@pytest.fixture(autouse=True)
def _without_einops(monkeypatch):
    """MONAI's own network permutes axes by einops, which the engine does without."""

    def rearrange(x, how):
        given, wanted = (words.split() for words in how.split("->"))
        return x.permute([given.index(axis) for axis in wanted])

    monkeypatch.setattr(swin_unetr, "rearrange", rearrange)


@pytest.fixture
def of_monai_1_4(monkeypatch):
    def merged(self, x):
        return self.reduction(self.norm(torch.cat([x[:, i::2, j::2, k::2] for i, j, k in FORMER], -1)))

    monkeypatch.setattr(swin_unetr.PatchMerging, "forward", merged)


def network(dimensions: int = 3, **more) -> nn.Module:
    torch.manual_seed(0)
    made = SwinUNETR(1, 3, spatial_dims=dimensions, **{**SMALL, **more}).eval()
    for name, tensor in made.named_parameters():
        if name.endswith("relative_position_bias_table"):  # nearly 0 at first
            nn.init.normal_(tensor)
    return made


def bundle(folder: Path, theirs: nn.Module, version: str | None, **described) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    inference = INFERENCE | {"network_def": NETWORK | described}
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    metadata = {"name": "Swin"} | ({"monai_version": version} if version else {})
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(theirs.state_dict(), folder / "models" / "model.pt")
    return folder


def imported(file: Path, source: str = "monai"):
    output = file.parent / "imported.safetensors"
    return import_weights(ImportJob(file=str(file), source=source, output=str(output))), output


def reversed_axes(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 1, *range(x.ndim - 1, 1, -1))


def assert_same_logits(output: Path, theirs: nn.Module):
    _, ours = open_segmenter(output)
    x = torch.randn(1, 1, 64, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(reversed_axes(ours.eval()(reversed_axes(x))), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_logits_are_those_of_monais_network(residual, tmp_path):
    theirs = network(use_v2=residual)
    report, output = imported(bundle(tmp_path / "bundle", theirs, "1.5.1", use_v2=residual))
    assert load(output)[0].network.arguments == {
        **{"width": 12, "depths": [1, 2, 1, 1], "heads": [2, 2, 4, 4], "window": 4, "residual": residual},
        "merging": "distinct",
    }
    assert all(name.endswith("relative_position_index") for name in report.skipped)
    assert_same_logits(output, theirs)


def test_logits_are_those_of_the_monai_that_the_bundle_names(of_monai_1_4, tmp_path):
    theirs = network()
    _, output = imported(bundle(tmp_path / "bundle", theirs, "1.4.0"))
    assert load(output)[0].network.arguments["merging"] == "repeated"
    assert_same_logits(output, theirs)


@pytest.mark.parametrize(
    ("version", "described", "says"),
    [
        (None, {}, "does not say the monai_version"),
        ("soon", {}, "does not say the monai_version"),
        ("1.5.0", {"downsample": "mergingv2"}, "downsample 'mergingv2' is not known"),
        ("1.5.0", {"normalize": False}, "normalize False is not known"),
    ],
)
def test_what_no_tensor_shows_is_refused(version, described, says, tmp_path):
    with pytest.raises(InputError, match=says):
        imported(bundle(tmp_path / "bundle", network(), version, **described))


@pytest.mark.parametrize("more", [{"window_size": (4, 4, 3)}, {"qkv_bias": False}, {"patch_norm": True}])
def test_another_swin_unetr_is_refused(more, tmp_path):
    with pytest.raises(InputError, match="not the SwinUNETR"):
        imported(bundle(tmp_path / "bundle", network(**more), "1.6.0"))


def test_it_segments_and_starts_a_fine_tuning(tmp_path, dataset):
    _, output = imported(bundle(tmp_path / "bundle", network(), "1.4.0"))
    image, found = dataset / "imagesTr" / "synthetic_00000.nii.gz", tmp_path / "found.nii.gz"
    run(SegmentJob(checkpoint=str(output), input=(str(image),), output=str(found), threads=1, precision="32"))
    assert found.is_file()
    common = {"images": (str(dataset),), "steps": 1, "precision": "32", "threads": 1}
    tuned = tmp_path / "tuned.safetensors"
    result = run(FinetuneJob(checkpoint=str(output), output=str(tuned), **common))
    assert result.transfer.fresh == ()
    card, _ = load(tuned)
    assert len(card.labels) == 3
    assert all(n % 32 == 0 for n in card.plan.patch)


def test_a_state_dict_is_a_start_and_the_version_is_the_users_choice(tmp_path):
    theirs, path = network(), tmp_path / "model.pt"
    torch.save({"state_dict": theirs.state_dict()}, path)
    report, output = imported(path, "swinunetr")
    left = {name for name in report.skipped if not name.endswith("relative_position_index")}
    assert left == {"out.conv.conv.weight", "out.conv.conv.bias"}
    card, weights = load(output)
    ours = build(card.network).eval()
    load_transferred(ours, weights, card.transferred)
    x = torch.randn(1, 1, 32, 32, 64)
    with torch.no_grad():
        found = reversed_axes(ours.decode(ours.encode(reversed_axes(x)))[-1])
        torch.testing.assert_close(theirs.out(found), theirs(x), rtol=1e-4, atol=1e-5)


def test_what_is_tuned_from_a_state_dict_becomes_a_bundle_again(tmp_path, dataset):
    path, base, tuned = tmp_path / "model.pt", tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    torch.save(network().state_dict(), path)
    said: list = []
    import_weights(ImportJob(file=str(path), source="swinunetr-1.4", output=str(base)), said.append)
    assert load(base)[0].network.arguments["merging"] == "repeated"
    assert any("which MONAI they were trained with" in getattr(event, "text", "") for event in said)
    run(FinetuneJob(checkpoint=str(base), images=(str(dataset),), output=str(tuned), steps=1, threads=1))
    run(ExportJob(to="monai", checkpoint=str(tuned), output=str(tmp_path / "again")))
    traced = torch.jit.load(str(tmp_path / "again" / "models" / "model.ts"))
    card, ours = open_segmenter(tuned)
    x = torch.randn(1, 1, *card.plan.patch)
    with torch.no_grad():
        torch.testing.assert_close(reversed_axes(traced(reversed_axes(x))), ours.eval()(x), rtol=1e-4, atol=1e-5)


def test_it_is_a_backbone_like_any_other(tmp_path):
    arguments = {"width": 12, "depths": [1, 2, 1, 1], "heads": [2, 2, 4, 4], "window": 4, "residual": True}
    for check in spec_checks(NetworkSpec("swinunetr", 2, 1, arguments)).values():
        check(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"depths": [2, 2]}, "four depths"),
        ({"width": 20}, "multiple of 12"),
        ({"heads": [5, 6, 12, 24]}, "heads that divide"),
        ({"window": 1}, "at least 2 voxels"),
        ({"merging": "each"}, "distinct or repeated"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        build(NetworkSpec("swinunetr", 3, 1, arguments))

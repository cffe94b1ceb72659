"""MONAI bundles, of networks with random weights in configurations like those of its model zoo."""

import copy
import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet, SegResNetDS
from torch import nn

from contrastiveseg.checkpoints.foreign import import_weights
from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.monai_config import Config
from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.descriptions import FinetuneJob, ImportJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import load_transferred
from contrastiveseg.planning.normalize import normalize
from contrastiveseg.planning.plan import Normalization
from contrastiveseg.testing.backbones import spec_checks

SEGRESNET = {"_target_": "SegResNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "init_filters": 8}
SEGRESNET |= {"blocks_down": [1, 1, 1], "blocks_up": [1, 1], "dropout_prob": 0.2}
STRIDES = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]

#: In the form of spleen_ct_segmentation and swin_unetr_btcv_segmentation of MONAI's model zoo.
INFERENCE = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "image_key": "image",
    "pixdim": [1.5, 1.25, 2.0],
    "device": "$torch.device('cpu')",
    "network_def": SEGRESNET,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "@image_key"},
            {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
            {"_target_": "monai.transforms.Orientationd", "keys": "@image_key", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
            {
                **{"_target_": "ScaleIntensityRanged", "keys": "@image_key"},
                **{"a_min": -57, "a_max": 164, "b_min": -1.0, "b_max": 1.0, "clip": True},
            },
            {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "_disabled_": True},
            {"_target_": "EnsureTyped", "keys": "@image_key"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 32, 8], "sw_batch_size": 4, "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"},
        ],
    },
}
METADATA = {
    "name": "Spleens",
    "license": "CC-BY-NC-4.0",
    "references": ["Doe, Spleens, 2026."],
    "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "channel_def": {"0": "scan"}}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen", "2": "liver"}}},
    },
}


def randomized(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def small_segresnet() -> nn.Module:
    return randomized(SegResNet(3, 8, 1, 3, 0.2, blocks_down=(1, 1, 1), blocks_up=(1, 1)))


def bundle(folder: Path, network: nn.Module | None = None, inference=INFERENCE, metadata=METADATA) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save((network or small_segresnet()).state_dict(), folder / "models" / "model.pt")
    return folder


def imported(path: Path, output: Path, **more):
    return import_weights(ImportJob(file=str(path), source="monai", output=str(output), **more))


def reversed_axes(x: torch.Tensor) -> torch.Tensor:
    """From their x, y, z to our z, y, x, and back."""
    return x.permute(0, 1, 4, 3, 2)


NETWORKS = {
    "SegResNet": (small_segresnet, SEGRESNET),
    "SegResNetDS": (
        lambda: SegResNetDS(3, 8, 1, 3, blocks_down=(1, 2, 1), dsdepth=2),
        {"_target_": "SegResNetDS", "init_filters": 8, "blocks_down": [1, 2, 1], "dsdepth": 2, "out_channels": 3},
    ),
    "SegResNetDS, thick slices": (
        lambda: SegResNetDS(3, 8, 1, 3, norm="instance", blocks_down=(1, 1, 1), resolution=(1, 1, 3)),
        {"_target_": "SegResNetDS", "norm": ["INSTANCE_NVFUSER", {"affine": True}], "resolution": [1, 1, 3]},
    ),
    "DynUNet": (
        lambda: DynUNet(3, 1, 3, [[3, 3, 3]] * 3, STRIDES, STRIDES[1:], filters=[4, 8, 12], deep_supervision=True),
        {"_target_": "DynUNet", "strides": STRIDES, "upsample_kernel_size": STRIDES[1:], "norm_name": "instance"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_monais_network(name, tmp_path, output):
    make, described = NETWORKS[name]
    theirs = randomized(make())
    imported(bundle(tmp_path / "bundle", theirs, INFERENCE | {"network_def": described}), output)
    _, ours = open_segmenter(output)
    x = torch.randn(1, 1, 16, 32, 8)
    with torch.no_grad():
        torch.testing.assert_close(reversed_axes(ours.eval()(reversed_axes(x))), theirs(x), rtol=1e-4, atol=1e-5)


def test_the_card_is_what_the_bundle_says(tmp_path, output):
    result = imported(bundle(tmp_path / "bundle"), output)
    card, weights = load(output)
    plan = card.plan
    assert (card.kind, card.method, card.settings) == ("segmenter", "monai", {"network": "SegResNet"})
    assert [(label.value, label.name) for label in card.labels] == [(1, "spleen"), (2, "liver")]
    assert (plan.spacing, plan.patch) == ((2.0, 1.25, 1.5), (8, 32, 16))
    assert (plan.conventions.orientation, plan.conventions.overlap, plan.conventions.padding) == ("RAS", 0.5, "zero")
    (channel,) = plan.channels
    assert (channel.name, channel.modality) == ("scan", "CT")
    scaled = normalize(torch.tensor([[[[-1000.0, -57, 53.5, 164, 3000]]]]).numpy(), plan.channels)
    assert scaled.ravel().tolist() == pytest.approx([-1, -1, 0, 1, 1])
    assert (result.license, card.provenance.license) == ("CC-BY-NC-4.0",) * 2
    assert card.provenance.citation.startswith("Doe, Spleens, 2026; Myronenko")
    assert card.provenance.base_method == "Spleens, imported from monai"
    assert weights["head.weight"].shape[0] == 3
    assert result.skipped == ()


def test_what_is_done_otherwise_is_told(tmp_path, output, capsys):
    from contrastiveseg.cli import main

    assert main(["import", "--from", "monai", str(bundle(tmp_path / "bundle")), "--output", str(output)]) == 0
    told = capsys.readouterr()
    assert "KeepLargestConnectedComponentd, which is not done here" in told.out
    assert "not for commercial use" in told.err


def test_it_segments_and_starts_a_fine_tuning(tmp_path, output, dataset):
    imported(bundle(tmp_path / "bundle", inference=changed("pixdim", [20.0, 20.0, 22.0])), output)
    image = dataset / "imagesTr" / "synthetic_00000.nii.gz"
    found = tmp_path / "found.nii.gz"
    run(SegmentJob(checkpoint=str(output), input=(str(image),), output=str(found), threads=1, precision="32"))
    assert found.is_file()
    tuned = tmp_path / "tuned.safetensors"
    job = FinetuneJob(
        checkpoint=str(output), images=(str(dataset),), output=str(tuned), steps=1, precision="32", threads=1
    )
    report = run(job).transfer
    assert report.fresh == ()
    assert load(tuned)[0].provenance.license.endswith("CC-BY-NC-4.0")


def changed(path: str, value) -> dict:
    """INFERENCE with ``value`` at ``path``; "preprocessing.3" is its fourth transform."""
    made = copy.deepcopy(INFERENCE)
    *way, last = path.split(".")
    place = made
    for key in way:
        place = place[key]["transforms"] if key in ("preprocessing", "postprocessing") else place
        place = place if key in ("preprocessing", "postprocessing") else place[int(key) if key.isdecimal() else key]
    place[int(last) if last.isdecimal() else last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("pixdim", "$[1.5] * 3", r"pixdim of Spacingd is the expression '\$\[1.5\] \* 3'. Expressions are not run"),
        ("pixdim", "@nothing", "refers to '@nothing', which is not there"),
        ("pixdim", "@pixdim", "refers to itself"),
        ("pixdim", [1.0, 0, 1], "must be above 0"),
        ("network_def", {"_target_": "os.system"}, "network is system, which is not known here"),
        ("network_def", {**SEGRESNET, "norm": "batch"}, "SegResNet with norm 'batch' is not known"),
        ("network_def", {**SEGRESNET, "norm": ["group", {"num_groups": 4}]}, "is not known here"),
        ("network_def", {"_target_": "DynUNet"}, "is not the DynUNet that inference.json names"),
        ("network_def", "$SegResNet()", "Expressions are not run"),
        ("preprocessing.1", {"_target_": "RandFlipd"}, "prepares volumes by RandFlipd, which is not known here"),
        ("preprocessing.2", {"_target_": "Orientationd", "axcodes": "XYZ"}, "not three letters as RAS"),
        ("preprocessing.3", {"_target_": "EnsureTyped"}, "does not say the voxel spacing"),
        ("preprocessing.1", {"_target_": "NormalizeIntensityd"}, "normalizes twice"),
        ("preprocessing.4", {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 1}, "with clip and a range only"),
        ("preprocessing.4", {"_target_": "ScaleIntensityd", "minv": -1.0}, "from 0 to 1"),
        ("inferer", {"_target_": "SimpleInferer"}, "only SlidingWindowInferer"),
        ("inferer.roi_size", [16, 32, 9], "is no multiple"),
        ("inferer.roi_size", [16, float("nan"), 8], "roi_size of SlidingWindowInferer is not 3 numbers"),
        ("pixdim", [1.5, 10**400, 2.0], "pixdim of Spacingd is not 3 numbers"),
        ("postprocessing.0", {"_target_": "Activationsd", "sigmoid": True}, "outputs overlap"),
        ("postprocessing.2", {"_target_": "AsDiscreted", "threshold": 0.5}, "cut at a threshold"),
        ("postprocessing.2", {"_target_": "EnsureTyped"}, "does not say that the largest output decides"),
    ],
)
def test_what_is_not_known_is_refused_in_words(tmp_path, output, path, value, words):
    folder = bundle(tmp_path / "bundle", inference=changed(path, value))
    with pytest.raises(InputError, match=words):
        imported(folder, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"0": "background", "1": "spleen"}, "names 2 channels of the output, and the network has 3"),
        ({"0": "spleen", "1": "liver", "2": "x"}, "first channel 'spleen', not background"),
        ({"0": "background", "1": "liver", "2": "liver"}, "two channels of the output have one name"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, output, names, words):
    metadata = {"network_data_format": {"outputs": {"pred": {"channel_def": names}}}}
    with pytest.raises(InputError, match=words):
        imported(bundle(tmp_path / "bundle", metadata=metadata), output)


def test_without_metadata_labels_have_numbers_and_other_intensities_are_read(tmp_path, output):
    inference = changed("preprocessing.4", {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True})
    imported(bundle(tmp_path / "bundle", inference=inference, metadata={}), output)
    card = load(output)[0]
    assert [label.name for label in card.labels] == ["label 1", "label 2"]
    assert card.plan.channels[0].normalization == Normalization("standard", over="nonzero")


def test_references_reach_into_lists_and_parts():
    config = Config({"a": {"b": [1, {"c": "@d"}]}, "d": 5}, "x.json")
    assert config.value("@a#b#1#c", "what") == 5
    assert config.value("@a::b#0", "what") == 1
    assert config.value(["@d", 2], "what") == [5, 2]


@pytest.mark.parametrize("finer", [None, [1, 4, 4]])
def test_segresnetds_is_a_backbone_like_any_other(finer, tmp_path):
    from contrastiveseg.networks.spec import NetworkSpec

    arguments = {"width": 4, "blocks_down": [1, 1, 1], "blocks_up": [1, 1], "finer": finer}
    for check in spec_checks(NetworkSpec("segresnetds", 3, 1, arguments)).values():
        check(tmp_path)


def test_ct_fms_network_is_a_start(tmp_path, output):
    """As its repository builds it, but narrower: SegResNetDS with batch norm, five levels and four heads."""
    theirs = randomized(SegResNetDS(3, 8, 1, 2, blocks_down=(1, 2, 2, 4, 4), dsdepth=4))
    path = tmp_path / "model.pt"
    torch.save(theirs.state_dict(), path)
    report = import_weights(ImportJob(file=str(path), source="segresnetds", output=str(output)))
    assert {name.split(".")[2] for name in report.skipped} == {"head"}
    card, weights = load(output)
    network = build(card.network).eval()
    load_transferred(network, weights, card.transferred)
    x = torch.randn(1, 1, 16, 16, 32)
    with torch.no_grad():
        found = reversed_axes(network.decode(network.encode(reversed_axes(x)))[-1])
        torch.testing.assert_close(theirs.up_layers[-1]["head"](found), theirs(x), rtol=1e-4, atol=1e-5)

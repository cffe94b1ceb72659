"""The pyramid language, the U-Net, MONAI's networks in it, and taking over pre-trained weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from contrastiveseg.cli import main
from contrastiveseg.errors import InputError
from contrastiveseg.networks.backbone import NetworkSpec
from contrastiveseg.networks.registry import available_backbones, build
from contrastiveseg.networks.segmenter import Segmenter, load_transferred
from contrastiveseg.serialization import from_json, to_json
from contrastiveseg.testing import backbone_checks
from contrastiveseg.testing.backbones import example, spec_checks
from contrastiveseg.testing.with_pytest import each

ANISOTROPIC = NetworkSpec(
    "unet",
    3,
    2,
    {"widths": [4, 8, 12], "strides": [[1, 2, 2], [2, 2, 2]], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]]},
)
RESIDUAL = NetworkSpec(
    "unet", 3, 1, {**ANISOTROPIC.arguments, "residual": True, "convolutions": [1, 2, 1], "decoder_convolutions": 1}
)
FLAT = NetworkSpec("unet", 2, 1, {"widths": [4, 8, 8, 8], "strides": [[2, 2]] * 3, "norm": "group"})
POOLED = NetworkSpec("unet", 2, 1, {"widths": [4, 8], "strides": [[2, 2]], "norm": "batch", "down": "max"})
SEGRESNET = NetworkSpec("segresnet", 3, 1, {"width": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]})
UNETR = NetworkSpec(
    "unetr", 3, 2, {"widths": [4, 8, 12], "strides": [[1, 2, 2], [2, 2, 2]], "embedding": 12, "heads": 2, "depth": 3}
)
UNETR_2D = NetworkSpec("unetr", 2, 1, {"widths": [4, 8], "embedding": 8, "heads": 2, "depth": 1})
VNET = NetworkSpec("vnet", 3, 1, {"width": 4})
ALL = [ANISOTROPIC, RESIDUAL, FLAT, POOLED, SEGRESNET, UNETR, UNETR_2D, VNET]

#: Section 2 of the MACL specification: f = 32, one channel, 2D.
MACL_2D = NetworkSpec(
    "unet",
    2,
    1,
    {
        "widths": [32, 64, 128, 256, 512],
        "strides": [[2, 2]] * 4,
        "norm": "batch",
        "down": "max",
        "bottleneck_norm": False,
        "bias": True,
    },
)


def test_the_terminal_names_every_backbone(capsys):
    assert main(["networks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"--network {name}" for name in available_backbones()]
    assert all(line.partition(": ")[2] for line in lines)


@each({f"{n}-{name}": check for n, spec in enumerate(ALL) for name, check in spec_checks(spec).items()})
def test_conformance(check, tmp_path) -> None:
    check(tmp_path)


@each({name: backbone_checks(name)["trains_as_a_job"] for name in available_backbones()})
def test_every_backbone_trains_as_a_job(check, tmp_path) -> None:
    check(tmp_path)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_encoder_sees_no_gradient_from_a_decoder_block_that_was_not_run() -> None:
    network = build(FLAT)
    network.decode(network.encode(example(network)), 1)[-1].sum().backward()
    assert all(p.grad is None for block in network.decoder[1:] for p in block.parameters())


def test_macl_public_network_has_its_published_number_of_parameters() -> None:
    insproj_aux = nn.Sequential(nn.Linear(512, 128), nn.Linear(128, 128))
    insproj_dom = nn.Sequential(nn.Linear(128, 128), nn.Linear(128, 128))
    pixproj = nn.Sequential(nn.Conv2d(512, 128, 3), nn.BatchNorm2d(128), nn.Conv2d(128, 128, 3), nn.BatchNorm2d(128))
    heads = sum(map(parameters, (insproj_aux, insproj_dom, pixproj)))
    network = build(MACL_2D)
    assert parameters(network) == 8_616_576 - heads == 7_763_328
    bottleneck = [type(m) for m in network.encoder[-1].modules()]  # type: ignore[index]
    assert nn.ReLU in bottleneck
    assert nn.BatchNorm2d not in bottleneck


def test_a_spec_survives_the_checkpoint_header() -> None:
    spec = RESIDUAL
    again = from_json(NetworkSpec, to_json(spec))
    ours, theirs = build(spec), build(again)
    assert {n: t.shape for n, t in ours.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}
    assert theirs.spec == spec


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: build(NetworkSpec("resnet", 3, 1)), "unet"),
        (lambda: build(NetworkSpec("unet", 3, 1, {"depth": 4})), "widths, strides"),
        (lambda: build(NetworkSpec("unet", 3, 1, {"widths": [4, 8], "strides": []})), "1 strides"),
        (lambda: build(NetworkSpec("unet", 3, 1, {"widths": [4, 8], "strides": [[2, 2]]})), "3 numbers"),
        (lambda: build(NetworkSpec("segresnet", 3, 1, {"width": 12})), "multiple of 8"),
        (lambda: build(NetworkSpec("unet", 3, 1, {"widths": "ab", "strides": [[2, 2, 2]]})), "'unet' cannot be"),
        (lambda: build(NetworkSpec("unet", 3, 1, {"widths": [4, -8], "strides": [[2, 2, 2]]})), "'unet' cannot be"),
        (lambda: build(NetworkSpec("vnet", 3, -1)), "'vnet' cannot be built"),
        (lambda: build(NetworkSpec("vnet", 3, 1, {"width": 2**62})), "'vnet' cannot be built"),
        (lambda: build(NetworkSpec("vnet", 3, 1, {"width": 10**30})), "'vnet' cannot be built"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_there_is(make, says) -> None:
    with pytest.raises(InputError, match=says):
        make()


def test_all_backbones_are_found_by_name() -> None:
    assert list(available_backbones()) == ["anatomix", "segresnet", "segresnetds", "swinunetr", "unet", "unetr", "vnet"]


def test_deep_logits_are_finest_first() -> None:
    network = Segmenter(build(ANISOTROPIC), classes=3, auxiliary=5).eval()
    x = example(network.backbone)
    deep = network.forward_deep(x)
    assert [tuple(d.shape) for d in deep] == [(2, 3, 8, 16, 16), (2, 3, 8, 8, 8)]
    assert torch.equal(deep[0], network(x))


def test_exactly_the_named_sub_modules_are_taken_over_bit_for_bit() -> None:
    source, target = build(FLAT), build(FLAT)
    before = {n: t.clone() for n, t in target.state_dict().items()}
    report = load_transferred(target, source.state_dict(), ["encoder", "decoder.0"])
    assert report.loaded == ("encoder", "decoder.0")
    assert report.fresh == ("decoder.1", "decoder.2")
    assert report.loaded_parameters == parameters(source.encoder) + parameters(source.decoder[0])
    assert report.fresh_parameters == parameters(source) - report.loaded_parameters
    for name, tensor in target.state_dict().items():
        taken = name.startswith(("encoder.", "decoder.0."))
        assert torch.equal(tensor, source.state_dict()[name] if taken else before[name]), name


def test_decoder_means_all_its_blocks() -> None:
    source, target = build(POOLED), build(POOLED)
    assert load_transferred(target, source.state_dict(), ["encoder", "decoder"]).fresh == ()
    assert all(torch.equal(t, source.state_dict()[n]) for n, t in target.state_dict().items())


def test_weights_that_do_not_fit_are_refused_and_leave_the_network_alone() -> None:
    target = build(FLAT)
    before = {n: t.clone() for n, t in target.state_dict().items()}
    missing = {n: t for n, t in build(FLAT).state_dict().items() if n != "encoder.0.0.conv.weight"}
    extra = {**build(FLAT).state_dict(), "decoder.0.gate.weight": torch.zeros(1)}
    wide = build(NetworkSpec("unet", 2, 1, {**FLAT.arguments, "widths": [8, 8, 8, 8]})).state_dict()
    for tensors, says in (
        (missing, "missing encoder.0.0.conv.weight"),
        (extra, "unexpected decoder.0.gate.weight"),
        (wide, r"encoder.0.0.adn.N.bias is \(8,\) instead of \(4,\)"),
    ):
        with pytest.raises(InputError, match=says):
            load_transferred(target, tensors, ["encoder", "decoder.0"])
    with pytest.raises(InputError, match=r"no decoder\.7"):
        load_transferred(target, before, ["decoder.7"])
    assert all(torch.equal(t, before[n]) for n, t in target.state_dict().items())


@torch.inference_mode()
def test_kernels_across_thick_slices_answer_as_before_where_the_slices_are_alike() -> None:
    arguments = {"widths": [4, 8, 12], "norm": "batch"}
    cubes = build(NetworkSpec("unet", 3, 1, {**arguments, "strides": [[2, 2, 2]] * 2})).eval()
    thin = {"strides": [[1, 2, 2]] * 2, "kernels": [[1, 3, 3]] * 3}
    flat = build(NetworkSpec("unet", 3, 1, {**arguments, **thin})).eval()
    with pytest.raises(InputError, match=r"is \(4, 1, 3, 3, 3\) instead of \(4, 1, 1, 3, 3\)"):
        load_transferred(flat, cubes.state_dict(), ["encoder", "decoder"])
    report = load_transferred(flat, cubes.state_dict(), ["encoder", "decoder"], thinner=True)
    assert set(report.adapted) == {n for n, t in cubes.state_dict().items() if t.ndim == 5}
    alike = torch.randn(1, 1, 1, 16, 16).expand(-1, -1, 64, -1, -1)
    # In the middle, where the padded borders do not reach.
    expected, found = cubes.encode(alike)[-1][:, :, 8], flat.encode(alike)[-1][:, :, 32]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    up = "decoder.0.up.weight"
    assert torch.equal(flat.state_dict()[up], cubes.state_dict()[up].mean(2, keepdim=True))


@pytest.mark.parametrize("spec", [RESIDUAL, FLAT, SEGRESNET])
def test_one_channel_weights_serve_several_channels_and_back(spec: NetworkSpec) -> None:
    one = build(spec).eval()
    three = build(NetworkSpec(spec.name, spec.dimensions, 3, spec.arguments)).eval()
    report = load_transferred(three, one.state_dict(), ["encoder"])
    assert len(report.adapted) == 1
    x = example(one)
    repeated = three.encode(x.expand(-1, 3, *x.shape[2:]))
    torch.testing.assert_close(repeated[-1], one.encode(x)[-1], rtol=1e-3, atol=1e-4)
    again = build(spec).eval()
    load_transferred(again, three.state_dict(), ["encoder"])
    torch.testing.assert_close(again.encode(x)[-1], one.encode(x)[-1], rtol=1e-3, atol=1e-4)

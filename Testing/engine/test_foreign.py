"""Other people's checkpoints: every layout gives the very outputs of the network it comes from, or a refusal."""

import re

import nnunet_models
import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet
from torch import nn

from contrastiveseg.api import import_checkpoint
from contrastiveseg.checkpoints.format import load
from contrastiveseg.cli import main
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.jobs.run import run
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import load_transferred
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.testing.backbones import spec_checks


def conv_norm(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU())


class MaclEncoder(nn.Module):
    def __init__(self, channels: int, f: int) -> None:
        super().__init__()
        for level in range(1, 5):
            width = f * 2 ** (level - 1)
            setattr(self, f"contr_{level}_1", conv_norm(channels if level == 1 else width // 2, width))
            setattr(self, f"contr_{level}_2", conv_norm(width, width))
        self.center = nn.Sequential(
            nn.Conv2d(8 * f, 16 * f, 3, padding=1), nn.ReLU(), nn.Conv2d(16 * f, 16 * f, 3, padding=1), nn.ReLU()
        )

    def forward(self, x):
        skips = []
        for level in range(1, 5):
            x = getattr(self, f"contr_{level}_2")(getattr(self, f"contr_{level}_1")(x))
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        return [*skips, self.center(x)]


class MaclDecoder(nn.Module):
    def __init__(self, f: int) -> None:
        super().__init__()
        for level in range(4, 0, -1):
            width = f * 2 ** (level - 1)
            setattr(self, f"upscale{level + 1}", nn.ConvTranspose2d(2 * width, width, 2, 2))
            setattr(self, f"expand_{level}_1", conv_norm(2 * width, width))
            setattr(self, f"expand_{level}_2", conv_norm(width, width))

    def forward(self, features):
        x, maps = features[-1], []
        for level in range(4, 0, -1):
            x = torch.cat([getattr(self, f"upscale{level + 1}")(x), features[level - 1]], 1)
            x = getattr(self, f"expand_{level}_2")(getattr(self, f"expand_{level}_1")(x))
            maps.append(x)
        return maps


class Macl(nn.Module):
    """A network of the released layout (section 2 of the specification), written from its tensors' names."""

    def __init__(self, channels: int = 1, f: int = 32, classes: int = 512) -> None:
        super().__init__()
        self.share_encoder, self.online_decoder = MaclEncoder(channels, f), MaclDecoder(f)
        p = classes // 4
        pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.target_instance_projector = nn.Sequential(*pool, nn.Linear(16 * f, 4 * f), nn.ReLU(), nn.Linear(4 * f, p))
        self.online_instance_projector = nn.Sequential(*pool, nn.Linear(4 * f, 4 * f), nn.ReLU(), nn.Linear(4 * f, p))
        self.target_pixel_projector = nn.Sequential(*conv_norm(16 * f, 4 * f), *conv_norm(4 * f, 4 * f))


class VNetBlock(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.conv(x)


class LiteratureVNet(nn.Module):
    """The V-Net of the left-atrium line, written from its tensors' names."""

    def __init__(self, f: int = 4) -> None:
        super().__init__()

        def layers(convolution: nn.Module, width: int) -> list[nn.Module]:
            return [convolution, nn.BatchNorm3d(width), nn.ReLU()]

        def block(channels: int, width: int, count: int) -> VNetBlock:
            return VNetBlock(
                [
                    m
                    for i in range(count)
                    for m in layers(nn.Conv3d(width if i else channels, width, 3, padding=1), width)
                ]
            )

        names = ("one", "two", "three", "four", "five")
        for level, (name, count) in enumerate(zip(names, (1, 2, 3, 3, 3), strict=True)):
            width = f << level
            setattr(self, f"block_{name}", block(width if level else 1, width, count))
            if level < 4:
                setattr(self, f"block_{name}_dw", VNetBlock(layers(nn.Conv3d(width, 2 * width, 2, 2), 2 * width)))
        ups = ("five", "six", "seven", "eight")
        for index, (name, following, count) in enumerate(
            zip(ups, ("six", "seven", "eight", "nine"), (3, 3, 2, 1), strict=True)
        ):
            width = f << (3 - index)
            up = nn.ConvTranspose3d(2 * width, width, 2, 2)
            setattr(self, f"block_{name}_up", VNetBlock(layers(up, width)))
            setattr(self, f"block_{following}", block(width, width, count))
        self.out_conv = nn.Conv3d(f, 2, 1)

    def forward(self, x):
        skips = []
        for name in ("one", "two", "three", "four"):
            skips.append(getattr(self, f"block_{name}")(x))
            x = getattr(self, f"block_{name}_dw")(skips[-1])
        x = self.block_five(x)
        for name, following in (("five", "six"), ("six", "seven"), ("seven", "eight"), ("eight", "nine")):
            x = getattr(self, f"block_{following}")(getattr(self, f"block_{name}_up")(x) + skips.pop())
        return x


def randomized(network: nn.Module) -> nn.Module:
    """In evaluation, with batch statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def imported(path, source, output):
    """The backbone that a fine-tuning would start from, and the report."""
    report = import_checkpoint(path, source, output)
    card, weights = load(output)
    backbone = build(card.network).eval()
    load_transferred(backbone, weights, card.transferred)
    return backbone, card, report


@pytest.mark.parametrize("key", ["net", "model_state_dict"])
def test_macl_released_weights(tmp_path, output, key):
    theirs = randomized(Macl())
    assert sum(p.numel() for p in theirs.parameters()) == 8_616_576
    path = tmp_path / "latest.pth"
    torch.save({key: {f"module.{k}": v for k, v in theirs.state_dict().items()}}, path)
    backbone, card, report = imported(path, "macl", output)
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        features = theirs.share_encoder(x)
        for ours, expected in zip(backbone.encode(x), features, strict=True):
            torch.testing.assert_close(ours, expected)
        for ours, expected in zip(
            backbone.decode(backbone.encode(x), 2), theirs.online_decoder(features), strict=False
        ):
            torch.testing.assert_close(ours, expected)
    assert card.transferred == ("encoder", "decoder.0", "decoder.1")
    assert {name.split(".")[0] for name in report.skipped} == {
        "online_decoder",
        "target_instance_projector",
        "online_instance_projector",
        "target_pixel_projector",
    }
    assert all(name.startswith(("decoder.2.", "decoder.3.")) for name in report.fresh)


def test_weights_for_four_channels_serve_one_image_given_four_times(tmp_path, output):
    theirs = randomized(Macl(channels=4, f=4))
    path = tmp_path / "brats.pth"
    torch.save(theirs.state_dict(), path)
    import_checkpoint(path, "macl", output)
    card, weights = load(output)
    assert len(card.plan.channels) == card.network.in_channels == 4
    network = build(type(card.network)("unet", 2, 1, card.network.arguments)).eval()
    load_transferred(network, weights, card.transferred)
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network.encode(x)[0], theirs.share_encoder(x.repeat(1, 4, 1, 1))[0])


def reversed_axes(x: torch.Tensor) -> torch.Tensor:
    """From their x, y, z to our z, y, x, and back."""
    return x.permute(0, 1, 4, 3, 2)


def in_two_parts(name: str) -> str:
    """BCP's name of a tensor of the V-Net."""
    second = re.match(r"(block_(six|seven|eight|nine)|block_five_up|out_conv)", name)
    return f"{'decoder' if second else 'encoder'}.{name}"


@pytest.mark.parametrize("rename", [str, in_two_parts])
def test_the_left_atrium_vnet_with_its_axes_turned(tmp_path, output, rename):
    theirs = randomized(LiteratureVNet())
    path = tmp_path / "iter_6000.pth"
    torch.save({rename(name): tensor for name, tensor in theirs.state_dict().items()}, path)
    backbone, card, report = imported(path, "vnet", output)
    x = torch.randn(1, 1, 16, 32, 16)  # x, y, z of theirs
    with torch.no_grad():
        expected = reversed_axes(theirs(x))
        found = backbone.decode(backbone.encode(reversed_axes(x)))[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert set(report.skipped) == {rename("out_conv.weight"), rename("out_conv.bias")}
    assert report.fresh == ()
    assert card.kind == "pretrained"


@pytest.mark.parametrize("up", [(1, 1), (1, 2)])
def test_monai_segresnet(tmp_path, output, up):
    theirs = randomized(SegResNet(init_filters=8, blocks_down=(1, 2, 1), blocks_up=up))
    path = tmp_path / "model.pt"
    torch.save({"state_dict": theirs.state_dict()}, path)
    backbone, _, report = imported(path, "segresnet", output)
    x = torch.randn(1, 1, 8, 16, 32)
    with torch.no_grad():
        found = reversed_axes(backbone.decode(backbone.encode(reversed_axes(x)))[-1])
        torch.testing.assert_close(theirs.conv_final[2](found), theirs(x))
    assert set(report.skipped) == {"conv_final.2.conv.weight", "conv_final.2.conv.bias"}


def test_monai_dynunet(tmp_path, output):
    strides = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
    theirs = randomized(DynUNet(3, 1, 2, [[3, 3, 3]] * 3, strides, strides[1:], filters=[4, 8, 12]))
    path = tmp_path / "model.pt"
    torch.save(theirs.state_dict(), path)
    backbone, card, _ = imported(path, "dynunet", output)
    assert card.network.arguments["strides"] == [[1, 2, 2], [2, 2, 2]]
    x = torch.randn(1, 1, 16, 32, 8)
    with torch.no_grad():
        found = reversed_axes(backbone.decode(backbone.encode(reversed_axes(x)))[-1])
        torch.testing.assert_close(theirs.output_block(found), theirs(x))


class TheirAnatomix(nn.Module):
    """The U-Net as its repository (neel-dey/anatomix, model/network.py) describes it: one list of layers."""

    def __init__(self, downs: int, width: int, smooth: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []

        def step(channels: int, out: int) -> None:
            layers.append(nn.Conv3d(channels, out, 3, padding="same", padding_mode="reflect", bias=smooth))
            layers.append(nn.InstanceNorm3d(out) if smooth else nn.BatchNorm3d(out))
            layers.append(nn.ReLU())

        self.skips, self.rises, channels = [], [], width
        step(1, width)
        for level in range(downs):
            step(channels, width << level)
            channels = width << level
            step(channels, channels)
            self.skips.append(len(layers) - 1)
            layers.append(nn.AvgPool3d(2) if smooth else nn.MaxPool3d(2))
        step(channels, 2 * channels)
        step(2 * channels, 2 * channels)
        for level in reversed(range(downs)):
            self.rises.append(len(layers))
            layers.append(nn.Upsample(scale_factor=2, mode="trilinear" if smooth else "nearest"))
            step(3 * width << level, width << level)
            step(width << level, width << level)
        layers.append(nn.Conv3d(width, 16, 3, padding="same", padding_mode="reflect", bias=smooth))
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        kept = []
        for number, layer in enumerate(self.model):
            x = layer(x)
            if number in self.rises:
                x = torch.cat((kept.pop(), x), 1)
            if number in self.skips:
                kept.append(x)
        return x


@pytest.mark.parametrize(("downs", "smooth"), [(2, False), (3, True)])
def test_anatomix(tmp_path, output, downs, smooth):
    theirs = randomized(TheirAnatomix(downs, 4, smooth))
    path = tmp_path / "anatomix.pth"
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in theirs.state_dict().items()}, path)
    backbone, card, report = imported(path, "anatomix", output)
    assert card.network.arguments == {"width": 4, "levels": downs, "smooth": smooth}
    x = torch.randn(1, 1, 16, 32, 24)
    with torch.no_grad():
        found = reversed_axes(backbone.decode(backbone.encode(reversed_axes(x)))[-1])
        torch.testing.assert_close(theirs.model[-1](found), theirs(x), rtol=1e-3, atol=1e-4)
    assert {name.rsplit(".", 1)[0] for name in report.skipped} == {f"model.{len(theirs.model) - 1}"}


#: What nnssl writes of a network beside its tensors, as its adaptation_plan.py and AbstractTrainer.py do.
ADAPTATION = {
    "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None, "arch_kwargs_requiring_import": None},
    "pretrain_plan": {"dataset_name": "Dataset745_OpenMind", "transpose_forward": [0, 1, 2]},
    "pretrain_num_input_channels": 1,
    "recommended_downstream_patchsize": (160, 160, 160),
    "key_to_encoder": "encoder.stages",
    "key_to_stem": "encoder.stem",
    "keys_to_in_proj": ("encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"),
    "key_to_lpe": None,
}


@pytest.mark.parametrize("decoder", ["whole", "without skips", "none"])
def test_networks_pre_trained_with_nnssl(tmp_path, output, decoder):
    strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2]] if decoder == "none" else nnunet_models.STRIDES[3]
    kernels = [[3, 3, 3]] * 3 if decoder == "none" else nnunet_models.KERNELS[3]
    theirs = randomized(nnunet_models.NnUNet([4, 6, 8], strides, kernels, residual=True, classes=1))
    tensors = {n: t for n, t in theirs.state_dict().items() if decoder != "none" or n.startswith("encoder.")}
    if decoder == "without skips":
        narrow = {n: t[:, : len(t)] for n, t in tensors.items() if re.search(r"decoder.*convs\.0\.conv\.weight", n)}
        tensors |= narrow
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": tensors, "init_args": {"fold": 0}, "nnssl_adaptation_plan": ADAPTATION}, path)
    backbone, card, report = imported(path, "nnssl", output)
    x = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        for ours, wanted in zip(backbone.encode(x), theirs.encoder(x), strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    assert card.transferred == ("encoder",)
    assert all(name.startswith("encoder.") for name in report.matched)
    assert all(name.startswith("decoder.") for name in report.fresh)


@pytest.mark.parametrize("smooth", [False, True])
def test_anatomixs_network_is_a_backbone_like_any_other(tmp_path, smooth):
    spec = NetworkSpec("anatomix", 3, 1, {"width": 4, "levels": 2, "smooth": smooth})
    for check in spec_checks(spec).values():
        check(tmp_path)


def test_an_imported_checkpoint_is_fine_tuned(dataset, tmp_path, output):
    path = tmp_path / "model.pt"
    torch.save(randomized(SegResNet(init_filters=8, blocks_down=(1, 1), blocks_up=(1,))).state_dict(), path)
    import_checkpoint(path, "segresnet", output)
    tuned = tmp_path / "tuned.safetensors"
    job = FinetuneJob(checkpoint=str(output), images=(str(dataset),), output=str(tuned), steps=1, precision="32")
    assert run(job).transfer.fresh == ()
    assert load(tuned)[0].provenance.base_method == "segresnet"


def test_the_command_says_what_was_taken(tmp_path, output, capsys):
    path = tmp_path / "model.pt"
    torch.save(randomized(SegResNet(init_filters=8, blocks_down=(1, 1), blocks_up=(1,))).state_dict(), path)
    assert main(["import", "--from", "segresnet", str(path), "--output", str(output)]) == 0
    told = capsys.readouterr().out
    assert "tensors taken, 2 left, 0 fresh" in told
    assert "left conv_final.2.conv.weight" in told
    assert main(["import", "--from", "segresnet", str(path), "--output", str(output)]) == 2

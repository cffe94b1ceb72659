"""MONAI's networks, speaking the pyramid language; for comparison with the U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from ..errors import InputError
from .backbone import Backbone
from .registry import register_backbone
from .unet import AddingDecoderBlock

if TYPE_CHECKING:
    from monai.networks.nets import SegResNet, SegResNetDS


class _SegResNetEncoder(nn.Module):
    def __init__(self, network: SegResNet) -> None:
        super().__init__()
        self.stem, self.levels = network.convInit, network.down_layers


class SegResNetBackbone(Backbone):
    """SegResNet (Myronenko 2018) without its head; skips are added, not concatenated."""

    def __init__(self, network: SegResNet, dimensions: int, width: int, levels: int) -> None:
        super().__init__()
        self.channels = tuple(width << level for level in range(levels + 1))
        self.decoder_channels = tuple(reversed(self.channels[:-1]))
        self.strides = ((2,) * dimensions,) * levels
        self.encoder = _SegResNetEncoder(network)
        blocks = [(up, fuse) for up, fuse in zip(network.up_samples, network.up_layers, strict=True)]
        # Its residual blocks normalize first, so the last map needs the norm and ReLU that precede MONAI's own head.
        blocks[-1] = (blocks[-1][0], nn.Sequential(*blocks[-1][1], *network.conv_final[:2]))
        self.decoder = nn.ModuleList(AddingDecoderBlock(up, fuse) for up, fuse in blocks)

    def encode(self, x: Tensor) -> list[Tensor]:
        x, features = self.encoder.stem(x), []  # type: ignore[operator]
        for level in self.encoder.levels:  # type: ignore[union-attr]
            x = level(x)
            features.append(x)
        return features


@register_backbone("segresnet")
def segresnet(
    dimensions: int,
    in_channels: int,
    *,
    width: int = 16,
    blocks_down: Sequence[int] = (1, 2, 2, 4),
    blocks_up: Sequence[int] = (1, 1, 1),
) -> Backbone:
    """MONAI's SegResNet with ``width`` channels at full resolution, doubled at each of its down-samplings by 2.

    Args:
        width: channels of level 0, a multiple of 8 (its group norm).
        blocks_down: residual blocks of encoder level 0..L.
        blocks_up: residual blocks of decoder block 1..L.

    Raises:
        InputError: ``width`` or the numbers of blocks do not fit.
    """
    # MONAI takes longer to import than the rest of a job together.
    from monai.networks.nets import SegResNet

    levels = len(blocks_down) - 1
    if width % 8 or levels < 1 or len(blocks_up) != levels:
        raise InputError("A SegResNet needs a width that is a multiple of 8, and one blocks_up fewer than blocks_down.")
    network = SegResNet(
        spatial_dims=dimensions,
        init_filters=width,
        in_channels=in_channels,
        blocks_down=tuple(blocks_down),
        blocks_up=tuple(blocks_up),
    )
    return SegResNetBackbone(network, dimensions, width, levels)


class SegResNetDSBackbone(Backbone):
    """SegResNetDS without its heads; skips are added, not concatenated."""

    def __init__(self, network: SegResNetDS, dimensions: int, width: int, levels: int) -> None:
        super().__init__()
        self.channels = tuple(width << level for level in range(levels + 1))
        self.decoder_channels = tuple(reversed(self.channels[:-1]))
        scales = network.anisotropic_scales or [(2,) * dimensions] * levels
        self.strides = tuple(tuple(int(n) for n in scale) for scale in scales[:levels])
        self.encoder = network.encoder
        self.decoder = nn.ModuleList(
            AddingDecoderBlock(level["upsample"], level["blocks"])  # type: ignore[index]
            for level in network.up_layers
        )

    def encode(self, x: Tensor) -> list[Tensor]:
        return self.encoder(x)


@register_backbone("segresnetds")
def segresnetds(
    dimensions: int,
    in_channels: int,
    *,
    width: int = 16,
    blocks_down: Sequence[int] = (1, 2, 2, 4),
    blocks_up: Sequence[int] = (1, 1, 1),
    norm: Literal["batch", "instance"] = "instance",
    finer: Sequence[int] | None = None,
) -> Backbone:
    """MONAI's SegResNetDS: a SegResNet with transposed convolutions and, where slices are thick, flat kernels at first.

    Args:
        width: channels of level 0, doubled at each down-sampling.
        blocks_down: residual blocks of encoder level 0..L.
        blocks_up: residual blocks of decoder block 1..L.
        norm: normalization before each convolution.
        finer: how many times finer than the coarsest the voxels are along each axis, a power of 2; None: all alike.

    Raises:
        InputError: the numbers do not fit each other.
    """
    from monai.networks.nets import SegResNetDS

    levels = len(blocks_down) - 1
    if width < 1 or levels < 1 or len(blocks_up) != levels or norm not in ("batch", "instance"):
        raise InputError("A SegResNetDS needs one blocks_up fewer than blocks_down, and batch or instance norm.")
    if finer is not None and (len(finer) != dimensions or min(finer) != 1):
        raise InputError(f"finer of a {dimensions}D SegResNetDS needs {dimensions} numbers, the least of them 1.")
    network = SegResNetDS(
        spatial_dims=dimensions,
        init_filters=width,
        in_channels=in_channels,
        norm=norm,
        blocks_down=tuple(blocks_down),
        blocks_up=tuple(blocks_up),
        resolution=None if finer is None else tuple(1 / n for n in finer),
    )
    return SegResNetDSBackbone(network, dimensions, width, levels)

"""Projection heads: small networks between the backbone and a contrastive loss, dropped after pre-training."""

from __future__ import annotations

from torch import Tensor, nn

from ..networks.blocks import Norm, norm_layer
from .gather import gather


class InstanceHead(nn.Sequential):
    """One vector an image: global average pooling, Linear, ReLU, Linear (MACL's insproj, section 2).

    Args:
        standardize: give each pooled channel mean 0 and deviation 1 over the samples of all processes first. Behind an
            instance norm all images have nearly the same channel means, and the contrast has no
            signal: in our trials its loss stayed at that of equal embeddings for hundreds of steps.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int, standardize: bool) -> None:
        super().__init__(nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, out_channels))
        self.standardize = standardize

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, ...) to (B, out_channels)."""
        pooled = features.flatten(2).float().mean(-1)
        if self.standardize:
            rows = gather(pooled, 0)
            pooled = (pooled - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
        return super().forward(pooled)


def pixel_head(dimensions: int, in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """One vector a cell: twice convolution of size 3, norm, LeakyReLU (MACL's pixproj, section 2).

    Maps (B, in_channels, [D,] H, W) to (B, out_channels, [D,] H, W). "instance" needs maps of two or more voxels.
    """
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    layers: list[nn.Module] = []
    for width in (in_channels, out_channels):
        layers += [convolution(width, out_channels, 3, padding=1), norm_layer(dimensions, norm, out_channels)]
        layers += [nn.LeakyReLU(inplace=True)]
    return nn.Sequential(*layers)


def point_head(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """One vector a row, of any number of rows (..., in_channels): Linear, layer norm, ReLU, Linear."""
    return nn.Sequential(
        nn.Linear(in_channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out_channels)
    )


def projection(dimensions: int, in_channels: int, out_channels: int, hidden: int = 0) -> nn.Module:
    """A vector a cell by itself: a convolution of size 1, or two with a ReLU between them and ``hidden`` channels."""
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    if not hidden:
        return convolution(in_channels, out_channels, 1)
    return nn.Sequential(
        convolution(in_channels, hidden, 1), nn.ReLU(inplace=True), convolution(hidden, out_channels, 1)
    )


def norm_of(network: nn.Module) -> Norm:
    """The kind of norm ``network`` uses, for heads that should behave like it; "instance" if it has none."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return "batch"
        if isinstance(module, nn.GroupNorm):
            return "group"
    return "instance"

"""MONAI's SwinUNETR (Hatamizadeh et al., 2022), speaking the pyramid language."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .backbone import Backbone
from .registry import register_backbone

if TYPE_CHECKING:
    from monai.networks.nets import SwinUNETR

Merging = Literal["distinct", "repeated"]
#: In which order the eight voxels of a 2 x 2 x 2 cell are joined into one: as in MONAI from 1.5 on, and before, where
#: two were taken twice and two never (https://github.com/Project-MONAI/MONAI/pull/8285). Weights go with an order.
_CELLS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "distinct": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)),
    "repeated": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1)),
}
#: Of a 2 x 2 cell; here there is one order.
_FLAT_CELLS = tuple((second, first) for first, second in product(range(2), repeat=2))


class _SwinEncoder(nn.Module):
    """The Transformer's maps, each through a residual block but for that of level L-1, and the volume's own.

    The Transformer takes the axes as x, y, z, as MONAI's does: its windows' biases, of which small maps use the first
    ones, and the order of merged voxels are not symmetric. Its modules are MONAI's; what calls them is not, since that
    needs the package einops to permute axes.
    """

    def __init__(self, network: SwinUNETR, merging: Merging) -> None:
        super().__init__()
        self.merging = merging
        self.swinViT = network.swinViT
        self.encoder1, self.encoder2, self.encoder3 = network.encoder1, network.encoder2, network.encoder3
        self.encoder4, self.encoder10 = network.encoder4, network.encoder10
        for module in self.swinViT.modules():
            # It follows from the window's size, and is no weight.
            if isinstance(index := getattr(module, "relative_position_index", None), Tensor):
                module.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.swinViT.patch_embed(_reversed(x).contiguous())
        found = [maps]
        for number in range(1, 5):
            if self.swinViT.use_v2:
                maps = getattr(self.swinViT, f"layers{number}c")[0](maps)
            maps = self._stage(getattr(self.swinViT, f"layers{number}")[0], maps)
            found.append(maps)
        half, quarter, eighth, sixteenth, last = (_reversed(_normalized(one)) for one in found)
        return [
            self.encoder1(x),
            self.encoder2(half),
            self.encoder3(quarter),
            self.encoder4(eighth),
            sixteenth,
            self.encoder10(last),
        ]

    def _stage(self, layer: Any, maps: Tensor) -> Tensor:
        """``maps`` (B, C, *spatial) through the blocks of a stage, and with half the voxels an axis."""
        from monai.networks.nets.swin_unetr import compute_mask, get_window_size

        grid = [int(n) for n in maps.shape[2:]]
        window, shift = get_window_size(grid, layer.window_size, layer.shift_size)
        whole = [-(-n // size) * size for n, size in zip(grid, window, strict=True)]
        mask = compute_mask(whole, window, shift, maps.device)
        tokens = maps.movedim(1, -1).contiguous()
        for block in layer.blocks:
            tokens = block(tokens, mask)
        cells = _CELLS[self.merging] if len(grid) == 3 else _FLAT_CELLS
        merged = torch.cat([_every_second(tokens, cell) for cell in cells], -1)
        merge = layer.downsample
        return merge.reduction(merge.norm(merged)).movedim(-1, 1)


def _every_second(tokens: Tensor, cell: Sequence[int]) -> Tensor:
    """Of ``tokens`` (B, *spatial, C) those at this place of their cells."""
    for axis, start in enumerate(cell, start=1):
        tokens = tokens[(slice(None),) * axis + (slice(start, None, 2),)]
    return tokens


def _normalized(maps: Tensor) -> Tensor:
    """Every voxel's channels by their own mean and deviation."""
    return F.layer_norm(maps.movedim(1, -1), [int(maps.shape[1])]).movedim(-1, 1)


def _reversed(maps: Tensor) -> Tensor:
    return maps.permute(0, 1, *range(maps.ndim - 1, 1, -1))


class SwinUNETRBackbone(Backbone):
    """SwinUNETR without its head."""

    def __init__(self, network: SwinUNETR, dimensions: int, width: int, merging: Merging) -> None:
        super().__init__()
        self.channels = (width, *(width << level for level in range(5)))
        self.decoder_channels = tuple(reversed(self.channels[:-1]))
        self.strides = ((2,) * dimensions,) * 5
        self.encoder = _SwinEncoder(network, merging)
        self.decoder = nn.ModuleList(getattr(network, f"decoder{number}") for number in (5, 4, 3, 2, 1))

    def encode(self, x: Tensor) -> list[Tensor]:
        return self.encoder(x)


@register_backbone("swinunetr")
def swinunetr(
    dimensions: int,
    in_channels: int,
    *,
    width: int = 24,
    depths: Sequence[int] = (2, 2, 2, 2),
    heads: Sequence[int] = (3, 6, 12, 24),
    window: int = 7,
    residual: bool = False,
    merging: Merging = "distinct",
) -> Backbone:
    """MONAI's SwinUNETR: attention in shifted windows at four levels, and a convolutional decoder.

    Args:
        width: channels of the levels 0 and 1, then doubled; a multiple of 12.
        depths: Transformer blocks at each level.
        heads: of attention at each level.
        window: voxels of a window along each axis.
        residual: a block of convolutions before each level's Transformer blocks (SwinUNETR-V2).
        merging: "repeated" for weights of MONAI before 1.5.

    Raises:
        InputError: the numbers do not fit each other.
    """
    from monai.networks.nets import SwinUNETR

    if len(depths) != 4 or min(depths) < 1 or len(heads) != 4 or min(heads) < 1:
        raise InputError("A SwinUNETR needs four depths and four heads, each at least 1.")
    if width < 12 or width % 12 or any((width << n) % count for n, count in enumerate(heads)):
        raise InputError("A SwinUNETR needs a width that is a multiple of 12, and heads that divide its channels.")
    if window < 2 or merging not in _CELLS:
        raise InputError(f"A SwinUNETR needs a window of at least 2 voxels, and merging as {' or '.join(_CELLS)}.")
    network = SwinUNETR(
        in_channels=in_channels,
        out_channels=1,
        feature_size=width,
        depths=tuple(depths),
        num_heads=tuple(heads),
        window_size=window,
        spatial_dims=dimensions,
        use_v2=residual,
    )
    return SwinUNETRBackbone(network, dimensions, width, merging)

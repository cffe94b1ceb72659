"""How MONAI's SwinUNETR names its tensors, and which network of ours it is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..networks.spec import NetworkSpec
from .foreign_tensors import Tensors
from .tensor_names import dimensions_of, parts_below

#: The part of ours that takes volumes in their order of axes.
SWIN = "encoder.swinViT."


def swin_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """Ours holds its parts by the same names, but for the decoder's blocks, the deepest of which is the first."""
    if name.endswith(".relative_position_index"):  # follows from the window's size
        return None
    if re.match(r"(swinViT|encoder\d+)\.", name):
        return f"encoder.{name}"
    if match := re.fullmatch(r"decoder([1-5])\.(.+)", name):
        return f"decoder.{5 - int(match[1])}.{match[2]}"
    return None


def swin_network(weights: Tensors) -> NetworkSpec:
    """As MONAI builds it from 1.5 on."""
    return _network(weights, "distinct")


def former_swin_network(weights: Tensors) -> NetworkSpec:
    """As MONAI before 1.5 builds it, which no tensor shows."""
    return _network(weights, "repeated")


def _network(weights: Tensors, merging: str) -> NetworkSpec:
    first = weights[f"{SWIN}patch_embed.proj.weight"]
    dimensions = dimensions_of(first)
    stages = [f"{SWIN}layers{number}.0.blocks" for number in range(1, 5)]
    tables = [weights[f"{stage}.0.attn.relative_position_bias_table"] for stage in stages]
    # One row for each way from a voxel of a window to another.
    side = round(len(tables[0]) ** (1 / dimensions))
    if side**dimensions != len(tables[0]) or side % 2 == 0:
        raise ValueError("a window that is no cube")
    arguments = {
        "width": first.shape[0],
        "depths": [parts_below(weights, stage) for stage in stages],
        "heads": [table.shape[1] for table in tables],
        "window": (side + 1) // 2,
        "residual": any(name.startswith(f"{SWIN}layers1c.") for name in weights),
        "merging": merging,
    }
    return NetworkSpec("swinunetr", dimensions, first.shape[1], arguments)

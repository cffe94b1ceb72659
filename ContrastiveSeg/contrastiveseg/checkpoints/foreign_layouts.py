"""How the networks of other projects name their tensors, and which network of ours each is.

Every layout is recognized from the tensors alone: widths, kernels and strides are read off their shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..networks.spec import NetworkSpec
from .foreign_tensors import Tensors
from .nnunet_layout import nnssl_network, nnunet_name, nnunet_network
from .swin_layout import SWIN, former_swin_network, swin_name, swin_network
from .tensor_names import LAYERS, dimensions_of, parts_below


@dataclass(frozen=True)
class Layout:
    """A kind of foreign file.

    Attributes:
        name: their tensor's name, among all of theirs, to ours; None for what we have no use for.
        network: the network of ours, from the renamed tensors; a KeyError names one that must be there and is not.
        transferred: the sub-modules worth keeping.
        absent: endings of tensors of ours that theirs does without, to be 0.
        turned: their spatial axes come as x, y, z, as MONAI and nibabel read volumes; ours are z, y, x.
        unturned: what the names of ours begin with that take x, y, z all the same; "" for none.
        citation: whom to cite.
    """

    name: Callable[[str, Mapping[str, Tensor]], str | None]
    network: Callable[[Tensors], NetworkSpec]
    transferred: tuple[str, ...] = ("encoder", "decoder")
    absent: tuple[str, ...] = ()
    turned: bool = False
    unturned: str = ""
    citation: str = ""

    def in_our_order(self, name: str, tensor: Tensor) -> Tensor:
        """Their tensor for ours of that ``name``; a convolution's weight with its spatial axes in our order."""
        if not self.turned or tensor.ndim <= 2 or (self.unturned and name.startswith(self.unturned)):
            return tensor
        return tensor.permute(0, 1, *range(tensor.ndim - 1, 1, -1)).contiguous()


def _macl_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """The released 2D network (docs/methods/macl.md, section 2): levels 1..4, a center, blocks 5..2."""
    if match := re.fullmatch(r"share_encoder\.contr_(\d)_(\d)\.([01])\.(\w+)", name):
        level, block = int(match[1]) - 1, int(match[2]) - 1
        # Below the first level a pooling comes before the convolutions.
        return f"encoder.{level}.{block + (level > 0)}.{LAYERS[int(match[3])]}.{match[4]}"
    if match := re.fullmatch(r"share_encoder\.center\.([02])\.(\w+)", name):
        return f"encoder.4.{1 + int(match[1]) // 2}.conv.{match[2]}"
    if match := re.fullmatch(r"online_decoder\.upscale(\d)\.(\w+)", name):
        return f"decoder.{5 - int(match[1])}.up.{match[2]}"
    if match := re.fullmatch(r"online_decoder\.expand_(\d)_(\d)\.([01])\.(\w+)", name):
        return f"decoder.{4 - int(match[1])}.fuse.{int(match[2]) - 1}.{LAYERS[int(match[3])]}.{match[4]}"
    return None


def _macl_network(weights: Tensors) -> NetworkSpec:
    first = weights["encoder.0.0.conv.weight"]
    widths = [first.shape[0] << level for level in range(5)]
    more = {"norm": "batch", "down": "max", "bottleneck_norm": False, "bias": True}
    return NetworkSpec("unet", 2, first.shape[1], {"widths": widths, "strides": [[2, 2]] * 4, **more})


_VNET_BLOCKS = {
    **{f"block_{n}": ("encoder", level) for level, n in enumerate(("one", "two", "three", "four", "five"))},
    **{f"block_{n}": ("decoder", block) for block, n in enumerate(("six", "seven", "eight", "nine"))},
}


def _vnet_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """The V-Net of UA-MT and its line: convolution, batch norm and ReLU take turns in one list.

    BCP's has the same blocks in an encoder and a decoder.
    """
    match = re.fullmatch(r"(?:encoder\.|decoder\.)?(block_[a-z]+?)(_dw|_up)?\.conv\.(\d+)\.(\w+)", name)
    if not match or match[1] not in _VNET_BLOCKS or int(match[3]) % 3 == 2:
        return None
    part, index = _VNET_BLOCKS[match[1]]
    block, layer = divmod(int(match[3]), 3)
    inner = f"{LAYERS[layer]}.{match[4]}"
    if match[2] == "_dw":
        return f"encoder.{index + 1}.0.{inner}"
    if match[2] == "_up":
        return f"decoder.{0 if part == 'encoder' else index + 1}.up.{inner}"
    if part == "decoder":
        return f"decoder.{index}.fuse.{block}.{inner}"
    # Below the first level the down-sampling comes first.
    return f"encoder.{index}.{block + (index > 0)}.{inner}"


def _vnet_network(weights: Tensors) -> NetworkSpec:
    first = weights["encoder.0.0.conv.weight"]
    return NetworkSpec("vnet", dimensions_of(first), first.shape[1], {"width": first.shape[0]})


def _segresnet_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """MONAI's SegResNet: our wrapper holds its parts, and the norm before its head in the last decoder block."""
    for theirs, ours in (("convInit.", "encoder.stem."), ("down_layers.", "encoder.levels.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if match := re.fullmatch(r"up_(samples|layers)\.(\d+)\.(.+)", name):
        return f"decoder.{match[2]}.{'up' if match[1] == 'samples' else 'fuse'}.{match[3]}"
    if match := re.fullmatch(r"conv_final\.0\.(\w+)", name):
        last = max(int(n.split(".")[1]) for n in all_names if n.startswith("up_layers."))
        return f"decoder.{last}.fuse.{parts_below(all_names, f'up_layers.{last}')}.{match[1]}"
    return None


def _segresnet_network(weights: Tensors) -> NetworkSpec:
    first = weights["encoder.stem.conv.weight"]
    levels = parts_below(weights, "encoder.levels")
    # A strided convolution, or nothing, comes before the residual blocks; the norm before the head is the last decoder
    # block's one more part.
    down = [parts_below(weights, f"encoder.levels.{level}") - 1 for level in range(levels)]
    up = [parts_below(weights, f"decoder.{block}.fuse") - (block == levels - 2) for block in range(levels - 1)]
    arguments = {"width": first.shape[0], "blocks_down": down, "blocks_up": up}
    return NetworkSpec("segresnet", dimensions_of(first), first.shape[1], arguments)


def _segresnetds_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """MONAI's SegResNetDS, and CT-FM, which is one; heads are left."""
    if name.startswith("encoder."):
        return name
    if match := re.fullmatch(r"up_layers\.(\d+)\.(upsample|blocks)\.(.+)", name):
        return f"decoder.{match[1]}.{'up' if match[2] == 'upsample' else 'fuse'}.{match[3]}"
    return None


def _segresnetds_network(weights: Tensors) -> NetworkSpec:
    first = weights["encoder.conv_init.weight"]
    levels = parts_below(weights, "encoder.layers")
    down = [parts_below(weights, f"encoder.layers.{level}.blocks") for level in range(levels)]
    up = [parts_below(weights, f"decoder.{block}.fuse") for block in range(levels - 1)]
    # Only batch norm has running numbers; of the others one cannot be told from another.
    norm = "batch" if any(name.endswith(".running_mean") for name in weights) else "instance"
    kernels = [weights[f"encoder.layers.{level}.blocks.0.conv1.weight"].shape[2:] for level in range(levels)]
    arguments: dict[str, Any] = {"width": first.shape[0], "blocks_down": down, "blocks_up": up, "norm": norm}
    # Where the first levels go down along some axes only, the others' voxels were as many times finer.
    thick = [kernel for kernel in kernels if min(kernel) == 1]
    if thick:
        arguments["finer"] = [2 ** sum(kernel[axis] == 3 for kernel in thick) for axis in range(len(kernels[0]))]
    return NetworkSpec("segresnetds", dimensions_of(first), first.shape[1], arguments)


def _anatomix_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """anatomix's U-Net, one list of layers: three convolutions at first, then two a level, down and up, and one more.

    A norm, where it has tensors, follows its convolution at once.
    """
    match = re.fullmatch(r"model\.(\d+)\.(\w+)", name)
    if match is None:
        return None
    layers = sorted(
        int(n.split(".")[1]) for n, tensor in all_names.items() if n.endswith(".weight") and tensor.ndim > 2
    )
    index, norm = int(match[1]), int(match[1]) not in layers
    place = layers.index(index - norm)
    downs = (len(layers) - 4) // 4
    inner = f"{'norm' if norm else 'pad.conv'}.{match[2]}"
    if place == 0:
        return f"encoder.0.0.{inner}"
    level, block = divmod(place - 1, 2)
    if level <= downs:
        return f"encoder.{level}.{block + 1}.{inner}"
    # The last convolution makes the features that anatomix compares.
    return f"decoder.{level - downs - 1}.fuse.{block}.{inner}" if level <= 2 * downs else None


def _anatomix_network(weights: Tensors) -> NetworkSpec:
    first = weights["encoder.0.0.pad.conv.weight"]
    # Published are two kinds: with batch norm, and with an instance norm that has no tensors.
    smooth = "encoder.0.0.norm.weight" not in weights
    arguments = {"width": first.shape[0], "levels": parts_below(weights, "encoder") - 1, "smooth": smooth}
    return NetworkSpec("anatomix", dimensions_of(first), first.shape[1], arguments)


def _dynunet_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """MONAI's DynUNet with plain blocks and instance norm; its tensors come a second time under skip_layers."""
    match = re.fullmatch(r"(input_block|downsamples\.\d+|bottleneck)\.(conv|norm)(\d)\.(?:conv\.)?(\w+)", name)
    if match:
        deepest = 1 + len({n.split(".")[1] for n in all_names if n.startswith("downsamples.")})
        level = {"input_block": 0, "bottleneck": deepest}.get(match[1])
        level = int(match[1].split(".")[1]) + 1 if level is None else level
        return f"encoder.{level}.{int(match[3]) - 1}.{LAYERS[match[2] == 'norm']}.{match[4]}"
    if match := re.fullmatch(r"upsamples\.(\d+)\.transp_conv\.conv\.(\w+)", name):
        return f"decoder.{match[1]}.up.{match[2]}"
    if match := re.fullmatch(r"upsamples\.(\d+)\.conv_block\.(conv|norm)(\d)\.(?:conv\.)?(\w+)", name):
        return f"decoder.{match[1]}.fuse.{int(match[3]) - 1}.{LAYERS[match[2] == 'norm']}.{match[4]}"
    return None


def _dynunet_network(weights: Tensors) -> NetworkSpec:
    levels = parts_below(weights, "encoder")
    firsts = [weights[f"encoder.{level}.0.conv.weight"] for level in range(levels)]
    rises = [weights[f"decoder.{block}.up.weight"] for block in range(levels - 1)]
    arguments = {
        "widths": [w.shape[0] for w in firsts],
        "strides": [list(w.shape[2:]) for w in reversed(rises)],
        "kernels": [list(w.shape[2:]) for w in firsts],
    }
    return NetworkSpec("unet", dimensions_of(firsts[0]), firsts[0].shape[1], arguments)


NNUNET_CITATION = (
    "Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation, Nature "
    "Methods 2021"
)

_SWIN_CITATION = (
    "Hatamizadeh et al., Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images, arXiv "
    "2201.01266."
)

#: By the name that ``--from`` takes.
LAYOUTS: dict[str, Layout] = {
    "macl": Layout(
        _macl_name,
        _macl_network,
        # The released run trained two decoder blocks; the others are as they were initialized.
        ("encoder", "decoder.0", "decoder.1"),
        citation="Zeng et al., Multi-level Asymmetric Contrastive Learning for Volumetric Medical Image Segmentation "
        "Pre-training, arXiv 2309.11876.",
    ),
    "vnet": Layout(
        _vnet_name,
        _vnet_network,
        turned=True,
        citation="Yu et al., Uncertainty-aware Self-ensembling Model for Semi-supervised 3D Left Atrium Segmentation, "
        "MICCAI 2019.",
    ),
    "segresnet": Layout(
        _segresnet_name,
        _segresnet_network,
        turned=True,
        citation="Myronenko, 3D MRI brain tumor segmentation, 2018.",
    ),
    "dynunet": Layout(
        _dynunet_name,
        _dynunet_network,
        # Transposed convolutions there have no bias.
        absent=(".up.bias",),
        turned=True,
        citation="Isensee et al., nnU-Net, Nature Methods 2021; MONAI.",
    ),
    "segresnetds": Layout(
        _segresnetds_name,
        _segresnetds_network,
        turned=True,
        citation="Myronenko, 3D MRI brain tumor segmentation, 2018; MONAI.",
    ),
    "swinunetr": Layout(swin_name, swin_network, turned=True, unturned=SWIN, citation=_SWIN_CITATION),
    "swinunetr-1.4": Layout(swin_name, former_swin_network, turned=True, unturned=SWIN, citation=_SWIN_CITATION),
    "anatomix": Layout(
        _anatomix_name,
        _anatomix_network,
        turned=True,
        citation="Dey et al., Learning General-purpose Biomedical Volume Representations using Randomized Synthesis, "
        "ICLR 2025, arXiv 2411.02372.",
    ),
    "nnssl": Layout(
        nnunet_name,
        nnssl_network,
        # What nnssl's adaptation plans name: stages and stem of the encoder.
        ("encoder",),
        absent=(".up.bias",),
        citation="Wald et al., An OpenMind for 3D medical vision self-supervised learning, ICCV 2025, arXiv "
        "2412.17041.",
    ),
    "nnunet": Layout(
        nnunet_name,
        nnunet_network,
        # Without a bias where its other convolutions have none.
        absent=(".up.bias",),
        citation=NNUNET_CITATION,
    ),
}

"""How nnU-Net's networks name their tensors, and which U-Net of ours each is.

Source: dynamic_network_architectures 0.4, PlainConvUNet and ResidualEncoderUNet; nnssl's pre-trained encoders too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..networks.spec import NetworkSpec
from ..printable import shortened
from .foreign_tensors import Tensors
from .tensor_names import LAYERS, dimensions_of, parts_below

_BLOCKS = {"conv1": "first", "conv2": "second"}


def nnunet_name(name: str, all_names: Mapping[str, Tensor]) -> str | None:
    """Our name of the tensor ``name``; None for other heads than the last, and for tensors that come a second time."""
    if match := re.fullmatch(r"encoder\.stages\.(\d+)\.(?:0\.)?convs\.(\d+)\.(conv|norm)\.(\w+)", name):
        return f"encoder.{match[1]}.{match[2]}.{_layer(match[3])}.{match[4]}"
    if match := re.fullmatch(r"encoder\.stem\.convs\.0\.(conv|norm)\.(\w+)", name):
        return f"encoder.0.0.{_layer(match[1])}.{match[2]}"
    if match := re.fullmatch(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.(conv1|conv2)\.(conv|norm)\.(\w+)", name):
        return f"{_block(match[1], match[2])}.{_BLOCKS[match[3]]}.{_layer(match[4])}.{match[5]}"
    if match := re.fullmatch(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.\d\.(conv|norm)\.(\w+)", name):
        return f"{_block(match[1], match[2])}.widen.{_layer(match[3])}.{match[4]}"
    if match := re.fullmatch(r"decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.(\w+)", name):
        return f"decoder.{match[1]}.fuse.{match[2]}.{_layer(match[3])}.{match[4]}"
    if match := re.fullmatch(r"decoder\.transpconvs\.(\d+)\.(\w+)", name):
        return f"decoder.{match[1]}.up.{match[2]}"
    return None


def nnunet_network(weights: Tensors) -> NetworkSpec:
    """The network of renamed tensors; a KeyError names one that must be there and is not."""
    levels, residual = parts_below(weights, "encoder"), "encoder.0.1.first.conv.weight" in weights
    stem = weights["encoder.0.0.conv.weight"]
    first = "0.first" if residual else "0"
    firsts = [stem, *(weights[f"encoder.{level}.{first}.conv.weight"] for level in range(1, levels))]
    rises = [weights[f"decoder.{block}.up.weight"] for block in range(levels - 1)]
    counts = [parts_below(weights, f"encoder.{level}") for level in range(levels)]
    arguments: dict[str, Any] = {
        "widths": [w.shape[0] for w in firsts],
        "strides": [list(w.shape[2:]) for w in reversed(rises)],
        "kernels": [list(w.shape[2:]) for w in firsts],
        "convolutions": [counts[0] - residual, *counts[1:]],
        "decoder_convolutions": [parts_below(weights, f"decoder.{block}.fuse") for block in range(levels - 1)],
        "bias": "encoder.0.0.conv.bias" in weights,
    }
    if "encoder.0.0.adn.N.running_mean" in weights:
        arguments["norm"] = "batch"
    if residual:
        arguments |= {"residual": True, "shortcut": "pool"}
    return NetworkSpec("unet", dimensions_of(stem), stem.shape[1], arguments)


def nnssl_network(weights: Tensors) -> NetworkSpec:
    """The network of tensors of nnssl, whose decoders differ by method; one without is taken for that of ResEnc-L."""
    decoder: Tensors = {}
    if not any(name.startswith("decoder.") for name in weights):
        halving = torch.empty(1, 1, *(2,) * dimensions_of(weights["encoder.0.0.conv.weight"]))
        for block in range(parts_below(weights, "encoder") - 1):
            decoder |= {f"decoder.{block}.up.weight": halving, f"decoder.{block}.fuse.0.conv.weight": halving}
    return nnunet_network({**weights, **decoder})


def nnunet_head(names: Mapping[str, Tensor]) -> str:
    """What the names of the head at full resolution begin with."""
    return f"decoder.seg_layers.{parts_below(names, 'decoder.seg_layers') - 1}."


def check_architecture(architecture: Mapping[str, Any], older_name: str) -> None:
    """Refuse networks of plans.json that are built of other parts than ours, as far as it says so.

    Args:
        older_name: of the class, where plans of before nnU-Net 2.4 have it.

    Raises:
        InputError: naming what there is no counterpart of.
    """
    arguments = architecture.get("arch_kwargs", {})
    name = str(architecture.get("network_class_name", older_name)).rpartition(".")[2]
    if name not in ("PlainConvUNet", "ResidualEncoderUNet") or not isinstance(arguments, Mapping):
        raise InputError(
            f"The model's network is {shortened(name) or 'not named'}; of nnU-Net's, PlainConvUNet and "
            "ResidualEncoderUNet can be imported."
        )
    strides = arguments.get("strides") or [1]
    numbers, rectifier = (arguments.get(key) or {} for key in ("norm_op_kwargs", "nonlin_kwargs"))
    if not (isinstance(strides, (list, tuple)) and isinstance(numbers, Mapping) and isinstance(rectifier, Mapping)):
        raise InputError("plans.json: the arch_kwargs of the network are not of nnU-Net's form. Copy the model again.")
    nonlin, block = (shortened(arguments.get(key)) for key in ("nonlin", "block"))
    first = strides[0] if isinstance(strides[0], (list, tuple)) else [strides[0]]
    for holds, words in (
        (all(step == 1 for step in first), "it shrinks its input before the first level"),
        (
            str(arguments.get("nonlin", "LeakyReLU")).endswith("LeakyReLU"),
            f"its activation {nonlin}",
        ),
        (rectifier.get("negative_slope", 0.01) == 0.01, "the slope of its leaky ReLU"),
        (not arguments.get("nonlin_first"), "its activation comes before the norm"),
        (re.search("(Instance|Batch)Norm", str(arguments.get("norm_op", "InstanceNorm"))), "its norm"),
        (numbers.get("eps", 1e-5) == 1e-5, "the eps of its norm"),
        (
            str(arguments.get("block", "BasicBlockD")).endswith("BasicBlockD"),
            f"its block {block}",
        ),
        (not arguments.get("stem_channels"), "its stem has a width of its own"),
        (not arguments.get("squeeze_excitation"), "its squeeze and excitation"),
    ):
        if not holds:
            raise InputError(f"The model's {name} has no counterpart here: {words}.")


def _layer(theirs: str) -> str:
    return LAYERS[theirs == "norm"]


def _block(stage: str, block: str) -> str:
    # The stem comes before the blocks of the first level.
    return f"encoder.{stage}.{int(block) + (stage == '0')}"

"""Importing a MONAI bundle as it is: network and head, spacing, intensities, tiles and label names.

Networks are taken by name from those that are known here; nothing in the configuration is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..networks.registry import build
from .bundle_files import BundleFiles, bundle_files
from .card import Card
from .foreign_layouts import LAYOUTS
from .foreign_tensors import Tensors, load_content, tensors_in
from .foreign_weights import Imported, fitted_segmenter, network_of, origin
from .monai_config import Config, Part
from .monai_plan import differs_after, labels_of, plan_of
from .tensor_names import parts_below
from .torchscript import is_torchscript, torchscript_tensors


@dataclass(frozen=True)
class _Network:
    """A network of MONAI's that we have: the layout of its tensors, its head, and what shapes do not show.

    Attributes:
        former: the layout in MONAI before 1.5, where another network has the same tensors there.
        head: what the names of its head's tensors begin with.
        fixed: argument -> the values that are known here, in lower case; others of the same name are refused.
    """

    layout: str
    head: Callable[[Tensors], str]
    fixed: Mapping[str, tuple[Any, ...]]
    former: str = ""


_NETWORKS = {
    "SegResNet": _Network(
        "segresnet",
        lambda tensors: "conv_final.2.conv.",
        {"act": ("relu",), "norm": ("group",), "upsample_mode": ("nontrainable",), "use_conv_final": (True,)},
    ),
    "SegResNetDS": _Network(
        "segresnetds",
        lambda tensors: f"up_layers.{parts_below(tensors, 'up_layers') - 1}.head.",
        {
            "act": ("relu",),
            "norm": ("batch", "instance", "instance_nvfuser"),
            "upsample_mode": ("deconv",),
            "preprocess": (None,),
        },
    ),
    "DynUNet": _Network(
        "dynunet",
        lambda tensors: "output_block.conv.conv.",
        {"act_name": ("leakyrelu",), "norm_name": ("instance",), "res_block": (False,)},
    ),
    "SwinUNETR": _Network(
        "swinunetr",
        lambda tensors: "out.conv.conv.",
        {
            **{"norm_name": ("instance",), "normalize": (True,), "downsample": ("merging",), "use_hyena": (False,)},
            "hyena_stages": (None,),
        },
        former="swinunetr-1.4",
    ),
}
#: Arguments of a norm or an activation that are known here.
_OPTIONS = {"inplace": (True, False), "affine": (True,), "num_groups": (8,), "negative_slope": (0.01,)}


def import_bundle(path: Path) -> Imported:
    """The segmenter of the bundle at ``path``: its folder, a file in one of its folders, or a zip of it.

    Raises:
        InputError: there is no bundle, or it cannot be represented.
    """
    with bundle_files(path) as files:
        return _imported(files)


def _imported(files: BundleFiles) -> Imported:
    config, metadata, model = Config(files.inference, files.where), files.metadata, files.weights
    if not isinstance(metadata, Mapping):
        raise InputError("metadata.json: expected an object with named fields.")
    part = config.part(config.data.get("network_def", config.data.get("network")), "network_def")
    known = _checked(part, config)
    theirs = torchscript_tensors(model) if is_torchscript(model) else tensors_in(load_content(model), model)
    whose = f"{files.weights_name} is not the {part.name} that {files.where} names"
    layout, head = LAYOUTS[_layout(known, metadata)], known.head(theirs)
    names: dict[str, str | None] = {
        name: f"head.{name.removeprefix(head)}" if name.startswith(head) else layout.name(name, theirs)
        for name in theirs
    }
    weights = {ours: layout.in_our_order(ours, theirs[name]) for name, ours in names.items() if ours is not None}
    spec = network_of(weights, layout.network, whose)
    if "head.weight" not in weights:
        raise InputError(f"{whose}: it has no {head}weight.")
    if spec.dimensions != 3:
        raise InputError(f"{whose}: only networks for volumes are taken, and it works on slices.")
    labels = labels_of(config, metadata, len(weights["head.weight"]))
    plan, notes = plan_of(config, metadata, spec.in_channels, build(spec).total_stride)
    kept = fitted_segmenter(weights, spec, len(labels) + 1, layout.absent, whose)
    if after := differs_after(config):
        notes.append(f"The bundle changes its label maps by {', '.join(after)}, which is not done here.")
    references = metadata.get("references")
    works = [str(one).strip().rstrip(".") for one in references] if isinstance(references, list) else []
    provenance = origin(
        model,
        str(metadata.get("name") or files.name)[:100],
        "monai",
        license=metadata["license"].strip() if isinstance(metadata.get("license"), str) else "",
        citation="; ".join([*works, layout.citation.rstrip(".")]) + ".",
    )
    card = Card("segmenter", "monai", spec, plan, {"network": part.name}, labels, provenance=provenance)
    return Imported(
        card,
        kept,
        tuple(name for name, ours in names.items() if ours is not None),
        tuple(name for name, ours in names.items() if ours is None),
        notes=(f"Taken: {files.weights_name}.", *notes),
    )


def _layout(known: _Network, metadata: Mapping[str, Any]) -> str:
    """The layout of the network in the MONAI of the bundle.

    Raises:
        InputError: it depends on MONAI's version, and the metadata do not say that.
    """
    if not known.former:
        return known.layout
    version = re.match(r"(\d+)\.(\d+)", str(metadata.get("monai_version", "")))
    if version is None:
        raise InputError(
            "metadata.json does not say the monai_version, and this network is another one in MONAI before 1.5. Add "
            "the version that it was trained with."
        )
    return known.layout if (int(version[1]), int(version[2])) >= (1, 5) else known.former


def _checked(part: Part, config: Config) -> _Network:
    """What we know of the network.

    Raises:
        InputError: it is not known, or an argument makes another one of it.
    """
    known = _NETWORKS.get(part.name)
    if known is None:
        raise InputError(
            f"The bundle's network is {part.name}, which is not known here. Known: {', '.join(_NETWORKS)}."
        )
    for name, values in known.fixed.items():
        if name not in part.arguments:
            continue
        given = config.value(part.arguments[name], f"{name} of {part.name}")
        kind, options = given, {}
        if isinstance(given, list) and len(given) == 2 and isinstance(given[1], Mapping):
            kind, options = given
        plain = kind.lower() if isinstance(kind, str) else kind
        wrong = [key for key, value in options.items() if value not in _OPTIONS.get(key, ())]
        if plain not in values or wrong:
            raise InputError(f"{config.where}: {part.name} with {name} {given!r} is not known here, only {values}.")
    strides, rises = (part.arguments.get(name) for name in ("strides", "upsample_kernel_size"))
    if isinstance(strides, list) and isinstance(rises, list) and strides[1:] != rises:
        raise InputError(f"{config.where}: a DynUNet whose strides and upsample_kernel_size differ is not known here.")
    return known

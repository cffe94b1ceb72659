"""Importing a trained nnU-Net v2 as it is: network and head, plans, labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.plan import Plan
from .card import Card
from .foreign_layouts import NNUNET_CITATION
from .foreign_tensors import Tensors, load_content, tensors_in
from .foreign_weights import Imported, fitted_segmenter, network_of, origin
from .nnunet_files import ModelFiles, model_files
from .nnunet_layout import check_architecture, nnunet_head, nnunet_name, nnunet_network
from .nnunet_plan import Dataset, Plans, configuration_of, labels_of, network_axes, plan_of, read_part


def import_nnunet(
    path: Path, configuration: str | None = None, fold: str | None = None, orientation: str | None = None
) -> Imported:
    """The segmenter of one fold of a model.

    Args:
        path: a results folder, a fold, a checkpoint, or an archive, see :func:`.nnunet_files.model_files`.
        configuration, fold: which of several. orientation: that the training data had, where volumes are to be turned
            to it; nnU-Net takes them as they are stored.

    Raises:
        InputError: there is no such model, or it cannot be represented.
    """
    with model_files(path, configuration, fold) as files:
        content = load_content(files.checkpoint)
        return _imported(content, tensors_in(content, files.checkpoint), files, orientation)


def _imported(content: Mapping[str, Any], tensors: Tensors, files: ModelFiles, orientation: str | None) -> Imported:
    started = content.get("init_args") or {}
    if "network_weights" not in content or not isinstance(started, Mapping):
        raise InputError(
            f"{files.name} is no checkpoint of nnU-Net v2: it lacks network_weights. Give the results folder of a "
            "training, or its checkpoint_final.pth."
        )
    name = started.get("configuration")
    if not isinstance(name, str):
        raise InputError(
            f"{files.name} does not say which configuration it is of. Give the checkpoint as nnU-Net v2 has written it."
        )
    plans = read_part(Plans, files.plans or started.get("plans"), "plans.json")
    dataset = read_part(Dataset, _described(files.dataset or started.get("dataset_json")), "dataset.json")
    how = configuration_of(plans, name)
    check_architecture(how.architecture, how.UNet_class_name)
    plan = plan_of(plans, how, dataset, content.get("inference_allowed_mirroring_axes") or (), orientation)
    labels, decision = labels_of(dataset)
    axes = network_axes(plans.transpose_forward, plan.dimensions)
    whose = f"{files.name} does not fit the network of nnU-Net that its plans name"
    once, names = _named(tensors, files.name)
    weights = _weights(once, names, axes, whose)
    if decision == "last":
        # The regions have no background; one that is always 0 lets our segmenter keep its classes.
        weights |= {one: _with_background(weights[one]) for one in ("head.weight", "head.bias") if one in weights}
    spec = network_of(weights, nnunet_network, whose)
    _check_fits(spec, plan, whose)
    kept = fitted_segmenter(weights, spec, len(labels) + 1, (".up.bias",), whose)
    provenance = origin(
        files.checkpoint,
        files.name,
        "nnunet",
        license=dataset.license,
        citation="; ".join(filter(None, (dataset.reference.strip().rstrip("."), NNUNET_CITATION))) + ".",
    )
    settings = {"trainer": str(content.get("trainer_name", "")), "configuration": name}
    card = Card("segmenter", "nnunet", spec, plan, settings, labels, decision=decision, provenance=provenance)
    left = tuple(n for n, ours in names.items() if ours is None)
    taken = tuple(n for n, ours in names.items() if ours is not None)
    return Imported(card, kept, taken, left, notes=_notes(plan, files, orientation))


def _named(tensors: Tensors, file: str) -> tuple[Tensors, dict[str, str | None]]:
    """Each tensor once, by their name, and our name for it: None where we have no place, as for the outputs of lower
    levels.

    Raises:
        InputError: there is one that nnU-Net's network does not have.
    """
    # Every module of theirs lists its parts a second time, and the decoder the encoder.
    once = {n: t for n, t in tensors.items() if ".all_modules." not in n and not n.startswith("decoder.encoder.")}
    head = nnunet_head(once)
    names = {n: f"head.{n.removeprefix(head)}" if n.startswith(head) else nnunet_name(n, once) for n in once}
    if unknown := [n for n, ours in names.items() if ours is None and not n.startswith("decoder.seg_layers.")]:
        raise InputError(f"{file} is not nnU-Net's own network: {unknown[0]} has no counterpart.")
    return once, names


def _weights(once: Tensors, names: Mapping[str, str | None], axes: list[int], whose: str) -> dict[str, Tensor]:
    """The tensors by our names, with their spatial axes in our order.

    Raises:
        InputError: one has another number of axes.
    """
    if any(once[n].ndim not in (1, 2, 2 + len(axes)) for n, ours in names.items() if ours is not None):
        raise InputError(f"{whose}: dimensions differ.")
    return {ours: _turned(once[n], axes) for n, ours in names.items() if ours is not None}


def _check_fits(spec: NetworkSpec, plan: Plan, whose: str) -> None:
    """Raise InputError where the network cannot take what the plan gives it."""
    if spec.dimensions != plan.dimensions or spec.in_channels != len(plan.channels):
        raise InputError(f"{whose}: dimensions or channels differ.")
    stride = build(spec).total_stride
    if any(n % step for n, step in zip(plan.patch_shape, stride, strict=True)):
        raise InputError(f"{whose}: a patch of {plan.patch_shape} voxels is no multiple of {stride}.")


def _described(dataset: Any) -> Any:
    """``dataset.json`` without what people write in other forms than a text where nothing depends on it."""
    if not isinstance(dataset, Mapping):
        return dataset
    free = ("license", "licence", "reference")
    return {key: value for key, value in dataset.items() if key not in free or isinstance(value, str)}


def _turned(tensor: Tensor, axes: list[int]) -> Tensor:
    """A convolution's weight with its spatial axes in our order."""
    return tensor.permute(0, 1, *(2 + axis for axis in axes)).contiguous() if tensor.ndim > 2 else tensor


def _with_background(tensor: Tensor) -> Tensor:
    """A head's weight or bias with a class of zeros before the others."""
    return torch.cat((torch.zeros_like(tensor[:1]), tensor))


def _notes(plan: Plan, files: ModelFiles, orientation: str | None) -> tuple[str, ...]:
    notes = [f"Taken: {files.name}."]
    if files.others:
        notes.append(
            f"Left: {', '.join(files.others)} (--configuration, --fold). One network is imported, no ensemble."
        )
    if plan.conventions.orientation == "stored" and orientation is None:
        notes.append(
            "Volumes are segmented in the orientation in which they are stored, as nnU-Net does. If yours are not "
            "stored as its training data were, name their orientation with --orientation (often RAS or LPS)."
        )
    if not plan.conventions.mirrored:
        notes.append("The model was trained without mirroring: mirrored copies are not averaged.")
    return tuple(notes)

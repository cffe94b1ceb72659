"""Importing weights of other projects: read without running their code, renamed, and checked one by one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from .. import events
from ..descriptions import ImportJob
from ..errors import InputError
from ..files import check_output
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.plan import Channel, Plan, is_orientation
from ..results import ImportResult
from .card import Card
from .foreign_layouts import LAYOUTS, Layout
from .foreign_tensors import load_content, tensors_in
from .foreign_weights import Imported, fitted, network_of, origin
from .format import save
from .header import check_name
from .licensing import check_license, inherited, tell_terms
from .monai_bundle import import_bundle
from .nnunet import import_nnunet


def import_weights(
    job: ImportJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> ImportResult:
    """Run ``job``: a trained nnU-Net or a MONAI bundle becomes a segmenter, other weights a pre-trained checkpoint that
    follows the data it is fine-tuned on.

    Raises:
        InputError: the file or the output cannot be used, or a tensor is missing or of another shape.
    """
    path, output = Path(job.file), Path(job.output)
    check_name(output)
    if job.source not in SOURCES:
        raise InputError(f"There is no import from {job.source!r}. There are: {', '.join(SOURCES)}.")
    if job.orientation is not None and not is_orientation(job.orientation):
        raise InputError(f"--orientation takes 'stored' or three letters as LPS or RAS, not {job.orientation!r}.")
    license = check_license(job.license)
    check_output(output, job.overwrite)
    emit(events.StageStarted(events.Stage.LOAD))
    if job.source == "nnunet":
        imported = import_nnunet(path, job.configuration, job.fold, job.orientation)
    else:
        if given := [name for name in ("configuration", "fold", "orientation") if getattr(job, name) is not None]:
            raise InputError(f"--{given[0]} is for trained models of nnU-Net; {job.source!r} has none.")
        imported = import_bundle(path) if job.source == "monai" else _backbone(path, job.source)
    provenance = imported.card.provenance
    name = provenance.base_method or path.name
    provenance = dataclasses.replace(provenance, license=inherited(license, provenance.license), sources=(name,))
    card = dataclasses.replace(imported.card, provenance=provenance)
    for note in imported.notes:
        emit(events.log(note))
    if not provenance.license:
        emit(events.log("The file does not say under which license its weights are. Note it with --license."))
    tell_terms(card, emit, in_full=True)
    save(output, imported.weights, card)
    return ImportResult(str(output), imported.matched, imported.skipped, imported.fresh, provenance.license)


#: What ``--from`` takes.
SOURCES = (*LAYOUTS, "monai")


def _backbone(path: Path, source: str) -> Imported:
    """The backbone in ``path``, a pickle of tensors (``.pth``, ``.pt``) or safetensors, of one of the layouts."""
    layout = LAYOUTS[source]
    theirs = tensors_in(load_content(path), path)
    whose = f"{path} is not the network of {source!r}"
    names = _names(layout, theirs, whose)
    weights = {ours: layout.in_our_order(ours, theirs[name]) for name, ours in names.items() if ours is not None}
    if not weights:
        raise InputError(f"{path} holds no tensor that {source!r} knows; its first: {', '.join([*theirs][:3])}.")
    spec = network_of(weights, layout.network, whose)
    own = build(spec).state_dict()
    # The rest is as initialized, so that the file loads strictly.
    every = fitted(weights, own, layout.transferred, layout.absent, f"{path} does not fit the network of {source!r}")
    kept = {name for name in own if name.startswith(tuple(f"{part}." for part in layout.transferred))}
    taken = tuple(name for name, ours in names.items() if ours in kept)
    guesses = []
    if source == "segresnetds" and spec.arguments["norm"] == "instance":
        guesses.append("The tensors do not say how it normalizes: instance norm is assumed, not group norm.")
    if source in ("swinunetr", "swinunetr-1.4"):
        guesses.append(
            "The tensors do not say which MONAI they were trained with: they are taken as those of 1.5 and later with "
            "--from swinunetr, as those of 1.4 and earlier with --from swinunetr-1.4."
        )
    if source == "nnssl" and not any(name.startswith("decoder.") for name in weights):
        guesses.append("The file has no decoder: that every level halves its voxels is assumed, as in ResEnc-L.")
    return Imported(
        _card(layout, spec, path, source),
        every,
        taken,
        tuple(name for name in theirs if name not in taken),
        tuple(name for name in own if name not in kept),
        tuple(guesses),
    )


def _names(layout: Layout, theirs: dict[str, Tensor], whose: str) -> dict[str, str | None]:
    try:
        return {name: layout.name(name, theirs) for name in theirs}
    except ValueError as problem:
        raise InputError(f"{whose}: its tensors fit no network.") from problem


def _card(layout: Layout, spec: NetworkSpec, path: Path, source: str) -> Card:
    """A card that says what is known; spacing and intensities follow the data ("any")."""
    channels = tuple(Channel(f"image {n + 1}") for n in range(spec.in_channels))
    patch = (*(1,) * (3 - spec.dimensions), *(4 * stride for stride in build(spec).total_stride))
    plan = Plan(spec.dimensions, channels, (1.0, 1.0, 1.0), (patch[0], patch[1], patch[2]))
    provenance = origin(path, path.name, source, citation=layout.citation)
    return Card("pretrained", source, spec, plan, transferred=layout.transferred, provenance=provenance)

"""Pre-training: volumes in, without labels or with some, a backbone checkpoint out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.format import save
from ..data.cached_volumes import CachedVolumes
from ..descriptions import PretrainJob
from ..errors import Cancelled, InputError
from ..methods.configuration import configured
from ..methods.method import Method
from ..methods.registry import find_method, methods_of
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.fingerprint import Fingerprint, fingerprint_of, make_plan
from ..planning.plan import Plan, millimeters
from ..planning.presets import choose_network
from ..planning.resolution import at_spacing, choose_resolution, finer_than_working
from ..results import PretrainResult
from ..serialization import to_json
from ..volumes.dataset import CaseFiles, check_labels_chosen
from ..volumes.dataset_json import declared_channels
from ..volumes.left_out import tell_left_out
from ..volumes.named_labels import with_common_values
from ..volumes.partial_labels import with_named_labels
from . import distributed
from .beside import metrics_path
from .loop import train
from .run import Trained
from .setup import (
    cache_folder,
    cases_of,
    on_data,
    open_run,
    prepared,
    provenance,
    warn_of_channels,
)


def pretrain(
    job: PretrainJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> PretrainResult:
    """Run ``job``; returns the paths written.

    Raises:
        InputError: images, labels, output, method, settings or budget cannot be used.
        Cancelled: stopped; the checkpoint so far and a resume file are kept.
    """
    method_type = find_method("pretrain", job.method)
    settings, how = configured(method_type, job)
    emit(events.StageStarted(events.Stage.PLAN))
    cases, sizes = _cases(job, method_type, emit)
    native = fingerprint_of(cases, declared_channels(Path(path) for path in job.images))
    for doubt in native.doubts:
        emit(events.warning(doubt))
    output = Path(job.output)
    with open_run(job, emit, cancelled) as run:
        spec, method = _method(job, method_type, settings, native, run.device)
        plan = method.plan
        emit(
            events.log(f"{_counted(cases)}; spacing {millimeters(plan.spacing)} mm; patch {plan.patch}; {job.method}.")
        )
        with cache_folder(job) as folder:
            emit(events.StageStarted(events.Stage.PREPROCESS))
            cached = prepared(cases, plan, folder, run)
            values = sorted({value for case in cached for value in case.values or ()})
            source = CachedVolumes(folder, cached, values, sizes)

            def write(trained: Trained) -> None:
                if distributed.rank():
                    return
                card = Card(
                    "pretrained",
                    job.method,
                    spec,
                    _generic(plan) if job.generic else plan,
                    settings=to_json(settings),
                    transferred=method.transferred,
                    provenance=provenance(job, cached, how, trained, citation=method.citation),
                )
                save(output, _of_backbone(trained.state), card)

            emit(events.StageStarted(events.Stage.TRAIN))
            trained = train(method, source, how, on_data(run, cached), write=write)
            if trained.cancelled and not trained.steps:
                raise Cancelled("Stopped before the first step; no checkpoint was written.")
            if trained.cancelled:
                raise trained.stopped_with(output)
    return PretrainResult(str(output), str(metrics_path(output)), trained.steps, round(trained.minutes, 2))


def _cases(job: PretrainJob, method_type: type[Method], emit: events.Emit) -> tuple[list[CaseFiles], list[int]]:
    """The cases of ``job``, and how many each data set has of them, in order."""
    data_sets = _data_sets(job.images)
    for data_set in data_sets:
        warn_of_channels(data_set, emit)
    tell_left_out(map(Path, job.images), emit)
    data_sets = with_named_labels(data_sets, _labels(job, method_type))
    cases = [case for data_set in data_sets for case in data_set]
    if method_type.uses_labels:
        check_labels_chosen(cases)
    return with_common_values(cases, {}, "", emit), [len(data_set) for data_set in data_sets]


def _method(
    job: PretrainJob, method_type: type[Method], settings: Any, native: Fingerprint, device: torch.device
) -> tuple[NetworkSpec, Method]:
    """The network for volumes like ``native``, and the method that trains it, with the plan."""
    # No labels say how coarse is too coarse, so that only the user can choose it.
    chosen = choose_resolution(job.resolution, native, job.dimensions, 0, 0, ())
    seen = at_spacing(native, chosen.spacing)
    spec, voxels = choose_network(job.network, job.size, job.dimensions, seen, device)
    # The seed decides the initial weights too.
    torch.manual_seed(job.seed)
    backbone = build(spec)
    plan = make_plan(seen, job.dimensions, method_type.patch_rule(backbone, settings), voxels)
    plan = dataclasses.replace(plan, volume_spacing=finer_than_working(native.spacing, plan.spacing))
    return spec, method_type(backbone, plan, settings)


def _counted(cases: Sequence[CaseFiles]) -> str:
    labeled = sum(case.labels is not None for case in cases)
    volumes = "1 volume" if len(cases) == 1 else f"{len(cases)} volumes"
    return volumes + (f", {labeled} of them with labels" if labeled else "")


def _of_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's part of a method's state dict, by the backbone's own names."""
    prefix = "backbone."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _labels(job: PretrainJob, method: type[Method]) -> list[Path]:
    """The paths of ``job.labels``.

    Raises:
        InputError: there are some, and the method learns from none.
    """
    if job.labels and not method.uses_labels:
        able = ", ".join(name for name, other in methods_of("pretrain").items() if other.uses_labels)
        raise InputError(
            f"{job.method} pre-training learns from no labels. Leave out --labels, or choose a --method that does "
            f"({able})."
        )
    return [Path(path) for path in job.labels]


def _data_sets(images: Sequence[str]) -> list[list[CaseFiles]]:
    """The cases of each folder and list; files and DICOM folders named one by one make one data set together."""
    files = [path for path in images if Path(path).is_file() and Path(path).suffix.lower() != ".json"]
    folders = [(path, cases_of([path])) for path in images if path not in files]
    series = [path for path, cases in folders if cases[0].images == (Path(path),)]
    together = [cases_of([*files, *series])] if files or series else []
    return [*together, *(cases for path, cases in folders if path not in series)]


def _generic(plan: Plan) -> Plan:
    """``plan`` for a starter, whose spacing and normalization follow the data it will be fine-tuned on."""
    return dataclasses.replace(plan, channels=tuple(dataclasses.replace(c, modality="any") for c in plan.channels))

"""Cases as a raw data set of nnU-Net v2: imagesTr, labelsTr, imagesTs and dataset.json.

Format: nnU-Net's documentation/dataset_format.md, and ignore_label.md for voxels without a label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import events
from ..checkpoints.card import Label
from ..descriptions import ExportJob, FinetuneJob
from ..errors import Cancelled, InputError, together
from ..files import write_text
from ..planning.normalize import looks_like_ct
from ..training.label_checks import check_background_drawn
from ..training.labeled_part import looked_for
from ..training.setup import cases_of, warn_of_channels
from ..training.task import labeled_cases, named_labels
from ..volumes.dataset import CaseFiles
from ..volumes.dataset_json import declared_channels
from ..volumes.labeling import NOT_LABELED
from ..volumes.named_labels import names_of, read_case_labels, with_background_painted
from ..volumes.reading import read_channels, read_geometry
from ..volumes.volume import LabelMap, label_type
from ..volumes.writing import write_image, write_labels
from .folder import check_folder, new_folder

_ENDING = ".nii.gz"
_NAME = re.compile(r"Dataset\d{3}_.+")


@dataclass(frozen=True)
class _Told:
    """What the label maps say together.

    Attributes:
        labels: all structures, by value. looked_for: by case the values that were looked for, None for all.
        partly: whether a voxel of any case has no label.
    """

    labels: tuple[Label, ...]
    looked_for: Mapping[str, tuple[int, ...] | None]
    partly: bool


def export_cases(job: ExportJob, emit: events.Emit, cancelled: events.CancelCheck) -> None:
    """Write the cases of ``job`` as a raw data set to a new folder, which appears when it is whole.

    Labels are numbered 1, 2, ... in the order of their values. What has no label (parts that nobody labeled, and the
    background of a case in which not all structures were looked for) becomes nnU-Net's label "ignore". Images keep
    their voxels and their grid; volumes without a label map go to imagesTs.

    Raises:
        InputError: the cases cannot be read or do not fit one another, or the folder is there already.
        Cancelled: stopped; nothing is left.
    """
    output = check_folder(job)
    emit(events.StageStarted(events.Stage.PLAN))
    task = _as_task(job)
    found = cases_of(job.images, job.labels)
    warn_of_channels(found, emit)
    labeled = labeled_cases(task, found, emit)
    others = [case for case in found if not case.labels]
    names = _channels(job, found)
    told = _told(task, labeled, len(names), cancelled)
    emit(events.StageStarted(events.Stage.EXPORT))
    with new_folder(output) as scratch:
        progress = events.ProgressMeter(emit, len(found), "volumes")
        ct = [True] * len(names)
        for done, case in enumerate([*labeled, *others], start=1):
            if cancelled():
                raise Cancelled("Stopped. Nothing was written.")
            ct = [a and b for a, b in zip(ct, _write_case(scratch, case, told, names), strict=True)]
            progress(done)
        channels = [name or ("CT" if ct[i] else f"channel {i + 1}") for i, name in enumerate(names)]
        text = json.dumps(_description(output, channels, told, len(labeled)), indent=1)
        write_text(scratch / "dataset.json", text + "\n")
    _tell(output, told, len(others), emit)


def _as_task(job: ExportJob) -> FinetuneJob:
    """The fine-tuning that would learn from these cases: they are read as there."""
    return FinetuneJob(
        checkpoint="none",
        images=job.images,
        labels=job.labels,
        label_table=job.label_table,
        labeled_part=job.labeled_part,
        background_label=job.background_label,
        missing_structures=job.missing_structures,
        output=job.output,
    )


def _channels(job: ExportJob, cases: Sequence[CaseFiles]) -> list[str]:
    """The declared names of the channels; "" for one without."""
    declared = declared_channels([Path(path) for path in job.images])
    count = len(declared) or len(cases[0].images)
    if count == 1:
        count = max(count, read_geometry(cases[0].images[0])[1])
    return list(declared) if len(declared) == count else [""] * count


def _told(task: FinetuneJob, cases: Sequence[CaseFiles], channels: int, cancelled: events.CancelCheck) -> _Told:
    declared = named_labels(task)
    background = cases[0].labeling.background
    no_structure = (0, background)
    ours, segments = (
        {v: n for v, n in names.items() if v not in no_structure} for names in (declared.names, names_of(cases))
    )
    names = ours or segments
    values: dict[str, tuple[int, ...]] = {}
    partly = drawn = False
    refused: list[InputError] = []
    for case in cases:
        if cancelled():
            raise Cancelled("Stopped. Nothing was written.")
        try:
            own = np.unique(_labels_of(with_background_painted(case), channels).array)
        except InputError as problem:
            refused.append(problem)
            continue
        partly, drawn = partly or NOT_LABELED in own, drawn or background in own
        values[case.name] = tuple(int(v) for v in own if v > 0 and v != background)
    if refused:
        raise together(refused)
    painted = {value for own in values.values() for value in own}
    if declared.names and (unknown := sorted(painted - set(names))):
        raise InputError(
            f"The label maps hold the value {unknown[0]}, which {declared.where} does not name. Name it there, or "
            "correct the label map."
        )
    check_background_drawn(task, drawn, painted)
    if not painted:
        raise InputError("All label maps are empty. Label at least one structure in one case.")
    if any(name.casefold() == "ignore" for name in names.values()):
        raise InputError("A structure is named ignore, which nnU-Net takes for voxels without a label. Rename it.")
    labels = tuple(Label(value, names.get(value, f"label {value}")) for value in sorted(painted | set(names)))
    known = {case.name: looked_for(task, case, values[case.name], labels) for case in cases}
    return _Told(labels, known, partly or any(looked is not None for looked in known.values()))


def _labels_of(case: CaseFiles, channels: int) -> LabelMap:
    return read_case_labels(case, read_geometry(case.images[0], channels)[0])


def _write_case(folder: Path, case: CaseFiles, told: _Told, channels: Sequence[str]) -> list[bool]:
    """Write images and label map of ``case``; returns of each channel whether it looks like CT."""
    volume = read_channels(case.images, len(channels))
    if len(volume.array) != len(channels):
        raise InputError(
            f"Case {case.name} has {len(volume.array)} channel(s), the others {len(channels)}. Complete it, or take it "
            "out."
        )
    place = "imagesTr" if case.labels else "imagesTs"
    for number, array in enumerate(volume.array):
        write_image(folder / place / f"{case.name}_{number:04d}{_ENDING}", array, volume.geometry)
    if case.labels:
        array = read_case_labels(case, volume.geometry).array
        write_labels(folder / "labelsTr" / f"{case.name}{_ENDING}", _numbered(array, case, told), volume.geometry)
    return [looks_like_ct(array) for array in volume.array]


def _numbered(array: np.ndarray, case: CaseFiles, told: _Told) -> np.ndarray:
    """The values of ``array`` as nnU-Net numbers them: 1, 2, ..., and one more for "ignore"."""
    ignore = len(told.labels) + 1
    numbers = np.zeros(2**16, np.uint16)
    numbers[[label.value for label in told.labels]] = np.arange(1, ignore)
    if told.looked_for.get(case.name) is not None:
        numbers[0] = ignore
    numbered = np.where(array == NOT_LABELED, ignore, numbers[np.maximum(array, 0)])
    return numbered.astype(label_type(ignore))


def _description(output: Path, channels: Sequence[str], told: _Told, cases: int) -> dict[str, object]:
    labels = {"background": 0, **{label.name: number for number, label in enumerate(told.labels, start=1)}}
    if told.partly:
        labels["ignore"] = len(told.labels) + 1
    return {
        "name": output.name,
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": _ENDING,
    }


def _tell(output: Path, told: _Told, others: int, emit: events.Emit) -> None:
    if told.partly:
        emit(events.log("Voxels without a label are nnU-Net's label ignore, which its losses leave out."))
    if moved := [f"{one.name} {one.value} -> {n}" for n, one in enumerate(told.labels, start=1) if one.value != n]:
        emit(events.log(f"nnU-Net counts labels without gaps: {', '.join(moved)}."))
    if others:
        emit(events.log(f"{others} volumes without a label map are in imagesTs, which nnU-Net does not learn from."))
    if not _NAME.fullmatch(output.name):
        emit(events.log(f"nnU-Net looks for folders named as Dataset123_{output.name} in nnUNet_raw."))

"""The quality job: which segmentations of a batch to look at first, where there is no reference to measure against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.header import read_card
from ..descriptions import QualityJob
from ..errors import Cancelled, InputError
from ..files import check_outputs, check_there, replacing, write_text
from ..planning.compatibility import incompatibilities, warning_text
from ..results import Failure, QualityCase, QualityResult
from ..volumes.alignment import check_same_grid
from ..volumes.components import Components, pieces_of
from ..volumes.dataset import CaseFiles, find_cases
from ..volumes.dataset_json import declared_channels
from ..volumes.declared_labels import declared_labels
from ..volumes.left_out import tell_left_out
from ..volumes.named_labels import check_same_numbers
from ..volumes.origin import read_distance
from ..volumes.pairing import labels_by_case, volume_files
from ..volumes.plausible_labels import check_no_image
from ..volumes.reading import read_channels, read_labels, read_volume
from ..volumes.segments import segments_of
from ..volumes.volume import Volume
from .doubt import Measured, by_doubt
from .quality_tables import Picture, to_csv, to_html, without_names
from .thumbnail import thumbnail_png

#: Voxels around the structures that count as their surroundings, as in ranking.
_MARGIN = 2
#: By so much a stored uncertainty may exceed 1.
_ROUNDING = 1e-3


def quality(
    job: QualityJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> QualityResult:
    """Run ``job``; returns the cases, the most doubtful first.

    Raises:
        InputError: a file or folder cannot be used, an output cannot be written, or no case could be measured.
        Cancelled: stopped; nothing is written.
    """
    cases = find_cases([Path(p) for p in job.input], [Path(job.segmentations)])
    maps = _maps(job, cases)
    drawn = {case.name: Path(job.pictures) / f"{case.name}.png" for case in cases} if job.pictures else {}
    _check_outputs(job, cases, [*maps.values()], [*drawn.values()])
    tell_left_out(map(Path, job.input), emit)
    card = read_card(Path(job.checkpoint)) if job.checkpoint else None
    names = _names(job, card, [case.labels for case in cases if case.labels])
    channels = len(card.plan.channels if card else declared_channels(Path(p) for p in job.input)) or 1
    emit(events.StageStarted(events.Stage.EVALUATE))
    progress = events.ProgressMeter(emit, len(cases), "volumes")
    measured: list[Measured] = []
    pictures: dict[str, bytes] = {}
    failures: list[Failure] = []
    for done, case in enumerate(cases):
        if cancelled():
            raise Cancelled("Stopped while looking at the segmentations. Nothing was written.")
        try:
            if case.labels is None:
                raise InputError(
                    f"{case.name} has no segmentation in {job.segmentations}. Segment it, or name its label map so."
                )
            found, picture = _measure(case, maps.get(case.name), card, channels, bool(job.html or drawn), emit)
            measured.append(found)
            pictures[case.name] = picture
        except (InputError, MemoryError) as problem:
            failures.append(Failure(str(case.images[0]), str(problem)))
            emit(events.warning(f"{case.name}: {problem}"))
        progress(done + 1)
    if not measured:
        raise InputError(f"None of the {len(cases)} segmentations could be looked at. {failures[0].what}")
    if drawn:
        _write_pictures(pictures, drawn)
        emit(events.log(f"{len(pictures)} pictures in {job.pictures}, named after their cases."))
    if unknown := sum(found.distance is None for found in measured):
        told = f"is not known of {unknown} of {len(measured)} segmentations, so it does not count"
        emit(events.log(f"The distance from the training {told}."))
    files = {case.name: case for case in cases}
    ranked = [
        _with_files(case, files[case.name], drawn) for case in by_doubt(measured, _looked_for(names, card, measured))
    ]
    for position, entry in enumerate(ranked, start=1):
        emit(events.log(f"{position}. {entry.name}: " + "; ".join([f"doubt {entry.doubt:.2f}", *entry.reasons])))
    _write_tables(job, ranked, pictures)
    return QualityResult(tuple(ranked), tuple(failures), job.csv, job.html)


def _check_outputs(job: QualityJob, cases: Sequence[CaseFiles], maps: Sequence[Path], drawn: Sequence[Path]) -> None:
    """Raise InputError where what is to be written lies there, or is what is read."""
    inputs = [Path(p) for p in (*job.input, job.segmentations)] + [path for case in cases for path in case.images]
    inputs += [case.labels for case in cases if case.labels] + [*maps]
    check_outputs([*(Path(p) for p in (job.csv, job.html) if p), *drawn], inputs, job.overwrite)


def _write_pictures(pictures: Mapping[str, bytes], files: Mapping[str, Path]) -> None:
    for name, picture in pictures.items():
        with replacing(files[name]) as temporary:
            temporary.write_bytes(picture)


def _write_tables(job: QualityJob, ranked: Sequence[QualityCase], pictures: Mapping[str, bytes]) -> None:
    shown = ranked if job.names else without_names(ranked)
    if job.csv:
        write_text(Path(job.csv), to_csv(shown))
    if job.html:
        page = [Picture(case, pictures[original.name]) for case, original in zip(shown, ranked, strict=True)]
        write_text(Path(job.html), to_html(page))


def _with_files(case: QualityCase, files: CaseFiles, drawn: Mapping[str, Path]) -> QualityCase:
    picture = str(drawn[case.name]) if case.name in drawn else None
    return replace(case, image=str(files.images[0]), segmentation=str(files.labels), picture=picture)


def _measure(
    case: CaseFiles, map_file: Path | None, card: Card | None, channels: int, with_picture: bool, emit: events.Emit
) -> tuple[Measured, bytes]:
    """The case, of ``channels``, by itself, and its picture (b"" if none is wanted)."""
    assert case.labels is not None
    volume = read_channels(case.images, channels)
    if volume.doubt:
        emit(events.warning(f"{case.name}: {volume.doubt}."))
    labels = read_labels(case.labels, volume.geometry).array
    check_no_image(case.labels, labels)
    pieces = pieces_of(labels)
    uncertainty, voxel = None, _place(pieces, labels.shape)
    if map_file is not None:
        unsure = read_volume(map_file)
        check_same_grid(map_file, unsure.geometry, volume.geometry, str(case.images[0]))
        if unsure.array.min() < 0 or unsure.array.max() > 1 + _ROUNDING:
            raise InputError(
                f"{map_file} is no uncertainty map: it holds {unsure.array.min():g} to {unsure.array.max():g}, where 0 "
                "to 1 is wanted. Give those that segment --uncertainty wrote."
            )
        uncertainty, voxel = uncertainty_around(unsure.array[0], labels)
    ml = volume.geometry.voxel_volume_ml
    measured = Measured(
        case.name,
        {value: sum(found.sizes) * ml for value, found in pieces.items()},
        {value: len(found.sizes) for value, found in pieces.items()},
        uncertainty,
        _unlike(volume, card),
        volume.geometry.position(voxel),
        read_distance(case.labels),
    )
    colors = {label.value: label.color for label in (card.labels if card else ()) if label.color}
    return measured, thumbnail_png(volume, labels, voxel, colors) if with_picture else b""


def _place(pieces: Mapping[int, Components], shape: Sequence[int]) -> tuple[int, ...]:
    """Where to look without an uncertainty map: in the largest second piece of a structure, else in the largest."""
    for index in (1, 0):
        found = [(p.sizes[index], p.middles[index]) for p in pieces.values() if len(p.sizes) > index]
        if found:
            return max(found)[1]
    return tuple(n // 2 for n in shape)


def uncertainty_around(entropy: np.ndarray, labels: np.ndarray) -> tuple[float, tuple[int, int, int]]:
    """Mean of a map (z, y, x) in and around the structures, everywhere without any, and the voxel that has the most
    around it."""
    region = labels > 0
    if not region.any():
        region = np.ones_like(region)
    boxes = ndimage.find_objects(region.astype(np.uint8))[0]
    box = tuple(slice(max(s.start - _MARGIN, 0), s.stop + _MARGIN) for s in boxes)
    inside, unsure = region[box], entropy[box].astype(np.float32)
    for axis in range(3):
        inside = ndimage.maximum_filter1d(inside, 2 * _MARGIN + 1, axis, mode="constant")
    around = ndimage.uniform_filter(np.where(inside, unsure, 0), 3, mode="constant")
    most = np.unravel_index(int(around.argmax()), around.shape)
    z, y, x = (int(index) + part.start for index, part in zip(most, box, strict=True))
    return float(unsure[inside].mean(dtype=np.float64)), (z, y, x)


def _unlike(volume: Volume, card: Card | None) -> tuple[str, ...]:
    """In what the volume differs from those the checkpoint was trained on, in sentences."""
    if card is None:
        return ()
    problems = incompatibilities(card.plan, volume.geometry, list(volume.array))
    return tuple(warning_text(problem, "the volume").removesuffix(".") for problem in problems)


def _maps(job: QualityJob, cases: Sequence[CaseFiles]) -> dict[str, Path]:
    """Case name -> its uncertainty map, for those that have one."""
    if job.uncertainty is None:
        return {}
    path = Path(job.uncertainty)
    check_there(path)
    if path.is_dir():
        return labels_by_case(volume_files(path), {case.name for case in cases})
    if len(cases) > 1:
        raise InputError(f"{path} is one map, and there are {len(cases)} volumes. Give the folder of their maps.")
    return {cases[0].name: path}


def _names(job: QualityJob, card: Card | None, segmentations: Sequence[Path]) -> dict[int, str]:
    """Label value -> name, by the checkpoint, else a dataset.json beside the segmentations, else their segments.

    Raises:
        InputError: they contradict each other.
    """
    learned = {label.value: label.name for label in (card.labels if card else ())}
    declared = declared_labels([Path(job.segmentations)]).names
    check_same_numbers(segmentations, {job.checkpoint or "": learned, "dataset.json": declared})
    named: dict[int, str] = {}
    for path in segmentations:
        with suppress(InputError, OSError):  # what is damaged is named where it is read
            named |= {segment.value: segment.name for segment in segments_of(path)}
    return named | declared | learned


def _looked_for(names: Mapping[int, str], card: Card | None, measured: Sequence[Measured]) -> dict[int, str]:
    """Label value -> name, of the structures that the checkpoint knows and of those that occur."""
    known = {label.value for label in (card.labels if card else ())}
    values = sorted(known.union(*(case.volumes for case in measured)))
    return {value: names.get(value, f"label {value}") for value in values}

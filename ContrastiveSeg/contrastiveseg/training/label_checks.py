"""Whether the label maps of a fine-tuning fit one another, checked before training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import events, files
from ..checkpoints.learned_cases import first_names
from ..data.cached_case import CachedCase
from ..descriptions import FinetuneJob
from ..errors import InputError
from ..volumes.dataset import CaseFiles
from ..volumes.dataset_json import declared_counts
from ..volumes.pairing import volume_files

#: "Labeled" in masks that were made as 8-bit pictures.
_WHITE = 255
#: So many values of label maps are listed.
_LISTED = 20


def check_same_values(cases: Sequence[CachedCase], emit: events.Emit) -> None:
    """Warn where ``cases``, whose labels have no names, fall into groups without a common label.

    Raises:
        InputError: a group has the value 255 and as many labels as another: its masks are probably scaled.
    """
    groups = list(_groups(cases))
    if len(groups) < 2:
        return
    listed = "; ".join(
        f"{', '.join(map(str, sorted(group)))} in {first_names([c.name for c in cases if group & {*(c.values or ())}])}"
        for group in groups
    )
    way_out = (
        "If they are one structure, give it the same number in all label maps. If not, name them (--label-table, or "
        "dataset.json)."
    )
    if any(len(white) == len(other) for white in groups if _WHITE in white for other in groups if other is not white):
        raise InputError(f"The label maps hold different numbers: {listed}. {way_out}")
    emit(
        events.warning(f"The label maps hold different numbers, each learned as another structure: {listed}. {way_out}")
    )


def check_background_drawn(job: FinetuneJob, drawn: bool, held: Iterable[int]) -> None:
    """Refuse a value of painted background that is not ``drawn`` in any label map; ``held`` are their values.

    Raises:
        InputError: the job names such a value.
    """
    if job.background_label is not None and not drawn:
        values = ", ".join(map(str, sorted(held)[:_LISTED])) or "none"
        raise InputError(
            f"--background-label {job.background_label}: no label map holds this value. They hold: {values}. Give that "
            "of painted background, or leave the option out."
        )


def tell_unused_maps(images: Sequence[str], cases: Sequence[CaseFiles], emit: events.Emit) -> None:
    """Tell of label maps in the folders of those used that are of none of ``cases``, where ``images`` are folders: an
    image may have been lost on the way."""
    if not all(Path(path).is_dir() for path in images):
        return
    used = {case.labels for case in cases if case.labels}
    folders = {path.parent for path in used} - {image.parent for case in cases for image in case.images}
    if unused := [files.stem(f) for folder in sorted(folders) for f in volume_files(folder) if f not in used]:
        maps = "1 label map has" if len(unused) == 1 else f"{len(unused)} label maps have"
        emit(events.log(f"{maps} no volume by that name, and no use: {first_names(unused)}."))


def warn_of_other_count(images: Iterable[Path], cases: Sequence[CaseFiles], emit: events.Emit) -> None:
    """Warn where a ``dataset.json`` of ``images`` tells of another number of training cases than there are, or than are
    labeled: some may be missing, or not belong there."""
    for path, told in declared_counts(images):
        own = [case for case in cases if case.images[0].is_relative_to(path.parent)]
        labeled = sum(case.labels is not None for case in own)
        if told not in (len(own), labeled):
            emit(
                events.warning(
                    f"{path} tells of {told} training cases (numTraining), and {labeled} labeled ones are there. Some "
                    "may be missing, or not belong there; if not, correct it."
                )
            )


def warn_of_shared_maps(cases: Sequence[CachedCase], emit: events.Emit) -> None:
    """Warn of different images with one label map: it may be that of one of them alone."""
    first: dict[tuple[int, ...], CachedCase] = {}
    for case in cases:
        if not case.values:  # nothing is painted, which says nothing
            continue
        other = first.setdefault((*case.shape, *case.checksums[1:]), case)
        if other.digest != case.digest:
            emit(
                events.warning(
                    f"{other.name} and {case.name} have the same label map and different images. If these are not two "
                    "images of one patient, one has the label map of another: correct it."
                )
            )


def warn_of_labels_held_out(
    cases: Sequence[CachedCase], held: Sequence[int], labels: Mapping[int, str], emit: events.Emit
) -> None:
    """Warn of ``labels`` that no case has but those ``held`` out, by their indices."""
    learned = {value for index, case in enumerate(cases) if index not in held for value in case.values or ()}
    for value, name in labels.items():
        if value not in learned:
            emit(
                events.warning(
                    f"{name} ({value}) is in held-out cases alone, so it is not learned, and not found in them. "
                    "Hold out other cases."
                )
            )


def warn_of_copies(cases: Sequence[CachedCase], emit: events.Emit) -> None:
    """Warn of labeled cases with one image: where one of them is held out, it was learned from all the same."""
    first: dict[str, str] = {}
    for case in cases:
        other = first.setdefault(case.digest, case.name)
        if other != case.name:
            emit(
                events.warning(
                    f"{other} and {case.name} have the same image. Scores on one prove nothing where the other is "
                    "learned from; if their label maps differ, one is wrong. Take one out."
                )
            )


def warn_of_rare_labels(
    cases: Sequence[CachedCase], names: Mapping[int, str], declared: Mapping[int, str], where: str, emit: events.Emit
) -> None:
    """Warn of labels that are ``declared`` in ``where`` and in no case, and of those in one of several cases only."""
    having = {v: [case.name for case in cases if v in (case.values or ())] for v in {*names, *declared} if v}
    missing = [f"{declared[value]} ({value})" for value, own in sorted(having.items()) if value in declared and not own]
    if missing:
        emit(
            events.warning(
                f"{where} declares {', '.join(missing)}, which no label map has: not learned. Label it in some cases, "
                "or leave it out there."
            )
        )
    for value, own in sorted(having.items()):
        if len(own) == 1 and len(cases) > 1:
            emit(
                events.warning(
                    f"{names.get(value, value)} ({value}) is in one of {len(cases)} label maps only ({own[0]}). If it "
                    "is a slip, correct it there; else label it in more cases: from one it is learned poorly."
                )
            )


def warn_of_corners(cases: Sequence[CachedCase], names: Mapping[int, str], emit: events.Emit) -> None:
    """Warn of label maps in which all corners of the volume are one structure: it may be their background."""
    found = [case for case in cases if case.corners]
    if found:
        value = found[0].corners
        emit(
            events.warning(
                f"In {first_names([case.name for case in found])} all corners of the volume are {names[value]} "
                f"({value}), which is learned as a structure. If it is the background, or the map is inverted, correct "
                f"it, or say --background-label {value}."
            )
        )


def warn_of_void(values: Sequence[int], names: Mapping[int, str], emit: events.Emit) -> None:
    """Warn of 255 without a name beside small ``values``: in many data sets it marks voxels without a label."""
    others = [value for value in values if value != _WHITE]
    if _WHITE in values and _WHITE not in names and others and max(others) < _WHITE // 2:
        emit(
            events.warning(
                f"The label maps hold {_WHITE} beside {', '.join(map(str, others[:_LISTED]))}: it is learned as a "
                "structure. If it marks voxels without a label, call it ignore in a dataset.json beside the label maps "
                f'("labels": {{..., "ignore": {_WHITE}}}).'
            )
        )


def _groups(cases: Iterable[CachedCase]) -> Iterable[set[int]]:
    """Sets of labels such that no case has labels of two of them."""
    groups: list[set[int]] = []
    for case in cases:
        own = set(case.values or ())
        if own:
            touched = [group for group in groups if group & own]
            groups = [group for group in groups if not group & own] + [own.union(*touched)]
    return sorted(groups, key=min)

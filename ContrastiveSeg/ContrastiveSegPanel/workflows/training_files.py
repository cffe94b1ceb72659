"""Cases of the scene on their way to a training: which files they become, written one a step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.descriptions import LabeledPart
from contrastiveseg.errors import InputError
from contrastiveseg.serialization import to_json

from ..mrml import scene
from .cases import UNLABELED, VALIDATION, Case, Structure, labels_to_learn, segment_values
from .labeled_parts import is_background
from .pairing import PREDICTED, same_name
from .task import Step


@dataclass(frozen=True)
class CaseLabels:
    """What the labels of a case leave open.

    Attributes:
        part: what of the volume is labeled; None: as the job says.
        not_drawn: names of structures that may be in its background; None: nobody asked for those that it lacks.
        region: ID of a Markups ROI outside of which nothing is labeled.
    """

    part: LabeledPart | None = None
    not_drawn: frozenset[str] | None = None
    region: str | None = None


@dataclass(frozen=True)
class TrainingFiles:
    """Files a training needs.

    Attributes:
        steps: what writes them; to be done before the job.
        fields: those of ``FinetuneJob`` that name them.
        labels: what is learned.
        volume_ids: name of a case in files and results -> ID of its volume.
    """

    steps: list[Step]
    fields: dict[str, Any]
    labels: list[Label]
    volume_ids: dict[str, str]


def training_files(
    cases: Sequence[Case],
    structures: Sequence[Structure],
    known: Sequence[Label],
    folder: Path,
    with_unlabeled: bool,
    log: Callable[[str], None],
    channels: Sequence[str] = (),
    case_labels: Mapping[str, CaseLabels] | None = None,
) -> TrainingFiles:
    """``cases`` as files of a fine-tuning in ``folder``.

    Args:
        known: labels of the checkpoint to start from.
        with_unlabeled: also hand over the unlabeled cases.
        log: gets a sentence where segments of a case hide each other.
        channels: names of the channels of each case, where it has several volumes.
        case_labels: by volume ID; a case that is not among them is labeled throughout.

    Raises:
        InputError: no case holds anything to learn, or there are too many labels.
    """
    labels = labels_to_learn(structures, known)
    values = {c.volume_id: segment_values(structures, labels, c.segmentation_id) for c in cases if c.labeled}
    looked_for = {c.volume_id: _looked_for(labels, (case_labels or {}).get(c.volume_id)) for c in cases}
    labeled = [c for c in cases if values.get(c.volume_id) and looked_for[c.volume_id] != []]
    unlabeled = [c for c in cases if c.role == UNLABELED] if with_unlabeled else []
    if not labeled:
        raise InputError(_("None of the volumes has a segment to learn. Tick one, or give a volume a segmentation."))
    names = case_names([*labeled, *unlabeled])
    regions = {c.volume_id: (case_labels or {}).get(c.volume_id, CaseLabels()).region for c in labeled}
    not_labeled = next(value for value in count(1) if value not in {label.value for label in labels})
    for part in ("images", "labels", "unlabeled"):
        (folder / part).mkdir()
    files = {case.volume_id: names[case.volume_id] + scene.FILE_ENDING for case in [*labeled, *unlabeled]}
    steps = []
    for case in labeled:
        steps += _volume_steps(case, folder / "images" / files[case.volume_id])
        path = folder / "labels" / files[case.volume_id]
        outside = regions[case.volume_id], not_labeled
        steps.append(labels_step(case, values[case.volume_id], path, log, outside))
    steps += [step for case in unlabeled for step in _volume_steps(case, folder / "unlabeled" / files[case.volume_id])]
    _declare(folder, channels, not_labeled if any(regions.values()) else None)
    (folder / "labels.json").write_text(json.dumps([to_json(label) for label in labels]), encoding="utf-8")
    entries = [
        _entry(
            _files(case, folder / "images" / files[case.volume_id]),
            folder / "labels" / files[case.volume_id],
            names[case.volume_id],
            (case_labels or {}).get(case.volume_id, CaseLabels()).part,
            looked_for[case.volume_id],
        )
        for case in labeled
    ]
    (folder / "cases.json").write_text(json.dumps(entries), encoding="utf-8")
    # Each name with its comma: a volume called "2" is not the number of cases to hold out.
    held_out = "".join(f"{names[case.volume_id]}," for case in labeled if case.role == VALIDATION)
    fields = {
        "images": (str(folder / "cases.json"),),
        "label_table": str(folder / "labels.json"),
        "unlabeled": (str(folder / "unlabeled"),) if unlabeled else (),
        "validation": held_out or "none",
        "cache": str(folder / "cache"),
    }
    return TrainingFiles(steps, fields, labels, {names[case.volume_id]: case.volume_id for case in labeled})


def circular_references(cases: Sequence[Case], volume_ids: Mapping[str, str], checkpoint: str) -> list[str]:
    """Names of the cases to validate on whose segmentation the checkpoint, a file's name, has made.

    Args:
        volume_ids: as in :class:`TrainingFiles`.
    """
    segmentations = {c.volume_id: c.segmentation_id or "" for c in cases if c.role == VALIDATION}
    nodes = {
        name: slicer.mrmlScene.GetNodeByID(segmentations[identifier])
        for name, identifier in volume_ids.items()
        if identifier in segmentations
    }
    return [name for name, node in nodes.items() if node is not None and node.GetAttribute(PREDICTED) == checkpoint]


def write_volumes(cases: Sequence[Case], folder: Path) -> tuple[list[Step], dict[str, tuple[str, ...]]]:
    """Steps that write the volumes of ``cases`` into ``folder``, and volume ID -> files, one a channel."""
    folder.mkdir()
    names = case_names(cases)
    files = {case.volume_id: _files(case, folder / (names[case.volume_id] + scene.FILE_ENDING)) for case in cases}
    steps = [
        step for case in cases for step in _volume_steps(case, folder / (names[case.volume_id] + scene.FILE_ENDING))
    ]
    return steps, {identifier: tuple(map(str, paths)) for identifier, paths in files.items()}


def labels_step(
    case: Case,
    values: Mapping[str, int],
    path: Path,
    log: Callable[[str], None] = lambda text: None,
    outside: tuple[str | None, int] = (None, 0),
) -> Step:
    """What writes the segments of ``case`` as a label map.

    Args:
        values: segment ID -> value in the label map. log: gets a sentence where segments hide each other.
        outside: ID of a Markups ROI, None for no region, and the value that all voxels outside of it get.
    """
    words = _("Writing the labels of {name}").format(name=case.name)
    return words, partial(_write_labels, case, values, path, log, *outside)


def case_names(cases: Sequence[Case]) -> Mapping[str, str]:
    """Volume ID -> name of its files."""
    nodes = [slicer.mrmlScene.GetNodeByID(case.volume_id) for case in cases]
    return scene.safe_names(nodes)


def _files(case: Case, path: Path) -> list[Path]:
    """``path``, or for a case of several channels a file for each, as the engine's naming rules have it."""
    if not case.channel_ids:
        return [path]
    return [path.with_name(f"{path.stem}_{index:04d}{path.suffix}") for index in range(len(case.channel_ids))]


def _declare(folder: Path, channels: Sequence[str], not_labeled: int | None) -> None:
    """Write what the engine looks for beside the images: names of several channels, and the value of voxels that are
    not labeled. The names of the labels are in their own table."""
    if len(channels) < 2 and not_labeled is None:
        return
    declared: dict[str, Any] = {"labels": {"background": 0}}
    if len(channels) > 1:
        declared["channel_names"] = dict(enumerate(channels))
    if not_labeled is not None:
        declared["labels"]["ignore"] = not_labeled
    (folder / "dataset.json").write_text(json.dumps(declared), encoding="utf-8")


def _looked_for(labels: Sequence[Label], open_: CaseLabels | None) -> list[str] | None:
    """Names of the labels that were looked for in a case, or are painted in it; None where nobody asked."""
    if open_ is None or open_.not_drawn is None:
        return None
    left_out = {same_name(name) for name in open_.not_drawn}
    return [label.name for label in labels if same_name(label.name) not in left_out and not is_background(label.name)]


def _entry(
    images: Sequence[Path], label: Path, name: str, part: LabeledPart | None, structures: list[str] | None
) -> Any:
    """A case in the engine's list of cases; where part or structures are None the job's own options hold."""
    entry = {
        "image": [str(image) for image in images],
        "label": str(label),
        "name": name,
        "labeled_part": part,
        "structures": structures,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _volume_steps(case: Case, path: Path) -> list[Step]:
    identifiers = case.channel_ids or (case.volume_id,)

    def write(identifier: str | None, file: Path) -> None:
        scene.write_volume(_node(identifier, case), file)

    words = _("Writing {name}").format(name=case.name)
    return [(words, partial(write, i, file)) for i, file in zip(identifiers, _files(case, path), strict=True)]


def _write_labels(
    case: Case, values: Mapping[str, int], path: Path, log: Callable[[str], None], region: str | None, not_labeled: int
) -> None:
    segmentation, outside = _node(case.segmentation_id, case), None
    if region is not None:
        roi = slicer.mrmlScene.GetNodeByID(region)
        if roi is None:
            raise InputError(_("The region in which {name} is labeled was removed.").format(name=case.name))
        outside = roi, not_labeled
    for overlap in scene.write_labels(segmentation, _node(case.volume_id, case), values, path, outside):
        log(overlap)


def _node(identifier: str | None, case: Case) -> Any:
    node = slicer.mrmlScene.GetNodeByID(identifier) if identifier else None
    if node is None:
        raise InputError(_("{name} or its segmentation is no longer in the scene.").format(name=case.name))
    return node

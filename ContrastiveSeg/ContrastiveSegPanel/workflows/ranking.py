"""What ranking needs of the scene, and where in a volume the slices lie that it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from contrastiveseg.results import RankedCase
from contrastiveseg.volumes.orientation import canonical_axes

from ..mrml import scene
from ..mrml.grids import grid_of
from ..mrml.segments import segments_of
from .cases import TRAIN, UNLABELED, Case
from .task import Step
from .training_files import case_names, labels_step, write_volumes


@dataclass(frozen=True)
class RankFiles:
    """Files of a ranking.

    Attributes:
        steps: what writes them; to be done before the job.
        input, labeled: fields of ``RankJob``.
        volume_ids: name of a case in the result -> ID of its volume.
    """

    steps: list[Step]
    input: tuple[str, ...]
    labeled: tuple[str, ...]
    volume_ids: dict[str, str]


@dataclass(frozen=True)
class SlicePlace:
    """A slice to label: its direction in words, its index in the volume, and a point on it, mm LPS."""

    direction: str
    index: int
    point: tuple[float, float, float]

    @property
    def words(self) -> str:
        return f"{self.direction} {self.index}"


def to_rank(cases: Sequence[Case], in_slices: Callable[[Case], bool]) -> list[Case]:
    """Those of ``cases`` of which something is left to label: the unlabeled, and those labeled on some slices."""
    return [case for case in cases if case.role == UNLABELED or (case.role == TRAIN and in_slices(case))]


def rank_files(cases: Sequence[Case], in_slices: Callable[[Case], bool], folder: Path) -> RankFiles:
    """The files, in a new folder within ``folder``."""
    ranked = to_rank(cases, in_slices)
    labeled = [case for case in cases if case.labeled and case not in ranked]
    steps, files = write_volumes([*ranked, *labeled], folder / "images")
    names = case_names([*ranked, *labeled])
    entries = []
    for case in ranked:
        entry: dict[str, Any] = {"image": files[case.volume_id], "name": names[case.volume_id]}
        if case.role == TRAIN:
            # So that other slices are named than those.
            path = folder / f"{names[case.volume_id]}-labels{scene.FILE_ENDING}"
            segments = segments_of(slicer.mrmlScene.GetNodeByID(case.segmentation_id))
            steps.append(labels_step(case, {segment.id: 1 for segment in segments}, path))
            entry |= {"label": str(path), "labeled_part": "slices"}
        entries.append(entry)
    listed = folder / "volumes.json"
    listed.write_text(json.dumps(entries), encoding="utf-8")
    with_labels = tuple(file for case in labeled for file in files[case.volume_id])
    return RankFiles(steps, (str(listed),), with_labels, {names[case.volume_id]: case.volume_id for case in ranked})


def slice_places(ranked: RankedCase, volume: Any) -> list[SlicePlace]:
    """The slice that teaches the most, and behind it those where a few are to be labeled."""
    grid = grid_of(volume)
    geometry = grid.geometry()
    axis, index = ranked.slice
    words = (_("axial"), _("coronal"), _("sagittal"))
    direction = words[canonical_axes(geometry).permutation.index(axis)]
    # Through the same point of the others: it lies within what the checkpoint is unsure about.
    x, y, z = ranked.world
    voxel = np.linalg.solve(grid.ijk_to_ras, (-x, -y, z, 1))[2::-1]
    few = [(*voxel[:axis], float(i), *voxel[axis + 1 :]) for i in ranked.slices]
    places = [SlicePlace(direction, index, ranked.world)]
    return places + [SlicePlace(direction, i, geometry.position(v)) for i, v in zip(ranked.slices, few, strict=True)]

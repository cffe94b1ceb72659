"""A segmentation of the scene as a DICOM SEG that refers to the series from which its volume was loaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.descriptions import ExportJob
from contrastiveseg.errors import InputError

from ..mrml import scene
from ..mrml.segments import filled, segments_of
from .catalog import Entry
from .pairing import PREDICTED, same_name
from .session import Session
from .task import Step

#: Attribute of a volume: what Slicer's DICOM module loaded it from, separated by spaces.
_INSTANCES = "DICOM.instanceUIDs"


@dataclass(frozen=True)
class DicomExport:
    """What an export needs: ``steps`` write its files, and are to be done before ``job``."""

    steps: list[Step]
    job: ExportJob


def series_files(volume: Any) -> list[Path]:
    """The files of the series that ``volume`` was loaded from; [] where it is from no DICOM database of Slicer's."""
    database = getattr(slicer, "dicomDatabase", None)
    if volume is None or database is None:
        return []
    instances = (volume.GetAttribute(_INSTANCES) or "").split()
    # Frames of one file have it in common.
    return [Path(file) for file in dict.fromkeys(database.fileForInstance(one) for one in instances) if file]


def made_by(segmentation: Any, session: Session) -> Entry:
    """The checkpoint that made the segmentation; the chosen one, where it was not made by one alone.

    Raises:
        InputError: there is none of that name any more, or none is chosen.
    """
    name = segmentation.GetAttribute(PREDICTED)
    if name:
        found = next((entry for entry in session.catalog.entries() if entry.path.name == name), None)
    else:
        found = session.checkpoint
    if found is None:
        raise InputError(
            _("A DICOM SEG names the checkpoint that made it, and {name} is not among yours any more.").format(
                name=name
            )
            if name
            else _("Choose the checkpoint that made the segmentation in the section Model.")
        )
    return found


def export(segmentation: Any, volume: Any, checkpoint: Entry, output: Path, folder: Path) -> DicomExport:
    """The segmentation on the grid of ``volume``, with the codes of ``checkpoint``, as the file ``output``.

    Args:
        folder: for the files that go to the engine; it holds images of patients until it is removed.

    Raises:
        InputError: a segment with voxels has a name that the checkpoint does not know.
    """
    labels = checkpoint.card.labels if checkpoint.card is not None else ()
    values = {same_name(label.name): label.value for label in labels}
    segments = segments_of(segmentation)
    painted = set(filled(segmentation, [segment.id for segment in segments]))
    if unknown := [s.name for s in segments if s.id in painted and same_name(s.name) not in values]:
        raise InputError(
            _(
                "{checkpoint} does not know the segment {name}, so there is no code for it. It knows {known}. Rename "
                "or remove the segment, or export the segmentation by Slicer's module DICOM."
            ).format(
                checkpoint=checkpoint.name,
                name=unknown[0],
                known=", ".join(label.name for label in labels) or _("none"),
            )
        )
    by_segment = {s.id: values[same_name(s.name)] for s in segments if s.id in painted}
    label_map, series = folder / f"labels{scene.FILE_ENDING}", folder / "series"
    steps: list[Step] = [
        (
            _("Writing {name}").format(name=segmentation.GetName()),
            partial(_write, segmentation, volume, by_segment, label_map),
        ),
        (_("Gathering the series"), partial(_gather, series_files(volume), series)),
    ]
    job = ExportJob(
        to="dicom-seg",
        segmentation=str(label_map),
        series=str(series),
        checkpoint=str(checkpoint.path),
        output=str(output),
        overwrite=True,
    )
    return DicomExport(steps, job)


def _write(segmentation: Any, volume: Any, values: dict[str, int], path: Path) -> None:
    if segmentation.GetScene() is None or volume.GetScene() is None:
        raise InputError(_("The segmentation or its volume is no longer in the scene."))
    overlaps = scene.write_labels(segmentation, volume, values, path)
    if overlaps:
        raise InputError(_("{problem} Let segments not overlap, and save again.").format(problem=overlaps[0]))


def _gather(files: Sequence[Path], folder: Path) -> None:
    """The files of a series alone in a folder: in Slicer's database they may lie among others."""
    folder.mkdir()
    for number, file in enumerate(files):
        try:
            os.link(file, folder / f"{number:05d}.dcm")
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(file, folder / f"{number:05d}.dcm")

"""A label map that is there as a DICOM SEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.header import read_card
from ..descriptions import ExportJob
from ..errors import InputError
from ..files import check_outputs
from ..segmentation.dicom_seg import (
    DICOM_SUFFIX,
    check_beside,
    check_highdicom,
    model_of,
    without_codes,
    write_dicom_seg,
)
from ..segmentation.dicom_source import read_source
from ..volumes.reading import read_labels
from ..volumes.segments import segments_of
from ..volumes.volume import LabelMap


def export_label_map(job: ExportJob, emit: events.Emit) -> None:
    """Write the label map of ``job`` as a DICOM SEG that refers to its series.

    Raises:
        InputError: an input or the output cannot be used, or the label map is not on the grid of the series.
    """
    output, labels, series, checkpoint = (
        Path(path or "") for path in (job.output, job.segmentation, job.series, job.checkpoint)
    )
    if output.suffix.lower() != DICOM_SUFFIX:
        raise InputError(f"A DICOM SEG's name ends in {DICOM_SUFFIX}; {output.name} does not.")
    check_outputs([output], [labels, checkpoint], job.overwrite)
    check_beside(output, series)
    check_highdicom()
    emit(events.StageStarted(events.Stage.LOAD))
    card = read_card(checkpoint)
    if not card.labels:
        raise InputError(f"{checkpoint} was only pre-trained and knows no labels. Give the checkpoint that segmented.")
    source = read_source(series)
    array = _with_values_of(card, labels, read_labels(labels, source.series.geometry))
    if told := without_codes(card.labels):
        emit(events.log(told))
    emit(events.StageStarted(events.Stage.EXPORT))
    write_dicom_seg(output, array, source, card.labels, model_of(checkpoint))


def _with_values_of(card: Card, path: Path, label_map: LabelMap) -> np.ndarray:
    """The array of ``label_map`` with the values of ``card``: Slicer numbers the segments of a file anew, and names
    them.

    Raises:
        InputError: a segment has a name that no label of the card has.
    """
    segments = segments_of(path)
    values = {label.name.casefold(): label.value for label in card.labels}
    lookup = np.arange(2**16, dtype=np.uint16)
    for segment in segments:
        if segment.name.casefold() not in values:
            raise InputError(
                f"{path} has a segment {segment.name!r}, which the checkpoint does not know. It knows "
                f"{', '.join(label.name for label in card.labels)}."
            )
        lookup[segment.value] = values[segment.name.casefold()]
    return lookup[label_map.array]

"""The DICOM series that a segmentation was made from: its grid, and the headers that refer to patient and images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread

from ..errors import InputError
from ..files import readable
from ..volumes.dicom import Series, find_series

#: Attributes that every image has, though perhaps empty (type 2 of DICOM PS3.3): anonymizers leave them out.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime"),
)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "Modality")


@dataclass(frozen=True)
class DicomSource:
    """A series, and the headers of its files in slice order, without voxels."""

    series: Series
    headers: tuple[Dataset, ...]


def read_source(folder: Path) -> DicomSource:
    """The series in ``folder``, for a segmentation to refer to.

    Raises:
        InputError: no folder, as :func:`.volumes.dicom.find_series`, or images that do not say which they are or where
            they lie.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder with a DICOM series. A DICOM SEG refers to the images of one.")
    with readable(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values against the standard are common
        series = find_series(folder)
        headers = tuple(dcmread(file, stop_before_pixels=True, force=True) for file in series.files)
    for header, file in zip(headers, series.files, strict=True):
        placed = "PerFrameFunctionalGroupsSequence" if len(series.frames) > 1 else "ImagePositionPatient"
        missing = [name for name in (*_NEEDED, placed) if not header.get(name)]
        if missing:
            raise InputError(
                f"{file} has no {missing[0]}, by which a DICOM SEG refers to its image. Export the series again from "
                "where it came, or write the segmentation as .nii.gz."
            )
        _complete(header, series)
    return DicomSource(series, headers)


def _complete(header: Dataset, series: Series) -> None:
    """Add what ``header`` may lack, and a copy of it in the segmentation must have."""
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    if not header.get("SliceThickness"):
        header.SliceThickness = series.geometry.spacing[2]

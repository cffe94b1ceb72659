"""The DICOM series in a folder: which files, and whether they make an even stack of slices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .itk import geometry_of, in_plain_words
from .volume import Geometry

#: Slice positions may be off the even stack by this share of the slice distance (rounding of the headers).
UNEVEN = 0.02


@dataclass(frozen=True)
class Series:
    """One series: its files in slice order, the grid they make, and components a voxel."""

    files: tuple[str, ...]
    geometry: Geometry
    channels: int


def series_ids(folder: Path) -> tuple[str, ...]:
    """The identifiers of the DICOM series in ``folder`` (not below it); empty if there are none."""
    return tuple(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))


def find_series(folder: Path) -> Series:
    """The one series in ``folder``, from the files' headers alone.

    Raises:
        InputError: no series, several, or slices that are not evenly stacked.
    """
    series = {name: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), name) for name in series_ids(folder)}
    if not series:
        state = "is empty" if not any(folder.iterdir()) else "holds no DICOM series"
        raise InputError(
            f"The folder {folder} {state}. Give a volume file, or the folder with the slices of one series."
        )
    if len(series) > 1:
        listed = "; ".join(f"{_description(f[0])} ({len(f)} slices)" for f in series.values())
        raise InputError(f"{folder} holds {len(series)} DICOM series: {listed}. Give a folder with one series.")
    (files,) = series.values()
    headers = [_header(f) for f in files]
    first = headers[0]
    geometry = geometry_of(first)
    if len(files) > 1:
        if any(h.GetSize() != first.GetSize() for h in headers):
            raise InputError(f"The slices in {folder} differ in size. Give a folder with one series of equal slices.")
        spacing = _slice_distance(folder, headers)
        geometry = replace(
            geometry,
            size=(*geometry.size[:2], len(files)),
            spacing=(*geometry.spacing[:2], spacing),
        )
    return Series(tuple(files), geometry, first.GetNumberOfComponents())


def _header(file: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as problem:
        raise InputError(f"{file} {in_plain_words(problem)}.") from problem
    return reader


def _description(file: str) -> str:
    reader = _header(file)
    text = reader.GetMetaData("0008|103e").strip() if reader.HasMetaDataKey("0008|103e") else ""
    return f'"{text}"' if text else "without description"


def _slice_distance(folder: Path, headers: list[sitk.ImageFileReader]) -> float:
    """Distance between neighboring slices in mm, once they are known to be an even, straight stack."""
    origins = np.array([h.GetOrigin() for h in headers])
    directions = np.array([h.GetDirection() for h in headers])
    if np.abs(directions - directions[0]).max() > 1e-3:
        raise InputError(
            f"The slices in {folder} are not parallel (a localizer?). Give a folder with one straight series."
        )
    normal = directions[0].reshape(3, 3)[:, 2]
    steps = np.diff(origins, axis=0)
    gaps = steps @ normal
    if np.abs(gaps).min() < 1e-3:
        raise InputError(
            f"{folder} holds several slices at the same place (phases or echoes of one series). "
            "Give a folder with the slices of one volume."
        )
    typical = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - typical)))
    if abs(gaps[worst] - typical) > UNEVEN * abs(typical):
        raise InputError(
            f"The slices in {folder} are not evenly spaced: {abs(typical):.3g} mm, but {abs(gaps[worst]):.3g} mm after "
            f"{Path(headers[worst].GetFileName()).name}. A slice may be missing: complete the series first."
        )
    if np.linalg.norm(steps - gaps[:, None] * normal, axis=1).max() > UNEVEN * abs(typical):
        raise InputError(
            f"The slices in {folder} are stacked askew (gantry tilt). Resample the series to a straight grid."
        )
    return float(np.linalg.norm(origins[-1] - origins[0]) / (len(headers) - 1))

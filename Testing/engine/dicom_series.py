"""Synthetic DICOM series with the headers that a segmentation refers to, and what a SEG file says, by pydicom alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import generate_uid

#: Direction cosines along rows and columns: straight, from head to feet (the normal points down), and oblique.
AXIAL = ((1, 0, 0), (0, 1, 0))
DOWNWARD = ((1, 0, 0), (0, -1, 0))
OBLIQUE = ((0.36, 0.48, -0.8), (-0.8, 0.6, 0))
FIRST, SPACING = np.array([-10.0, 20.0, 5.0]), (1.5, 2.0, 3.0)


def header(kind, plane):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = kind, generate_uid(), "MR"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    ds.PatientName, ds.PatientID, ds.SeriesNumber = "Doe^Jane", "0815", 3
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *plane.shape[-2:], 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = plane.astype(np.uint16).tobytes()
    return ds


def position(axes, z, step=SPACING[2]):
    return [round(float(v), 6) for v in FIRST + step * z * np.cross(*axes)]


def save_series(folder: Path, array, axes=AXIAL, change=lambda z, ds: None, spacing=SPACING) -> Path:
    """One file a slice; names and instance numbers run against the slices' heights."""
    folder.mkdir(parents=True)
    for z, plane in enumerate(array):
        ds = header("1.2.840.10008.5.1.4.1.1.4", plane)
        ds.InstanceNumber, ds.ImagePositionPatient = len(array) - z, position(axes, z, spacing[2])
        ds.ImageOrientationPatient = [float(v) for axis in axes for v in axis]
        ds.PixelSpacing = [spacing[1], spacing[0]]
        change(z, ds)
        ds.save_as(folder / f"{len(array) - z}.dcm", enforce_file_format=True)
    return folder


def save_multiframe(folder: Path, array, order, axes=OBLIQUE) -> Path:
    """One enhanced file, its frames stored in ``order``."""
    folder.mkdir(parents=True)
    ds = header("1.2.840.10008.5.1.4.1.1.4.1", array[list(order)])
    ds.NumberOfFrames, ds.InstanceNumber = len(array), 1
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
    orientation.ImageOrientationPatient = [float(v) for axis in axes for v in axis]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], []
    for z in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = position(axes, z)
        frame.PlanePositionSequence = [place]
        ds.PerFrameFunctionalGroupsSequence.append(frame)
    ds.save_as(folder / "scan.dcm", enforce_file_format=True)
    return folder


def read_seg(path: Path, geometry) -> tuple[Dataset, np.ndarray]:
    """The header, and the segments' numbers (z, y, x) on the grid ``geometry``, each voxel put where the file's own
    positions, orientation and pixel sizes say it lies."""
    ds = dcmread(path)
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    shared = ds.SharedFunctionalGroupsSequence[0]
    rows, columns = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    dy, dx = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    y, x = np.mgrid[: ds.Rows, : ds.Columns]
    labels = np.zeros(geometry.shape, int)
    for frame, groups in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        start = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        world = start + x[..., None] * dx * rows + y[..., None] * dy * columns
        index = (world - geometry.origin) @ np.reshape(geometry.direction, (3, 3)) / geometry.spacing
        assert np.abs(index - index.round()).max() < 1e-3
        i, j, k = index[frame > 0].round().astype(int).T
        assert not labels[k, j, i].any()
        labels[k, j, i] = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    return ds, labels

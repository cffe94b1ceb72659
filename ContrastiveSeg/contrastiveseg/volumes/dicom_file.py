"""One DICOM file: its header by pydicom, and whether its voxels are all there.

GDCM reads what it can of a damaged file, and leaves out of a series what it cannot read.
Attributes and functional groups: DICOM PS3.3, C.7.6.2 and C.7.6.16.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from ..errors import InputError
from ..files import check_fetched

#: Where Philips keeps the scale of a slice that its stored values lack.
PHILIPS_SCALE = (0x2005, 0x100E)
_TAGS: list[Any] = [
    PHILIPS_SCALE,
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "InstanceNumber",
    "Modality",
    "EchoTime",
    "ConvolutionKernel",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "RealWorldValueMappingSequence",
    "SeriesDescription",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "ImageType",
    "SliceThickness",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
#: Pixel data of integers, and of floating numbers.
_PIXEL_DATA = {(0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009)}
_ENDINGS = (".dcm", ".dicom", ".ima")
_UNDEFINED_LENGTH, _SEQUENCE_END = 0xFFFFFFFF, b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class DicomImage:
    """A file with an image: its path and header, without the voxels."""

    path: Path
    header: Dataset

    def text(self, name: str) -> str:
        """An attribute in words, "" if it is not there."""
        return str(self.header.get(name) or "").strip()

    def numbers(self, name: str, length: int, group: Mapping[str, Any] | None = None) -> tuple[float, ...]:
        """An attribute of ``length`` numbers, of the header or a functional ``group``; () if it is not there.

        Raises:
            InputError: it holds something else.
        """
        given = (self.header if group is None else group).get(name)
        try:
            values = () if given in (None, "") else (float(given),) if length == 1 else tuple(float(v) for v in given)
        except (TypeError, ValueError):
            values = (math.nan,)
        if values and (len(values) != length or not all(map(math.isfinite, values))):
            raise InputError(f"{self.path} is damaged: its {name} is not {length} numbers. Copy the series again.")
        return values

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Slope and intercept of its values; None where it names neither. A slope of 0 means that of 1."""
        slope, intercept = (self.numbers(name, 1) for name in ("RescaleSlope", "RescaleIntercept"))
        if not slope and not intercept:
            return None
        return (slope[0] or 1.0) if slope else 1.0, intercept[0] if intercept else 0.0

    @property
    def frames(self) -> int:
        """Frames in the file."""
        return int(self.header.get("NumberOfFrames") or 1)


def dicom_image(path: Path) -> DicomImage | None:
    """The image in ``path``; None if it is no DICOM file or holds no image (a report, a directory of files).

    Raises:
        InputError: a DICOM file that is damaged or cut short.
    """
    damaged = f"{path} is damaged or cut short. Copy the series again from where it came."
    with path.open("rb") as file:
        start = file.read(132)
        check_fetched(path, start)
        marked = start[128:] == b"DICM"
        # Old files lack the mark and begin with their first element, of group 2 or 8. Slices often have no ending; what
        # is left of one that is cut in its first bytes is empty, or zeros. A mark that is damaged follows zeros.
        if not marked and start[:2] not in (b"\x08\x00", b"\x02\x00"):
            preamble = len(start) >= 128 and not start[:128].strip(b"\0")
            if path.suffix.lower() in _ENDINGS or preamble or (not path.suffix and not start.strip(b"\0")):
                raise InputError(damaged)
            return None
        file.seek(0)
        try:
            header = _header(file)
            kind = UID(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""))
            image = "Rows" in header or kind.name.endswith("Image Storage")
            # What is not known by its kind may be cut in the middle of that.
            known = kind.name != kind or "SeriesInstanceUID" in header
            complete = bool(kind) and (_is_complete(file, header) if image else known)
        except Exception as problem:  # whatever pydicom meets in a damaged file
            raise InputError(damaged) from problem
    if not kind and not marked:
        return None
    if not complete:
        raise InputError(damaged)
    return DicomImage(path, header) if image else None


def _header(file: BinaryIO) -> Any:
    """What stands before the voxels; ``file`` is left there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values against the standard are common
        header = dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        at = file.tell()
        for _ in header.iterall():  # values are read where they are used: what is damaged shows here
            pass
        file.seek(at)
        return header


def _is_complete(file: BinaryIO, header: Any) -> bool:
    """Whether the voxels that ``header`` declares follow in ``file``, which stands before them."""
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return True  # unpacked as a whole
    implicit, little = header.original_encoding
    order = "<" if little else ">"
    head = file.read(8 if implicit else 12)
    if len(head) < (8 if implicit else 12) or struct.unpack(order + "HH", head[:4]) not in _PIXEL_DATA:
        return False
    (length,) = struct.unpack(order + "I", head[-4:])
    if length == _UNDEFINED_LENGTH:
        return _SEQUENCE_END in file.read()
    values = (
        header.Rows * header.Columns * int(header.get("NumberOfFrames") or 1) * (header.get("SamplesPerPixel") or 1)
    )
    here = file.tell()
    return min(length, file.seek(0, 2) - here) >= values * header.BitsAllocated // 8


def groups_of_frames(image: DicomImage, name: str) -> list[Mapping[str, Any]]:
    """The functional group ``name`` of each frame of a multi-frame file, its own or the shared one, or {}."""
    shared = _group(next(iter(image.header.get("SharedFunctionalGroupsSequence") or ()), None), name)
    frames = image.header.get("PerFrameFunctionalGroupsSequence") or ()
    return [_group(frame, name) or shared for frame in frames]


def _group(frame: Dataset | None, name: str) -> Mapping[str, Any]:
    items = frame.get(name) if frame is not None else None
    return {e.keyword: e.value for e in items[0] if e.keyword} if items else {}

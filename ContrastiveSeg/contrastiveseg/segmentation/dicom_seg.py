"""Label maps as DICOM Segmentation objects (SEG), by highdicom.

Binary segments, which all readers know, on the grid of the source series. Format: DICOM PS3.3, A.51 and C.8.20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..checkpoints.card import Label
from ..checkpoints.header import checkpoint_digest
from ..errors import InputError
from ..files import replacing
from ..volumes.origin import origin_text
from .terminology import TISSUE, Concept, entry_of

if TYPE_CHECKING:
    from .dicom_source import DicomSource  # pydicom takes a tenth of a second to load

DICOM_SUFFIX = ".dcm"
#: What a name may have in DICOM (LO of PS3.5).
_LONGEST_NAME = 64
#: Says whose the private information of a file's head is: a UID of our own.
_CREATOR = "2.25.254306418290561706839476225862377021431"
#: Series of segmentations are numbered behind those of images.
_FIRST_SERIES = 1000


@dataclass(frozen=True)
class Model:
    """The checkpoint that made a segmentation: its name, and the SHA-256 of its file."""

    name: str
    digest: str


def model_of(checkpoint: Path) -> Model:
    """The model in the file ``checkpoint``.

    Raises:
        InputError: there is none.
    """
    return Model(checkpoint.stem, checkpoint_digest(checkpoint))


def check_highdicom() -> None:
    """Raises InputError where highdicom, an optional dependency, is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError as problem:
        raise InputError(
            'Writing DICOM SEG needs highdicom. Install it with: pip install "contrastiveseg[dicom]" (in Slicer: '
            "PythonSlicer -m pip install highdicom)"
        ) from problem


def check_beside(output: Path, folder: Path) -> None:
    """Refuse an ``output`` in the ``folder`` of its series, which would then hold two.

    Raises:
        InputError: it lies there.
    """
    if output.absolute().parent.resolve() == folder.resolve():
        raise InputError(f"{output} would lie among the images of its series. Choose another folder.")


def without_codes(labels: Sequence[Label]) -> str:
    """A sentence naming those ``labels`` that are written with a code for any tissue; "" where all have their own."""
    names = [label.name for label in labels if entry_of(label.terminology) is None]
    return f"No code is known for {', '.join(names)}: written as tissue, with the name." if names else ""


def write_dicom_seg(
    path: Path, array: np.ndarray, source: DicomSource, labels: Sequence[Label], model: Model, origin: str = ""
) -> None:
    """Write ``array`` (z, y, x), labels on the grid of ``source``, to a .dcm file, by write-then-rename.

    Every label becomes a segment, numbered in the order of their values, also where ``array`` lacks it; slices without
    a voxel of a segment are left out of it.

    Args:
        labels: names, colors and codes of all values in ``array``. origin: see :mod:`..volumes.origin`.

    Raises:
        InputError: a value that no label has, a header of the series that the standard does not allow, a full disk.
    """
    ordered = sorted(labels, key=lambda label: label.value)
    lookup = np.zeros(2**16, np.uint16)
    lookup[[label.value for label in ordered]] = np.arange(1, len(ordered) + 1)
    stored = np.flatnonzero(np.bincount(array.ravel()))
    if unknown := [int(value) for value in stored if value and not lookup[value]]:
        raise InputError(
            f"The label map holds the values {', '.join(map(str, unknown))}, which the checkpoint does not know. Give "
            "the checkpoint that made it."
        )
    frames = lookup[array]
    if source.series.frames:  # one file: in the order in which its frames are stored
        frames = frames[np.argsort(source.series.frames)]
    try:
        segmentation = _segmentation(frames, source, ordered, model)
    except (ValueError, TypeError, AttributeError, KeyError) as problem:
        raise InputError(
            f"A header of {source.series.files[0]}, or of a slice beside it, cannot be taken over into a DICOM SEG: "
            f"{problem}. Write the segmentation as .nii.gz."
        ) from problem
    if origin:
        segmentation.file_meta.PrivateInformationCreatorUID = _CREATOR
        segmentation.file_meta.PrivateInformation = origin_text(origin).encode().ljust(80)
    with replacing(path, durable=True) as temporary:
        segmentation.save_as(temporary, enforce_file_format=True)


def _segmentation(frames: np.ndarray, source: DicomSource, labels: Sequence[Label], model: Model) -> Any:
    import highdicom
    from pydicom.sr.coding import Code
    from pydicom.uid import generate_uid

    first = source.headers[0]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_name(model.name),
        family=Code("123110", "DCM", "Artificial Intelligence"),
        version=model.digest,
        source=f"contrastiveseg {__version__}",
    )
    # The series' own character set may lack letters of the names.
    plain = all(label.name.isascii() for label in labels) and model.name.isascii()
    character_set: dict[str, Any] = {} if plain else {"specific_character_set": "ISO_IR 192"}
    return highdicom.seg.Segmentation(
        source.headers,
        frames,
        "BINARY",
        [_described(number, label, algorithm) for number, label in enumerate(labels, start=1)],
        series_instance_uid=generate_uid(),
        series_number=_FIRST_SERIES + int(first.get("SeriesNumber") or 0),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="ContrastiveSeg",
        manufacturer_model_name="contrastiveseg",
        software_versions=__version__,
        device_serial_number=model.digest,
        series_description=_name(f"Segmentation by {model.name}"),
        content_label="SEGMENTATION",
        **character_set,
    )


def _described(number: int, label: Label, algorithm: Any) -> Any:
    import highdicom

    entry = entry_of(label.terminology) or TISSUE
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=_name(label.name),
        segmented_property_category=_code(entry.category),
        segmented_property_type=_code(entry.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        anatomic_regions=[_code(entry.region)] if entry.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*label.color) if label.color else None,
    )
    if entry.modifier:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            _code(entry.modifier)
        ]
    if entry.region and entry.region_modifier:
        described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_code(entry.region_modifier)]
    return described


def _code(concept: Concept) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(concept.value, concept.scheme, concept.meaning)


def _name(text: str) -> str:
    """``text`` as a value of DICOM, in which a backslash separates two; never empty."""
    printable = "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in text)
    return printable.strip()[:_LONGEST_NAME].strip() or "unnamed"

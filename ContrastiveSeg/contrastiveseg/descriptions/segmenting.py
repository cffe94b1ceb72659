"""Segmenting volumes, and previews from strokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..parameters import ParameterError, Parameters, parameter
from . import options
from .options import Pieces, Precision, Roi


@dataclass(frozen=True, kw_only=True)
class SegmentJob(Parameters):
    """Label volumes with a fine-tuned checkpoint."""

    kind: ClassVar[str] = "segment"
    checkpoint: str = parameter(help="a fine-tuned checkpoint")
    input: tuple[str, ...] = parameter(help="image files, folders of images, or DICOM folders")
    output: str = parameter(help="label map file for one input (.dcm for a DICOM SEG), or a folder")
    probabilities: str | None = parameter(None, help="also write class probabilities to this file or folder")
    uncertainty: str | None = parameter(
        None, help="also write the entropy of the class probabilities, 0 to 1, to this file or folder"
    )
    uncompressed: bool = parameter(False, help="write .nrrd and .mha files larger, and quicker")
    dicom_seg: bool = parameter(
        False, help="write DICOM SEG files (.dcm) in place of label maps, where the inputs are DICOM folders"
    )
    continue_: bool = parameter(
        False,
        help="go on with the killed or stopped run of the same command: label maps that were made from the same input, "
        "checkpoint and options stay as they are",
    )
    shard: str | None = parameter(
        None,
        help="segment only the I-th of N parts of the inputs, such as 1/2, so that several processes or machines share "
        "a batch",
        placeholder="I/N",
    )
    overwrite: bool = parameter(False, help="replace existing outputs")
    mirror: bool = parameter(False, help="average over mirrored copies (slower, often a little better)")
    pieces: Pieces = parameter(
        "auto",
        help="of each label keep all pieces or only the largest; auto: only the largest of those labels that were in "
        "one piece in every case they were learned from",
    )
    roi: Roi | None = parameter(
        None,
        help="region of interest: segment only this box, R, A and S each from and to; the rest stays empty",
        unit="mm",
    )
    timings: str | None = parameter(None, help="write seconds per stage and peak memory to this JSON file")
    report: str | None = options.report()
    keep_names: bool = options.keep_names()
    device: str = options.device()
    precision: Precision = options.precision()
    threads: int | None = options.threads()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.roi is not None and not all(
            low < high for low, high in zip(self.roi[::2], self.roi[1::2], strict=True)
        ):
            raise ParameterError("roi", f"must be three pairs of numbers, the smaller first, not {self.roi}.")


@dataclass(frozen=True, kw_only=True)
class PreviewJob(Parameters):
    """Spread a few painted strokes over their volume within seconds, without training."""

    kind: ClassVar[str] = "preview"
    checkpoint: str = parameter(
        options.STARTER,
        help="whose features are used: a checkpoint, pre-trained or fine-tuned, or starter:NAME",
    )
    image: tuple[str, ...] = parameter(help="the volume: one file a channel, or a DICOM folder")
    labels: str = parameter(
        help="the strokes: a label map or a segmentation of Slicer; what is not painted is not labeled"
    )
    background: int | None = options.background(
        "value of painted background in a label map; a segment named background needs none"
    )
    output: str = parameter(help="label map file to write")
    uncompressed: bool = parameter(False, help="write a .nrrd or .mha file larger, and quicker")
    overwrite: bool = parameter(False, help="replace an existing output")
    cache: str | None = parameter(
        None, help="folder for computed features, at most 2 GiB; default: in the user's cache folder"
    )
    device: str = options.device()
    precision: Precision = options.precision()
    threads: int | None = options.threads()

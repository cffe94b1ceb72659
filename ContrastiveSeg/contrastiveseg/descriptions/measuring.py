"""Measuring segmentations, and choosing what to look at or to label next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..parameters import Parameters, parameter
from . import options
from .options import LabeledPart, Precision, SliceDirection


@dataclass(frozen=True, kw_only=True)
class EvaluateJob(Parameters):
    """Compare label maps with references."""

    kind: ClassVar[str] = "evaluate"
    predictions: str = parameter(help="folder of label maps, or one file")
    references: str = parameter(
        help="folder of reference label maps with the same case names, or one file; or a data set or list that names "
        "them, as for fine-tuning"
    )
    output: str = parameter(help="JSON file to write")
    csv: str | None = parameter(None, help="also write one row a case and label to this file")
    labeled_part: LabeledPart = parameter(
        "all", help="what of its volume a reference labels, as in fine-tuning; the rest is in no score"
    )
    checkpoint: str | None = parameter(
        None,
        help="the checkpoint that made the predictions: names the structures, and warns of cases whose labels it has "
        "learned from",
    )
    report: str | None = options.report()
    keep_names: bool = options.keep_names()
    overwrite: bool = parameter(False, help="replace existing outputs")


@dataclass(frozen=True, kw_only=True)
class RankJob(Parameters):
    """Say which unlabeled volumes to label next."""

    kind: ClassVar[str] = "rank"
    checkpoint: str = parameter(
        help="a fine-tuned checkpoint; with one that was only pre-trained, novelty alone decides"
    )
    input: tuple[str, ...] = parameter(
        help="the unlabeled volumes: image files, folders of images, or DICOM folders; or a list whose cases have some "
        "slices labeled"
    )
    labeled: tuple[str, ...] = parameter(
        (),
        help="volumes that are labeled already; what resembles them comes later. Of a data set or list only those with "
        "a label map count",
    )
    direction: SliceDirection = parameter(
        "auto", help="in which slices are labeled; auto: across the axis with the thickest"
    )
    slices: int = parameter(5, help="slices of each volume to name, where a few slices are labeled", at_least=1)
    output: str | None = parameter(None, help="also write the list to this JSON file")
    overwrite: bool = parameter(False, help="replace an existing output")
    device: str = options.device()
    precision: Precision = options.precision()
    threads: int | None = options.threads()


@dataclass(frozen=True, kw_only=True)
class QualityJob(Parameters):
    """Say which segmentations of a batch to look at first."""

    kind: ClassVar[str] = "quality"
    input: tuple[str, ...] = parameter(help="the volumes: image files, folders of images, or DICOM folders")
    segmentations: str = parameter(help="folder of their label maps, with the same case names, or one file")
    uncertainty: str | None = parameter(
        None, help="folder of their uncertainty maps, as 'segment --uncertainty' writes them, or one file"
    )
    checkpoint: str | None = parameter(
        None,
        help="the checkpoint that made the segmentations: names the structures, and says in what a volume is unlike "
        "those it was trained on",
    )
    csv: str | None = parameter(None, help="write one row a case to this file")
    html: str | None = parameter(None, help="write one page with a picture of each case to this file")
    pictures: str | None = parameter(None, help="write a picture of each case to this folder, named after the case")
    names: bool = parameter(
        False,
        help="write the names of the cases, which may identify patients, into csv and html; else their numbers in the "
        "order of names",
    )
    overwrite: bool = parameter(False, help="replace existing outputs")

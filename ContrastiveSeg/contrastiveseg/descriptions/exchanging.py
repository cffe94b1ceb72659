"""Models and cases of other programs, and for them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from ..parameters import ParameterError, Parameters, parameter
from . import options
from .options import ExportFormat, LabeledPart


@dataclass(frozen=True, kw_only=True)
class ImportJob(Parameters):
    """Make a checkpoint from other people's weights."""

    kind: ClassVar[str] = "import"
    file: str = parameter(
        help=".pth or .pt of tensors alone, or .safetensors; of nnU-Net a results folder, a fold, or an exported .zip; "
        "the folder of a MONAI bundle, or a .zip of it",
        placeholder="FILE",
    )
    source: str = parameter(
        help="whose layout it has: nnunet (a trained nnU-Net v2, ready to segment), monai (a bundle, ready to "
        "segment), macl (released 2D weights), vnet (left-atrium literature), segresnet, segresnetds (also CT-FM), "
        "dynunet, swinunetr or swinunetr-1.4 (MONAI), anatomix, nnssl (OpenMind's ResEnc-L)",
        placeholder="NAME",
    )
    output: str = parameter(help="the checkpoint to write (.safetensors)")
    overwrite: bool = parameter(False, help="replace an existing output")
    license: str = parameter("", help="license of the weights, noted in the checkpoint", placeholder="NAME")
    configuration: str | None = parameter(
        None, help="which configuration of a trained nnU-Net; 3d_fullres where there are several", placeholder="NAME"
    )
    fold: str | None = parameter(None, help="which fold of a trained nnU-Net; else all, or the first", placeholder="N")
    orientation: str | None = parameter(
        None,
        help="how the volumes were stored that a trained nnU-Net learned from, as RAS or LPS: yours are turned so; "
        "else they are taken as they are stored, as nnU-Net does",
        placeholder="NAME",
    )


@dataclass(frozen=True, kw_only=True)
class ExportJob(Parameters):
    """Write a label map, cases or a model in the format of another program."""

    kind: ClassVar[str] = "export"
    to: ExportFormat = parameter(
        "dicom-seg",
        help="dicom-seg: a label map as a DICOM SEG that refers to its series; nnunet: cases as a raw data set of "
        "nnU-Net v2; onnx, monai: a fine-tuned checkpoint as ONNX or as a MONAI bundle",
    )
    output: str = parameter(help="the file to write (.dcm), or the new folder, as Dataset123_Heart")
    segmentation: str | None = parameter(
        None, help="dicom-seg: the label map, or segmentation of Slicer, on the grid of the series"
    )
    series: str | None = parameter(None, help="dicom-seg: folder of the DICOM series that it was made from")
    checkpoint: str | None = parameter(
        None,
        help="onnx, monai: the model; dicom-seg: the one that made the label map: names, colors and codes",
    )
    images: tuple[str, ...] = parameter(
        (), help="nnunet: folders, dataset.json or list files, DICOM folders, or image files, as for fine-tuning"
    )
    labels: tuple[str, ...] = parameter(
        (), help="nnunet: label folders or files; not needed when --images names a dataset.json with labels"
    )
    label_table: str | None = parameter(None, help="nnunet: JSON list of values and names, as for fine-tuning")
    labeled_part: LabeledPart = parameter(
        "all", help="nnunet: what of a labeled volume is labeled, as for fine-tuning; the rest is ignored"
    )
    background_label: int | None = options.background(
        "nnunet: value of painted background in label maps without names, as for fine-tuning"
    )
    missing_structures: Literal["absent", "not-drawn"] = parameter(
        "absent",
        help="nnunet: whether structures that some cases lack are absent there, or were not drawn; then the background "
        "of these cases is ignored",
    )
    overwrite: bool = parameter(False, help="replace an existing file; a folder is never replaced")

    def __post_init__(self) -> None:
        super().__post_init__()
        needed, optional = _EXPORTS[self.to]
        for field in fields(self):
            given = getattr(self, field.name) != field.default
            if field.name in needed and not given:
                raise ParameterError(field.name, f"is needed for {self.to}.")
            if given and field.name not in ("to", "output", "overwrite", *needed, *optional):
                raise ParameterError(field.name, f"is not for {self.to}.")


#: By format: the options that it needs, and those that it may have.
_EXPORTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dicom-seg": (("segmentation", "series", "checkpoint"), ()),
    "nnunet": (("images",), ("labels", "label_table", "labeled_part", "background_label", "missing_structures")),
    "onnx": (("checkpoint",), ()),
    "monai": (("checkpoint",), ()),
}


@dataclass(frozen=True, kw_only=True)
class ModelsJob(Parameters):
    """List the checkpoints there are to start from, and download one of them."""

    kind: ClassVar[str] = "models"
    download: str | None = parameter(None, help="the model to download, by https", placeholder="NAME")
    catalog: tuple[str, ...] = parameter(
        (), help="catalogs of models beside the one that ships: JSON files, see the documentation"
    )
    output: str | None = parameter(None, help="where to download to; default: NAME.safetensors in this folder")
    overwrite: bool = parameter(False, help="replace an existing output")

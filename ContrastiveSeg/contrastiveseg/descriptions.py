"""Job descriptions: what terminal, panel and batch ask of the engine. Light to import, strict to read.

The command line is made from these fields, and the worker reads them as JSON; so a job is the same wherever it
comes from. Paths are strings as the user typed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from .parameters import ParameterError, Parameters, parameter

Size = Literal["auto", "tiny", "base", "large"]
Pieces = Literal["auto", "all", "largest"]
Precision = Literal["auto", "32", "bf16"]
LabeledPart = Literal["all", "slices", "painted"]
Resume = Literal[False, True, "auto"]
#: A box in RAS mm: R, A and S, each from and to.
Roi = tuple[float, float, float, float, float, float]
ExportFormat = Literal["dicom-seg", "nnunet", "onnx", "monai"]
SliceDirection = Literal["auto", "axial", "coronal", "sagittal"]


def _device() -> Any:
    return parameter("auto", help="auto, cpu, cuda[:N] or mps", placeholder="NAME")


def _precision() -> Any:
    return parameter("auto", help="number format of the networks")


def _threads() -> Any:
    return parameter(None, help="CPU threads; torch's own choice if not given", at_least=1, at_most=1024)


def _report() -> Any:
    return parameter(
        None,
        help="write a JSON file that says what the run was given, did and made, by hashes and without names; also "
        "where it fails or is cancelled",
    )


def _keep_names() -> Any:
    return parameter(False, help="name files, and what went wrong, in the report; mind what you share")


def _network(when: str = "") -> Any:
    return parameter("unet", help=f"{when}backbone (see 'networks')", placeholder="NAME")


@dataclass(frozen=True, kw_only=True)
class Training(Parameters):
    """What pre-training and fine-tuning share."""

    kind: ClassVar[str]
    images: tuple[str, ...] = parameter(help="folders, dataset.json or list files, DICOM folders, or image files")
    output: str = parameter(help="the checkpoint to write (.safetensors)")
    steps: int | None = parameter(None, help="budget in training steps", at_least=1, at_most=10**12)
    minutes: float | None = parameter(None, help="budget in minutes of training", above=0)
    resume: Resume = parameter(
        False,
        help="continue the killed or cancelled run of the same command; auto: begin where there is none, or where its "
        "resume file is damaged",
    )
    overwrite: bool = parameter(False, help="replace an existing output")
    settings: Mapping[str, Any] = parameter(
        {}, help="a parameter of the method, optimization.NAME for those of its optimization (see 'methods NAME')"
    )
    learning_rate: float | None = parameter(
        None, help="peak learning rate instead of the method's own (see 'methods NAME')", at_least=0
    )
    optimizer: Literal["sgd", "adamw"] | None = parameter(None, help="optimizer instead of the method's own")
    cache: str | None = parameter(
        None, help="folder for preprocessed volumes, kept; default: beside the output, removed at the end"
    )
    tensorboard: bool = parameter(False, help="also write curves for TensorBoard beside the output")
    device: str = _device()
    precision: Precision = _precision()
    license: str = parameter("", help="license of the weights, noted in the checkpoint", placeholder="NAME")
    keep_names: bool = parameter(
        False,
        help="name the training cases in the checkpoint, in place of running numbers, and files in the report; mind "
        "what you share",
    )
    report: str | None = _report()
    seed: int = parameter(0, help="same seed, same data, same machine: same weights", at_least=0, at_most=2**32 - 1)
    threads: int | None = _threads()


@dataclass(frozen=True, kw_only=True)
class PretrainJob(Training):
    """Learn a backbone from volumes without labels, or with some."""

    kind: ClassVar[str] = "pretrain"
    labels: tuple[str, ...] = parameter(
        (),
        help="labels to learn from, for methods that can: their folders or files, or the data sets or lists that "
        "name them",
    )
    method: str = parameter("ideal", help="pre-training method (see 'methods')", placeholder="NAME")
    dimensions: Literal[2, 3] = parameter(3, help="3 for volumes, 2 for slice by slice")
    size: Size = parameter("auto", help="network size; auto: tiny on a CPU, base on a GPU")
    resolution: str = parameter(
        "native",
        help="working voxel spacing: native, or a length in mm; fine-tuning from the checkpoint keeps it",
        placeholder="SIZE",
    )
    network: str = _network()
    generic: bool = parameter(False, help="mark the checkpoint as fit for any modality and spacing (a starter)")


@dataclass(frozen=True, kw_only=True)
class FinetuneJob(Training):
    """Learn to segment from a few labeled volumes."""

    kind: ClassVar[str] = "finetune"
    checkpoint: str | None = parameter(
        None,
        help="checkpoint to start from; starter:NAME for one that ships, 'none' for none; not needed with --compare",
    )
    labels: tuple[str, ...] = parameter(
        (), help="label folders or files; not needed when --images names a dataset.json with labels"
    )
    unlabeled: tuple[str, ...] = parameter(
        (), help="volumes to learn from without labels, for methods that can; labels beside them are never read"
    )
    label_table: str | None = parameter(
        None,
        help='JSON list of {"value", "name", "color": [r, g, b], "terminology"} instead of names from dataset.json',
    )
    labeled_part: LabeledPart = parameter(
        "all",
        help="what of a labeled volume is labeled: all (what is not painted is background); slices (every slice with "
        "paint is labeled throughout, the others are not); painted (only painted voxels are, and a segment named "
        "background is background). The entry of a case in a list may say otherwise",
    )
    background_label: int | None = parameter(
        None,
        help="value of painted background in label maps without names; a label named background needs none",
        at_least=1,
        at_most=65535,
    )
    missing_structures: Literal["absent", "not-drawn"] = parameter(
        "absent",
        help="a structure that some labeled cases lack is absent there (learned as background), or was not drawn (may "
        "be anywhere in their background). The entry of a case may list the structures that were looked for",
    )
    method: str = parameter("supervised", help="fine-tuning method (see 'methods')", placeholder="NAME")
    dimensions: Literal[2, 3] = parameter(3, help="without checkpoint: 3 for volumes, 2 for slice by slice")
    size: Size = parameter("auto", help="without checkpoint: network size")
    network: str = _network("without checkpoint: ")
    resolution: str = parameter(
        "auto",
        help="working voxel spacing: native, a length in mm, or auto: coarser than the volumes where the budget is "
        "short and the labeled structures allow it; a checkpoint for one modality keeps its own",
        placeholder="SIZE",
    )
    validation: str = parameter(
        "none",
        help="K labeled cases to hold out, or their names joined by commas; or 'leave-one-out'",
        placeholder="WHICH",
    )
    compare_scratch: bool = parameter(False, help="also train from scratch with the same budget and say which won")
    compare: tuple[str, ...] = parameter(
        (),
        help="starts to train from as well, each with the same budget, of which the best is kept: checkpoints, "
        "starter:NAME, 'scratch'; separated by spaces or commas",
    )
    compare_seeds: int = parameter(
        1, help="how often to train from each start, with this seed and those after it", at_least=1, at_most=100
    )
    transferred_rate: float | None = parameter(
        None, help="factor on the learning rate of weights that come from the checkpoint", at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is None and not self.compare:
            raise ParameterError("checkpoint", "is missing: give one to start from, starter:NAME, or none.")

    @property
    def compares(self) -> bool:
        """Whether it trains from several starts."""
        return self.compare_scratch or bool(self.compare)


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
    report: str | None = _report()
    keep_names: bool = _keep_names()
    device: str = _device()
    precision: Precision = _precision()
    threads: int | None = _threads()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.roi is not None and not all(
            low < high for low, high in zip(self.roi[::2], self.roi[1::2], strict=True)
        ):
            raise ParameterError("roi", f"must be three pairs of numbers, the smaller first, not {self.roi}.")


@dataclass(frozen=True, kw_only=True)
class EvaluateJob(Parameters):
    """Compare label maps with references."""

    kind: ClassVar[str] = "evaluate"
    predictions: str = parameter(help="folder of label maps, or one file")
    references: str = parameter(help="folder of reference label maps with the same case names, or one file")
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
    report: str | None = _report()
    keep_names: bool = _keep_names()
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
    device: str = _device()
    precision: Precision = _precision()
    threads: int | None = _threads()


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
class PreviewJob(Parameters):
    """Spread a few painted strokes over their volume within seconds, without training."""

    kind: ClassVar[str] = "preview"
    checkpoint: str = parameter(
        "starter:synthetic-labels-3d-tiny",
        help="whose features are used: a checkpoint, pre-trained or fine-tuned, or starter:NAME",
    )
    image: tuple[str, ...] = parameter(help="the volume: one file a channel, or a DICOM folder")
    labels: str = parameter(
        help="the strokes: a label map or a segmentation of Slicer; what is not painted is not labeled"
    )
    background: int | None = parameter(
        None,
        help="value of painted background in a label map; a segment named background needs none",
        at_least=1,
        at_most=65535,
    )
    output: str = parameter(help="label map file to write")
    uncompressed: bool = parameter(False, help="write a .nrrd or .mha file larger, and quicker")
    overwrite: bool = parameter(False, help="replace an existing output")
    cache: str | None = parameter(
        None, help="folder for computed features, at most 2 GiB; default: in the user's cache folder"
    )
    device: str = _device()
    precision: Precision = _precision()
    threads: int | None = _threads()


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
    background_label: int | None = parameter(
        None,
        help="nnunet: value of painted background in label maps without names, as for fine-tuning",
        at_least=1,
        at_most=65535,
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


Job = (
    PretrainJob
    | FinetuneJob
    | SegmentJob
    | EvaluateJob
    | RankJob
    | QualityJob
    | PreviewJob
    | ImportJob
    | ExportJob
    | ModelsJob
)
JOBS: dict[str, type[Job]] = {
    j.kind: j
    for j in (
        *(PretrainJob, FinetuneJob, SegmentJob, EvaluateJob, RankJob, QualityJob, PreviewJob, ImportJob),
        *(ExportJob, ModelsJob),
    )
}

"""Job descriptions: what terminal, panel and batch ask of the engine. Light to import, strict to read.

The command line is made from these fields, and the worker reads them as JSON; so a job is the same wherever it
comes from. Paths are strings as the user typed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal


def option(default: Any, help: str) -> Any:
    """A field with its help text."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"help": help})
    return field(default=default, metadata={"help": help})


def required(help: str) -> Any:
    """A field without default."""
    return field(metadata={"help": help})


Size = Literal["auto", "tiny", "base", "large"]
Pieces = Literal["auto", "all", "largest"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What pre-training and fine-tuning share."""

    kind: ClassVar[str]
    images: tuple[str, ...] = required("folders, dataset.json or list files, DICOM folders, or image files")
    output: str = required("the checkpoint to write (.safetensors)")
    steps: int | None = option(None, "budget in training steps")
    minutes: float | None = option(None, "budget in minutes of training")
    resume: bool = option(False, "continue the killed or cancelled run of the same command")
    overwrite: bool = option(False, "replace an existing output")
    settings: Mapping[str, Any] = option({}, "KEY=VALUE of the method's settings (see 'methods')")
    learning_rate: float | None = option(None, "peak learning rate instead of the method's own")
    optimizer: Literal["sgd", "adamw"] | None = option(None, "optimizer instead of the method's own")
    cache: str | None = option(
        None, "folder for preprocessed volumes, kept; default: beside the output, removed at the end"
    )
    tensorboard: bool = option(False, "also write curves for TensorBoard beside the output")
    device: str = option("auto", "auto, cpu, cuda[:N] or mps")
    precision: Literal["auto", "32", "bf16"] = option("auto", "number format of the networks")
    license: str = option("", "license of the weights, noted in the checkpoint")
    seed: int = option(0, "same seed, same data, same machine: same weights")
    threads: int | None = option(None, "CPU threads (default: torch's own choice)")


@dataclass(frozen=True, kw_only=True)
class PretrainJob(Training):
    """Learn a backbone from volumes without labels, or with some."""

    kind: ClassVar[str] = "pretrain"
    labels: tuple[str, ...] = option(
        (), "labels to learn from, for methods that can: their folders or files, or the data sets or lists they are in"
    )
    method: str = option("ideal", "pre-training method (see 'methods')")
    dimensions: Literal[2, 3] = option(3, "3 for volumes, 2 for slice by slice")
    size: Size = option("auto", "network size; auto: tiny on a CPU, base on a GPU")
    network: str = option("unet", "backbone (see 'networks')")
    generic: bool = option(False, "mark the checkpoint as fit for any modality and spacing (a starter)")


@dataclass(frozen=True, kw_only=True)
class FinetuneJob(Training):
    """Learn to segment from a few labeled volumes."""

    kind: ClassVar[str] = "finetune"
    checkpoint: str = required("checkpoint to start from; starter:NAME for one that ships, 'none' for none")
    labels: tuple[str, ...] = option(
        (), "label folders or files; not needed when --images names a dataset.json with labels"
    )
    unlabeled: tuple[str, ...] = option(
        (), "volumes to learn from without labels, for methods that can; labels beside them are never read"
    )
    label_table: str | None = option(
        None, 'JSON list of {"value", "name", "color": [r, g, b], "terminology"} instead of names from dataset.json'
    )
    method: str = option("supervised", "fine-tuning method (see 'methods')")
    dimensions: Literal[2, 3] = option(3, "without checkpoint: 3 for volumes, 2 for slice by slice")
    size: Size = option("auto", "without checkpoint: network size")
    network: str = option("unet", "without checkpoint: backbone (see 'networks')")
    resolution: str = option(
        "auto",
        "working voxel spacing: native, a length in mm, or auto: coarser than the volumes where the budget is short "
        "and the labeled structures allow it; a checkpoint for one modality keeps its own",
    )
    validation: str = option("none", "K labeled cases to hold out, or their names joined by commas; or 'leave-one-out'")
    compare_scratch: bool = option(False, "also train from scratch with the same budget and say which won")
    transferred_rate: float | None = option(None, "learning-rate factor for weights from the checkpoint")


@dataclass(frozen=True, kw_only=True)
class SegmentJob:
    """Label volumes with a fine-tuned checkpoint."""

    kind: ClassVar[str] = "segment"
    checkpoint: str = required("a fine-tuned checkpoint")
    input: tuple[str, ...] = required("image files, folders of images, or DICOM folders")
    output: str = required("label map file for one input, or a folder")
    probabilities: str | None = option(None, "also write class probabilities to this file or folder")
    uncertainty: str | None = option(
        None, "also write the entropy of the class probabilities, 0 to 1, to this file or folder"
    )
    uncompressed: bool = option(False, "write .nrrd and .mha files larger, and quicker")
    overwrite: bool = option(False, "replace existing outputs")
    mirror: bool = option(False, "average over mirrored copies (slower, often a little better)")
    pieces: Pieces = option(
        "auto",
        "of each label keep all pieces or only the largest; auto: only the largest of those labels that were in one "
        "piece in every case they were learned from",
    )
    timings: str | None = option(None, "write seconds per stage and peak memory to this JSON file")
    device: str = option("auto", "auto, cpu, cuda[:N] or mps")
    precision: Literal["auto", "32", "bf16"] = option("auto", "number format of the network")
    threads: int | None = option(None, "CPU threads (default: torch's own choice)")


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """Compare label maps with references."""

    kind: ClassVar[str] = "evaluate"
    predictions: str = required("folder of label maps, or one file")
    references: str = required("folder of reference label maps with the same case names, or one file")
    output: str = required("JSON file to write")
    csv: str | None = option(None, "also write one row a case and label to this file")
    checkpoint: str | None = option(
        None, "the checkpoint that made the predictions, to be warned of cases whose labels it has learned from"
    )
    overwrite: bool = option(False, "replace existing outputs")


@dataclass(frozen=True, kw_only=True)
class RankJob:
    """Say which unlabeled volumes to label next."""

    kind: ClassVar[str] = "rank"
    checkpoint: str = required("a fine-tuned checkpoint; with one that was only pre-trained, novelty alone decides")
    input: tuple[str, ...] = required("the unlabeled volumes: image files, folders of images, or DICOM folders")
    labeled: tuple[str, ...] = option((), "volumes that are labeled already; what resembles them comes later")
    output: str | None = option(None, "also write the list to this JSON file")
    overwrite: bool = option(False, "replace an existing output")
    device: str = option("auto", "auto, cpu, cuda[:N] or mps")
    precision: Literal["auto", "32", "bf16"] = option("auto", "number format of the network")
    threads: int | None = option(None, "CPU threads (default: torch's own choice)")


Job = PretrainJob | FinetuneJob | SegmentJob | EvaluateJob | RankJob
JOBS: dict[str, type[Job]] = {j.kind: j for j in (PretrainJob, FinetuneJob, SegmentJob, EvaluateJob, RankJob)}

"""Pre-training and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..parameters import ParameterError, Parameters, parameter
from . import options
from .options import LabeledPart, Precision, Resume, Size


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
    device: str = options.device()
    precision: Precision = options.precision()
    license: str = parameter("", help="license of the weights, noted in the checkpoint", placeholder="NAME")
    keep_names: bool = parameter(
        False,
        help="name the training cases in the checkpoint, in place of running numbers, and files in the report; mind "
        "what you share",
    )
    report: str | None = options.report()
    seed: int = parameter(0, help="same seed, same data, same machine: same weights", at_least=0, at_most=2**32 - 1)
    threads: int | None = options.threads()


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
    network: str = options.network()
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
    background_label: int | None = options.background(
        "value of painted background in label maps without names; a label named background needs none"
    )
    missing_structures: Literal["absent", "not-drawn"] = parameter(
        "absent",
        help="a structure that some labeled cases lack is absent there (learned as background), or was not drawn (may "
        "be anywhere in their background). The entry of a case may list the structures that were looked for",
    )
    method: str = parameter("supervised", help="fine-tuning method (see 'methods')", placeholder="NAME")
    dimensions: Literal[2, 3] = parameter(3, help="without checkpoint: 3 for volumes, 2 for slice by slice")
    size: Size = parameter("auto", help="without checkpoint: network size")
    network: str = options.network("without checkpoint: ")
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
            raise ParameterError("checkpoint", f"is missing: give one to start from, {options.STARTER}, or none.")

    @property
    def compares(self) -> bool:
        """Whether it trains from several starts."""
        return self.compare_scratch or bool(self.compare)

"""What ``import contrastiveseg`` offers as functions: the jobs with keyword arguments, and what needs no job.

The options of a job are the fields of its description (:mod:`.descriptions`), from which signature and help are made.
Paths may be text or ``Path``, and where several are taken, one alone. The examples run on what ``sample_data("scans")``
makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .calling import call, call_anywhere, emit_to, takes_options_of
from .checkpoint_api import import_checkpoint, inspect, load_checkpoint
from .descriptions import (
    EvaluateJob,
    ExportJob,
    FinetuneJob,
    ModelsJob,
    PretrainJob,
    PreviewJob,
    QualityJob,
    RankJob,
    SegmentJob,
)
from .errors import InputError
from .results import (
    EvaluateResult,
    ExportResult,
    FinetuneResult,
    ModelsResult,
    PretrainResult,
    PreviewResult,
    QualityResult,
    RankResult,
    SegmentResult,
)

if TYPE_CHECKING:
    from .events import Emit

__all__ = [
    "evaluate",
    "export",
    "finetune",
    "import_checkpoint",
    "inspect",
    "load_checkpoint",
    "models",
    "pretrain",
    "preview",
    "quality",
    "rank",
    "sample_data",
    "segment",
]


@takes_options_of(PretrainJob, anywhere=True)
def pretrain(**options: Any) -> PretrainResult:
    """Learn a backbone from volumes without labels, or with some, and write it as a checkpoint to fine-tune.

    Raises:
        InputError: an option, a volume or an output cannot be used; the message says what to do.
        Cancelled: ``cancelled`` returned True.

    >>> import contrastiveseg as cs
    >>> result = cs.pretrain(images="scans/imagesTr", method="macl", output="base.safetensors", steps=1)
    >>> cs.inspect(result.checkpoint).kind
    'pretrained'
    """
    return call_anywhere(PretrainJob, **options)


@takes_options_of(FinetuneJob, anywhere=True)
def finetune(**options: Any) -> FinetuneResult:
    """Learn to segment from a few labeled volumes, and write a checkpoint that segments.

    Raises:
        InputError: an option, a volume, the checkpoint or the output cannot be used; the message says what to do.
        Cancelled: ``cancelled`` returned True; the weights so far and a file to resume from are kept.

    >>> import contrastiveseg as cs
    >>> result = cs.finetune(
    ...     images="scans", checkpoint="starter:macl-3d-tiny", output="mine.safetensors", steps=1, validation="1"
    ... )
    >>> result.transfer.loaded[0], [case.name for case in result.held_out]
    ('encoder', ['synthetic_00002'])
    """
    return call_anywhere(FinetuneJob, **options)


@takes_options_of(SegmentJob, anywhere=True)
def segment(**options: Any) -> SegmentResult:
    """Label volumes with a fine-tuned checkpoint: files in, label maps out, each on its volume's own grid.

    For arrays, or one volume after the other, see ``Predictor``.

    Raises:
        InputError: an option, the checkpoint or an output cannot be used, or no volume could be segmented.
        Cancelled: ``cancelled`` returned True; finished label maps stay.

    >>> import contrastiveseg as cs
    >>> result = cs.segment(checkpoint="organs.safetensors", input="scans/imagesTr", output="segmented/")
    >>> len(result.written), len(result.failures)
    (4, 0)
    """
    return call_anywhere(SegmentJob, **options)


@takes_options_of(EvaluateJob)
def evaluate(**options: Any) -> EvaluateResult:
    """Compare label maps with references: Dice, distances and volumes, by case and label.

    Raises:
        InputError: files cannot be read or paired, or an output cannot be written.
        Cancelled: ``cancelled`` returned True.

    >>> import contrastiveseg as cs
    >>> result = cs.evaluate(predictions="scans/labelsTr", references="scans/labelsTr", output="scores.json")
    >>> result.cases, result.dice
    (4, 1.0)
    """
    return call(EvaluateJob, **options)


@takes_options_of(RankJob)
def rank(**options: Any) -> RankResult:
    """Order unlabeled volumes by how much labeling each would teach, the most first.

    Raises:
        InputError: the checkpoint or the output cannot be used, or no volume could be read.
        Cancelled: ``cancelled`` returned True.

    >>> import contrastiveseg as cs
    >>> result = cs.rank(checkpoint="organs.safetensors", input="scans/imagesTr")
    >>> result.cases[0].score >= result.cases[-1].score
    True
    """
    return call(RankJob, **options)


@takes_options_of(QualityJob)
def quality(**options: Any) -> QualityResult:
    """Order the segmentations of a batch by how doubtful they are, the most first, where there is no reference.

    Raises:
        InputError: files cannot be read or paired, or an output cannot be written.
        Cancelled: ``cancelled`` returned True.

    >>> import contrastiveseg as cs
    >>> result = cs.quality(input="scans/imagesTr", segmentations="scans/labelsTr", html="quality.html")
    >>> len(result.cases), result.cases[0].doubt >= result.cases[-1].doubt
    (4, True)
    """
    return call(QualityJob, **options)


@takes_options_of(PreviewJob)
def preview(**options: Any) -> PreviewResult:
    """Spread a few painted strokes over their whole volume, without training: strokes in, label map out.

    Raises:
        InputError: the checkpoint, the volume or the strokes cannot be used, or the output cannot be written.
        Cancelled: ``cancelled`` returned True.

    >>> import contrastiveseg as cs
    >>> result = cs.preview(
    ...     image="scans/imagesTr/synthetic_00000.nii.gz",
    ...     labels="scans/labelsTr/synthetic_00000.nii.gz",
    ...     output="preview.nii.gz",
    ...     cache="features",
    ... )
    >>> result.output, result.background, result.computed
    ('preview.nii.gz', False, True)
    """
    return call(PreviewJob, **options)


@takes_options_of(ExportJob)
def export(**options: Any) -> ExportResult:
    """Write a label map as a DICOM SEG, cases as a data set of nnU-Net, or a model as ONNX or as a MONAI bundle.

    DICOM SEG needs highdicom, and ONNX the packages onnx and onnxscript.

    Raises:
        InputError: an option, an input or the output cannot be used, or the inputs do not fit one another.
        Cancelled: ``cancelled`` returned True; nothing is written.

    >>> import contrastiveseg as cs
    >>> cs.export(to="nnunet", images="scans", output="Dataset123_Organs").output
    'Dataset123_Organs'
    """
    return call(ExportJob, **options)


@takes_options_of(ModelsJob)
def models(**options: Any) -> ModelsResult:
    """The checkpoints there are to start from, those that ship and those of catalogs; and downloading one of them.

    Raises:
        InputError: a catalog or the output cannot be used, there is no such model, or it cannot be had.
        Cancelled: ``cancelled`` returned True; the next call goes on with what was downloaded.

    >>> import contrastiveseg as cs
    >>> [model.name for model in cs.models().models]
    ['synthetic-labels-3d-tiny', 'macl-3d-tiny']
    """
    return call(ModelsJob, **options)


def sample_data(
    output: str | Path,
    cases: int = 6,
    labeled: int | None = None,
    seed: int = 0,
    *,
    on_event: Emit | None = None,
    progress: bool = False,
) -> None:
    """Write synthetic volumes to try things on: imagesTr, labelsTr and dataset.json.

    Args:
        output: a folder that has no data set yet.
        cases: how many. labeled: write labels of the first so many only (None: of all). seed: number of the first.
        on_event: called with each event on the way. progress: draw a bar, as the terminal does.

    Raises:
        InputError: a data set lies there already, the folder cannot be written, or a number cannot be used.

    >>> import contrastiveseg as cs
    >>> cs.sample_data("more", cases=1)
    >>> from pathlib import Path
    >>> Path("more/dataset.json").is_file()
    True
    """
    from .files import check_output
    from .synthetic.dataset import write_dataset
    from .synthetic.settings import SyntheticSettings

    listing = Path(output) / "dataset.json"
    if listing.exists():
        raise InputError(f"{output} holds a data set already. Choose another folder.")
    check_output(listing)
    write_dataset(Path(output), cases, seed, SyntheticSettings(), labeled, emit_to(on_event, progress))

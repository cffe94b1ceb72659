"""What the jobs return: one dataclass a kind of job, whose fields are the keys of the "result" event's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .serialization import from_json


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why; the job did the others."""

    input: str
    what: str


@dataclass(frozen=True)
class HeldOutCase:
    """A held-out case: mean Dice over the labels in it or in the prediction, Dice by label, worst HD95 in mm.

    ``dice`` is None when nothing was there and nothing was found; ``hd95_mm`` when a label was missed or invented too,
    or where only a share ``labeled`` of the voxels has a label: then the scores are on those.
    """

    name: str
    dice: float | None
    labels: Mapping[str, float]
    hd95_mm: float | None
    labeled: float = 1.0


@dataclass(frozen=True)
class TransferReport:
    """What a backbone took over and what it kept as initialized, by sub-module ("encoder", "decoder.0", ...).

    Attributes:
        adapted: tensors refitted to another number of input channels.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    loaded_parameters: int
    fresh_parameters: int
    adapted: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeaveOneOut:
    """Scores of each case by a network that was trained on all others, and their mean Dice."""

    dice: float
    cases: tuple[HeldOutCase, ...]


@dataclass(frozen=True)
class ScratchComparison:
    """The same training from scratch: mean Dice on the held-out cases from the checkpoint and from scratch.

    Attributes:
        scratch: the scores from scratch, by case.
    """

    won: Literal["checkpoint", "scratch", "neither"]
    checkpoint_dice: float
    scratch_dice: float
    scratch: tuple[HeldOutCase, ...]


@dataclass(frozen=True)
class ComparedStart:
    """What a fine-tuning reached from one start: mean Dice over the scored cases and seeds, and its spread.

    Attributes:
        name: "scratch", or the file's name without its ending.
        spread: standard deviation over the cases, or over the seeds where one case is scored; None of a single value.
        behind: Dice that it is behind the best start, as the mean over the same cases; 0 for that itself.
        margin: half of the 95 % confidence interval of ``behind``; None where there are no two values to tell it from.
        cases: scores of the training with the first seed.
        seeds: mean Dice by seed.
    """

    name: str
    dice: float
    spread: float | None
    behind: float
    margin: float | None
    cases: tuple[HeldOutCase, ...]
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class StartsComparison:
    """The same training from several starts, the best by its mean Dice first.

    Attributes:
        kept: the start of the checkpoint that was kept.
        ahead: the start whose lead over each of the others is larger than its margin; None where there is none.
        scored: number of cases that each start was scored on.
        left_out_each: scored by leave-one-out, not on cases held out.
    """

    kept: str
    ahead: str | None
    scored: int
    left_out_each: bool
    starts: tuple[ComparedStart, ...]

    def verdict(self, _: Callable[[str], str] = str) -> str:
        """What the scores say, in a sentence.

        Args:
            _: translates a text before its values are filled in.
        """
        best, second = self.starts[:2]
        if not self.ahead:  # the one that is not told apart, which need not be the second
            second = next(s for s in self.starts[1:] if s.margin is None or s.behind <= s.margin)
        values = {"best": best.name, "dice": best.dice, "second": second.name, "behind": second.behind}
        if self.ahead:
            text = _("{best} is ahead: Dice {dice:.3f}, and {behind:.3f} ± {margin:.3f} above {second}, the next.")
        elif second.margin is None:
            text = _(
                "No start is known to be ahead: {best} and {second} differ by {behind:.3f}, and a single score shows "
                "no spread. Hold out more cases, or train with more seeds."
            )
        else:
            text = _(
                "No start is ahead: {best} and {second} differ by {behind:.3f} ± {margin:.3f}, which is within the "
                "spread."
            )
        return text.format(margin=second.margin, **values)


@dataclass(frozen=True)
class PretrainResult:
    """Paths of the checkpoint and of the metrics (JSON lines), and what was spent."""

    checkpoint: str
    metrics: str
    steps: int
    minutes: float


@dataclass(frozen=True)
class FinetuneResult:
    """Paths of the checkpoint and of the metrics (JSON lines), what was spent, and the scores.

    Attributes:
        kept: which weights the checkpoint holds ("best", "averaged", "last").
        transfer: None where nothing was transferred.
        held_out: scores of the new checkpoint on the held-out cases.
        before: those of the checkpoint it started from; None if that does not know all of these labels, by name.
        comparison, leave_one_out, starts: None where the job does not ask for them.
    """

    checkpoint: str
    metrics: str
    steps: int
    minutes: float
    kept: str
    transfer: TransferReport | None
    held_out: tuple[HeldOutCase, ...]
    before: tuple[HeldOutCase, ...] | None
    comparison: ScratchComparison | None = None
    leave_one_out: LeaveOneOut | None = None
    starts: StartsComparison | None = None


@dataclass(frozen=True)
class SegmentResult:
    """Label maps written, and what could not be segmented.

    Attributes:
        kept: label maps that an earlier run of the same command has written, left as they are.
        left_out: case -> label -> ml that were left out as apart from its largest piece.
        seconds: by stage, see :data:`.segmentation.segment.STAGES`.
        peak_memory: bytes (0: unknown).
        distances: case -> its distance from the training, see :class:`.checkpoints.familiarity.Familiarity`; without
            those of which it is not known.
    """

    written: tuple[str, ...]
    failures: tuple[Failure, ...]
    left_out: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
    peak_memory: int
    kept: tuple[str, ...] = ()
    distances: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one label of one case; lengths in mm, volumes in ml, None where undefined.

    Attributes:
        status: see :class:`.evaluation.metrics.LabelScores`.
        volume_ml: of the prediction.
    """

    case: str
    label: int
    name: str
    status: str
    dice: float | None
    hd95_mm: float | None
    assd_mm: float | None
    volume_ml: float
    reference_ml: float


@dataclass(frozen=True)
class EvaluateResult:
    """Paths written, mean Dice over all labels and cases, the number of cases, and a row a case and label."""

    output: str
    csv: str | None
    dice: float | None
    cases: int
    rows: tuple[ScoreRow, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class RankedCase:
    """An unlabeled volume in the list.

    Attributes:
        score: what the list is sorted by, 0 to 1: the mean of novelty and of the uncertainty's rank, or novelty alone.
        uncertainty: mean normalized entropy in and around the predicted structures; None where no labels are known.
        novelty: distance of its features to the nearest volume that is labeled or precedes it in the list, 0 (the same)
            to 1 (as far as any volume of the list is from the labeled ones).
        slice: axis (0, 1, 2 for z, y, x of the file's array) and index of its most uncertain slice.
        world: (x, y, z) in mm (LPS) of the most uncertain voxel in it.
        slices: indices along that axis of slices to label where a few of them are to be labeled, ascending.
    """

    name: str
    score: float
    uncertainty: float | None
    novelty: float
    slice: tuple[int, int]
    world: tuple[float, float, float]
    slices: tuple[int, ...] = ()


@dataclass(frozen=True)
class RankResult:
    """The volumes, best first, what could not be read, and the file written (None: none was asked for)."""

    cases: tuple[RankedCase, ...]
    failures: tuple[Failure, ...]
    output: str | None = None


@dataclass(frozen=True)
class QualityCase:
    """A segmentation without a reference.

    Attributes:
        doubt: what the list is sorted by, 0 to 1, see :func:`.evaluation.quality.by_doubt`.
        volumes_ml, pieces: by structure; 0 where there is none of it.
        uncertainty: mean normalized entropy in and around the structures; None without a map.
        unlike: in what the volume differs from those the checkpoint was trained on, in sentences.
        reasons: what sets it apart from the other cases, in words; ``unlike`` is among them.
        distance: from the training, see :class:`.checkpoints.familiarity.Familiarity`; None where it is not known.
        world: (x, y, z) in mm (LPS) of the place to look at first.
        image, segmentation: the files; of several channels the first. picture: the PNG written, None without any.
    """

    name: str
    doubt: float
    volumes_ml: Mapping[str, float]
    pieces: Mapping[str, int]
    uncertainty: float | None
    unlike: tuple[str, ...]
    reasons: tuple[str, ...]
    world: tuple[float, float, float]
    image: str = ""
    segmentation: str = ""
    picture: str | None = None
    distance: float | None = None


@dataclass(frozen=True)
class QualityResult:
    """The cases, the most doubtful first, what could not be looked at, and the files written (None: not asked for)."""

    cases: tuple[QualityCase, ...]
    failures: tuple[Failure, ...]
    csv: str | None = None
    html: str | None = None


@dataclass(frozen=True)
class ImportResult:
    """The checkpoint written; names of their tensors that were used and that were not, and of ours that have no
    counterpart; the license of the weights ("" where neither the file nor the job says it).
    """

    checkpoint: str
    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]
    license: str = ""


@dataclass(frozen=True)
class PreviewResult:
    """The label map written.

    Attributes:
        background: whether some was painted; if not, it was assumed wherever the volume is unlike the strokes.
        computed: whether the features were computed now, not found in the cache.
        seconds: by stage, see :data:`.previewing.job.STAGES`.
    """

    output: str
    background: bool
    computed: bool
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class ExportResult:
    """The file or folder written."""

    output: str


@dataclass(frozen=True)
class CatalogModel:
    """A checkpoint that a catalog lists.

    Attributes:
        name: file name without its ending. purpose: what it is for. modality: the images that it takes.
        size, sha256: of the file, in bytes and in hexadecimal.
        license, citation: of the weights, and works to cite.
        address: where the file is, by https; "" for one that ships.
    """

    name: str
    purpose: str
    modality: str
    size: int
    sha256: str
    license: str
    citation: str
    address: str = ""


@dataclass(frozen=True)
class ModelsResult:
    """The models of the catalogs, and the file downloaded (None: not asked for)."""

    models: tuple[CatalogModel, ...]
    downloaded: str | None = None


JobResult = (
    PretrainResult
    | FinetuneResult
    | SegmentResult
    | EvaluateResult
    | RankResult
    | QualityResult
    | PreviewResult
    | ImportResult
    | ExportResult
    | ModelsResult
)

#: Kind of job -> its result.
RESULTS: dict[str, type[JobResult]] = {
    "pretrain": PretrainResult,
    "finetune": FinetuneResult,
    "segment": SegmentResult,
    "evaluate": EvaluateResult,
    "rank": RankResult,
    "preview": PreviewResult,
    "quality": QualityResult,
    "import": ImportResult,
    "export": ExportResult,
    "models": ModelsResult,
}


def result_from_json(kind: str, data: Any) -> JobResult:
    """The result of a job of ``kind`` from the JSON of its "result" event.

    Raises:
        InputError: fields are missing, unknown or of the wrong type.
    """
    return from_json(RESULTS[kind], data, "result")

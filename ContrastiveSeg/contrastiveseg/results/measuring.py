"""What measuring, ranking and the quality of a batch return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .segmenting import Failure


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

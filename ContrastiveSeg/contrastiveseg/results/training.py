"""What trainings return: paths, what was spent, and scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal


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
        adapted: tensors refitted to another number of input channels, or to thick slices.
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
        won: whose mean Dice is higher, however little.
        scratch: the scores from scratch, by case.
        level: the difference of the means is within its margin (:class:`ComparedStart`), so that it tells nothing; None
            where there is no margin.
    """

    won: Literal["checkpoint", "scratch", "neither"]
    checkpoint_dice: float
    scratch_dice: float
    scratch: tuple[HeldOutCase, ...]
    level: bool | None = None


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
                "No start is ahead: {best} and {second} are level. They differ by {behind:.3f} ± {margin:.3f}, which "
                "is within the spread."
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

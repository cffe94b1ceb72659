"""What the scores of a fine-tuning say, in sentences."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence

from slicer.i18n import tr as _

from contrastiveseg.results import FinetuneResult, HeldOutCase

#: Means that differ by less are shown as the same number.
_SAME = 0.0005


def verdict(result: FinetuneResult, circular: Collection[str] = ()) -> list[str]:
    """Whether the training made it better than before, and which start did best; [] if there is nothing to say.

    Args:
        circular: names of the held-out volumes whose reference was made by the checkpoint that the training started
            from. That checkpoint scores too well on them.
    """
    sentences = []
    before, after = (_mean_dice(cases) for cases in (result.before or (), result.held_out))
    if before is not None and after is not None and after < before - _SAME:
        text = _("Fine-tuning made it worse: Dice {after:.3f}, and {before:.3f} before.")
        sentences.append(text.format(after=after, before=before))
    if result.before and circular:
        text = _(
            "The checkpoint it started from made the reference of {names} itself, so Before is too high there: correct "
            "the reference, or validate on a volume drawn by hand."
        )
        sentences.append(text.format(names=", ".join(circular)))
    if result.starts is not None:
        sentences.append(result.starts.verdict(_))
    return sentences


def _mean_dice(cases: Sequence[HeldOutCase]) -> float | None:
    dice = [case.dice for case in cases if case.dice is not None]
    return statistics.fmean(dice) if dice else None

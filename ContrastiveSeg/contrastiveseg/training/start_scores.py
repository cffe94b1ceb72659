"""Which of several starts did best, and whether their scores tell them apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ..results import ComparedStart, FinetuneResult, HeldOutCase, ScratchComparison, StartsComparison


def compare_scores(results: Mapping[str, Sequence[FinetuneResult]], keep: str = "") -> StartsComparison:
    """The comparison of the ``results`` of each start, one a seed, in the order in which the starts were given.

    Two starts are compared on the same cases, each the mean over the seeds; where one case is scored, seed by seed. The
    margin is half of the 95 % confidence interval of their mean difference (Student's t for paired differences).

    Args:
        keep: the start that is kept, whichever is best; "" for the best one.
    """
    scores = {name: _scored(each) for name, each in results.items()}
    dice = {name: _mean(values.values()) for name, values in scores.items()}
    # The first one given is the best of those that are equal.
    best = max(dice, key=lambda name: dice[name])
    compared = [_compared(name, results[name], dice[name], scores[name], scores[best]) for name in results]
    compared.sort(key=lambda start: (start.name != best, -start.dice))
    first = next(iter(results.values()))[0]
    others = compared[1:]
    ahead = all(start.margin is not None and start.behind > start.margin for start in others)
    return StartsComparison(
        kept=keep or best,
        ahead=best if ahead else None,
        scored=len(scored_cases(first)),
        left_out_each=first.leave_one_out is not None,
        starts=tuple(compared),
    )


def beside_scratch(comparison: StartsComparison, scratch_name: str) -> ScratchComparison:
    """The best checkpoint beside training from scratch, which ``comparison`` has under the name ``scratch_name``."""
    scratch = next(start for start in comparison.starts if start.name == scratch_name)
    best = next(start for start in comparison.starts if start.name != scratch_name)
    won: Literal["checkpoint", "scratch", "neither"]
    won = "checkpoint" if best.dice > scratch.dice else "scratch" if scratch.dice > best.dice else "neither"
    # The better of the two is the best of all, from which every start has its margin.
    behind = best if comparison.starts[0] is scratch else scratch
    level = None if behind.margin is None else behind.behind <= behind.margin
    return ScratchComparison(won, best.dice, scratch.dice, scratch.cases, level)


def table(comparison: StartsComparison) -> list[str]:
    """Lines for the log: each start's mean Dice, its spread, and what it is behind the best."""
    width = max(len(start.name) for start in comparison.starts)
    rows = [f"{'Start':<{width}}   Dice  spread  behind the best"]
    for place, start in enumerate(comparison.starts):
        spread = "    -" if start.spread is None else f"{start.spread:.3f}"
        behind = "" if not place else f"{start.behind:.3f}" + ("" if start.margin is None else f" ± {start.margin:.3f}")
        rows.append(f"{start.name:<{width}}  {start.dice:.3f}   {spread}  {behind}".rstrip())
    return rows


def told_as_kept(output: object, comparison: StartsComparison) -> str:
    """From which start the checkpoint ``output`` is; and how to get the best one where another was asked for."""
    text = f"{output} started from {comparison.kept}."
    if comparison.kept == comparison.starts[0].name:
        return text
    return f"{text} --compare-scratch keeps the checkpoint's start in any case; --compare scratch keeps the best."


def _compared(
    name: str,
    results: Sequence[FinetuneResult],
    dice: float,
    scores: Mapping[object, float],
    best: Mapping[object, float],
) -> ComparedStart:
    values = list(scores.values())
    differences = [best[key] - scores[key] for key in scores if key in best]
    return ComparedStart(
        name=name,
        dice=dice,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        behind=_mean(differences),
        margin=_margin(differences),
        cases=scored_cases(results[0]),
        seeds=tuple(_mean(c.dice for c in scored_cases(result) if c.dice is not None) for result in results),
    )


def _scored(results: Sequence[FinetuneResult]) -> dict[object, float]:
    """Dice by case, the mean over the seeds; of one case, Dice by seed. Without cases in which it is not defined."""
    by_case: dict[object, list[float]] = {}
    for result in results:
        for case in scored_cases(result):
            if case.dice is not None:
                by_case.setdefault(case.name, []).append(case.dice)
    if len(by_case) == 1:
        return dict(enumerate(next(iter(by_case.values()))))
    return {name: statistics.fmean(values) for name, values in by_case.items()}


def scored_cases(result: FinetuneResult) -> tuple[HeldOutCase, ...]:
    """The cases left out one by one, else those held out."""
    return result.leave_one_out.cases if result.leave_one_out else result.held_out


def _mean(values: Iterable[float]) -> float:
    """0 where there are none."""
    return statistics.fmean(list(values) or [0.0])


def _margin(differences: Sequence[float]) -> float | None:
    if len(differences) < 2:
        return None
    from scipy.special import stdtrit  # a quarter of a second that few runs need

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return float(stdtrit(len(differences) - 1, 0.975)) * error

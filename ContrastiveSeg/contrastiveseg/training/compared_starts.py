"""The same fine-tuning from several starts, each with the whole budget; the checkpoint of the best is kept.

By leave-one-out, only the start that is kept is trained on all cases: of the others nothing but scores is wanted.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .. import events
from ..checkpoints.starters import checkpoint_path
from ..descriptions import FinetuneJob
from ..errors import Cancelled, InputError
from ..files import check_output
from ..results import FinetuneResult, LeaveOneOut
from ..volumes.content import content_digest
from .beside import comparison_path, metrics_path, resume_path
from .comparison_progress import ComparisonProgress, Turn
from .run import Run
from .setup import cache_folder
from .start import Start, open_start
from .start_scores import beside_scratch, compare_scores, table, told_as_kept
from .training_from import Lesson, score_from, train_from

SCRATCH = "scratch"


def check_comparison(job: FinetuneJob) -> None:
    """Refuse starts that are no comparison, before any work is done.

    Raises:
        InputError: there is but one start, or several seeds for none, or the output is to replace a start.
    """
    if not job.compares:
        if job.compare_seeds > 1:
            raise InputError("--compare-seeds belongs to --compare. Name the starts to compare there.")
        return
    starts = compared_starts(job)
    if job.compare_scratch and not job.compare and len(starts) < 2:
        raise InputError(
            "--compare-scratch compares a checkpoint with training from scratch; with 'none' they are one."
        )
    if len(starts) < 2:
        raise InputError(
            f"--compare needs two starts or more, and {next(iter(starts))} is the only one. Name another, as scratch."
        )
    # What is best so far would stand in the start's place when a stopped comparison goes on.
    if any(Path(path).resolve() == Path(job.output).resolve() for path in starts.values()):
        raise InputError(f"{job.output} is a start of this comparison. Choose another output.")


def compared_starts(job: FinetuneJob) -> dict[str, str]:
    """Name -> checkpoint of each start of ``job`` in the order given, once each; training from scratch is "none".

    Raises:
        InputError: no starter has such a name.
    """
    given = [job.checkpoint or "", *(start for text in job.compare for start in _separated(text))]
    given += [SCRATCH] if job.compare_scratch else []
    paths = dict.fromkeys(_path(start) for start in given if start)
    stems = [Path(path).stem for path in paths]
    return {
        SCRATCH if path == "none" else path if stems.count(Path(path).stem) > 1 else Path(path).stem: path
        for path in paths
    }


def _separated(text: str) -> list[str]:
    """The starts in ``text``; a file may have commas in its name."""
    return [text] if Path(text).is_file() else [part.strip() for part in text.split(",")]


def _path(start: str) -> str:
    return "none" if start in (SCRATCH, "none") else str(checkpoint_path(start))


def compare_starts(lesson: Lesson, run: Run) -> FinetuneResult:
    """Train from each start of the job in turn; returns the result of the start that is kept.

    Raises:
        InputError: a start cannot be read or does not fit the volumes, or the table of an earlier run lies there.
        Cancelled: stopped; the output holds the best so far, and resuming goes on with what is left.
    """
    job = lesson.job
    assert run.output is not None
    if not run.resume:
        check_output(comparison_path(run.output), job.overwrite)
    turns = _turns(lesson, run)
    # A comparison that was asked for as one with scratch keeps the checkpoint, as ever.
    keep = turns[0].name if not job.compare else ""
    files = [file for case in (*lesson.cases, *lesson.unlabeled) for file in (*case.images, case.labels) if file]
    starts = [(turn.start.plan.spacing, turn.start.digest) for turn in turns]
    progress = ComparisonProgress.of(run, f"{run.identity} {content_digest(files)} {starts}")
    with cache_folder(job, keep_if_refused=False) as cache:
        for turn in turns:
            if progress.has(turn):
                continue
            run.emit(events.log(f"Start {turn.number} of {len(turns)}: {turn.name}, seed {turn.seed}."))
            try:
                progress.add(turn, _train(turn, lesson, cache, run, score_only=lesson.leaves_one_out))
            except Cancelled as stop:
                raise progress.stopped(turn, stop, keep) from stop
        comparison = compare_scores({turn.name: progress.results(turn.name) for turn in turns}, keep)
        kept = next(turn for turn in turns if turn.name == comparison.kept)
        if not progress.has_checkpoint(kept):
            run.emit(events.log(f"{kept.name} is trained on all cases, seed {kept.seed}."))
            try:
                progress.add(kept, _train(kept, lesson, cache, run, progress.results(kept.name)[0].leave_one_out))
            except Cancelled as stop:
                raise progress.stopped(kept, stop, keep) from stop
    how = "by leave-one-out" if comparison.left_out_each else "held out"
    cases = "1 case" if comparison.scored == 1 else f"{comparison.scored} cases"
    for line in (
        *table(comparison),
        f"Scored on {cases} {how}, each start with the same budget. {comparison.verdict()}",
        told_as_kept(run.output, comparison),
    ):
        run.emit(events.log(line))
    progress.keep(comparison)
    return dataclasses.replace(
        progress.results(comparison.kept)[0],
        checkpoint=str(run.output),
        metrics=str(metrics_path(run.output)),
        comparison=beside_scratch(comparison, SCRATCH) if job.compare_scratch else None,
        starts=comparison,
    )


def _turns(lesson: Lesson, run: Run) -> list[Turn]:
    """All starts with the first seed, then all with the next.

    From scratch it has network and plan of the first checkpoint, so that the two differ in their weights alone.
    """
    job, names = lesson.job, compared_starts(lesson.job)
    told: list[events.Event] = []

    def once(event: events.Event) -> None:  # what holds of the volumes, each start would tell
        if event not in told:
            told.append(event)
            run.emit(event)

    told_once = dataclasses.replace(run, emit=once)
    opened = {
        name: open_start(dataclasses.replace(job, checkpoint=path), lesson.cases, told_once, lesson.held)
        for name, path in names.items()
        if path != "none"
    }
    first = next(iter(opened.values()))
    fresh = Start(first.network, first.plan)
    pairs = [(name, job.seed + more) for more in range(job.compare_seeds) for name in names]
    return [
        Turn(number, name, names[name], opened.get(name, fresh), seed) for number, (name, seed) in enumerate(pairs, 1)
    ]


def _train(
    turn: Turn, lesson: Lesson, cache: Path, run: Run, left_out: LeaveOneOut | None = None, score_only: bool = False
) -> FinetuneResult:
    """What comes of ``turn``: its training and scores, or the scores of leave-one-out alone."""
    assert run.output is not None
    output = turn.output(run.output)
    job = dataclasses.replace(lesson.job, checkpoint=turn.checkpoint, seed=turn.seed)
    own = dataclasses.replace(
        run,
        output=output,
        seed=turn.seed,
        identity=f"{run.identity} {turn.name} {turn.seed} {turn.start.plan.spacing}",
        resume=run.resume and resume_path(output).is_file(),
        replace_curve=True,
    )
    own_lesson = dataclasses.replace(lesson, job=job)
    if score_only:
        scores = score_from(turn.start, own_lesson, cache, own)
        return FinetuneResult("", "", 0, 0.0, "", None, (), None, leave_one_out=scores)
    stage = events.Stage.TRAIN_FROM_SCRATCH if turn.checkpoint == "none" else events.Stage.TRAIN
    return train_from(turn.start, own_lesson, cache, own, stage, left_out)

"""What pre-training and fine-tuning share before and after the loop: files, device, cache, provenance."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from .. import __version__, events
from ..checkpoints.anonymity import hashed, new_salt, numbered
from ..checkpoints.card import Provenance, TrainingCase
from ..checkpoints.header import check_name
from ..claims import check_unclaimed, claimed
from ..data.cache import preprocess, remove_cache
from ..data.cached_case import CachedCase
from ..descriptions import Training
from ..device import autocast_dtype, resolve_device
from ..errors import InputError
from ..files import check_output, remove_leftovers
from ..methods.method import Optimization
from ..planning.plan import Plan
from ..serialization import to_json
from ..volumes.dataset import CaseFiles, find_cases
from . import distributed
from .beside import metrics_path, resume_path
from .resume import check_fresh, check_resumable
from .run import Budget, Run, Trained
from .tensorboard import tensorboard

#: Fields of a job that may differ between a run and its resumption.
_NOT_SHAPING = (
    *("output", "resume", "overwrite", "cache", "device", "precision", "threads", "tensorboard", "license"),
    *("keep_names", "report"),
)
#: Cases named one by one in a checkpoint, or as many as came with labels; beyond it only their number is kept.
_NAMED_CASES = 1000


@contextmanager
def open_run(job: Training, emit: events.Emit, cancelled: events.CancelCheck) -> Iterator[Run]:
    """Check the output and the budget, keep the output to this run, choose the device, join other processes.

    Where it ends well, the resume file is removed and the process group left.

    Raises:
        InputError: the output or a run to resume exists, there is nothing to resume, another process writes the output,
            the budget is missing or doubled, the device is not there.
    """
    output = Path(job.output)
    check_name(output)
    # Of several processes the first claims the output for all.
    first = os.environ.get("RANK", "0") == "0"
    if first:
        check_unclaimed(output)
    if not job.resume:
        check_output(output, job.overwrite)
        check_fresh(resume_path(output), job.overwrite)
    budget = Budget(job.steps, job.minutes)
    with claimed(output) if first else nullcontext(True) as killed:
        resume = _resumes(job, output, killed)
        if first:
            remove_leftovers([output, resume_path(output), metrics_path(output)])
        run = _run(job, budget, emit, cancelled)
        yield dataclasses.replace(
            run, resume=resume, begin_anew=job.resume == "auto", replace_curve=job.overwrite or killed
        )
        resume_path(output).unlink(missing_ok=True)
        distributed.stop()


def _resumes(job: Training, output: Path, killed: bool) -> bool:
    """Whether ``job`` has a resume file to continue from.

    One that was ``killed`` may have been before it wrote the first; then it begins, as it does with "auto".

    Raises:
        InputError: there is nothing to resume, or the output of a run that begins exists.
    """
    if not job.resume or resume_path(output).is_file():
        return bool(job.resume)
    if job.resume != "auto" and not killed:
        check_resumable(resume_path(output))
    check_output(output, job.overwrite)
    return False


def _run(job: Training, budget: Budget, emit: events.Emit, cancelled: events.CancelCheck) -> Run:
    output = Path(job.output)
    if job.threads:
        torch.set_num_threads(job.threads)
    device = distributed.start(resolve_device(job.device))
    if distributed.rank() > 0:
        emit = events.silent
    elif job.tensorboard:
        emit = tensorboard(emit, output.with_name(output.name + ".tensorboard"))
    dtype = autocast_dtype(device, job.precision)
    return Run(budget, device, dtype, job.seed, output, _identity(job), emit=emit, cancelled=cancelled)


def _identity(job: Training) -> str:
    """A hash of every field of ``job`` that influences the weights, so not of those in ``_NOT_SHAPING``."""
    shaping = {k: v for k, v in to_json(job).items() if k not in _NOT_SHAPING}
    return hashlib.sha256(json.dumps([job.kind, shaping], sort_keys=True).encode()).hexdigest()


def cases_of(images: Sequence[str], labels: Sequence[str] = ()) -> list[CaseFiles]:
    """:func:`.volumes.dataset.find_cases` for paths as typed."""
    return find_cases([Path(p) for p in images], [Path(p) for p in labels])


def warn_of_channels(cases: Sequence[CaseFiles], emit: events.Emit) -> None:
    """Warn where all files of a data set are the channels of one volume: they may be volumes numbered from 0000."""
    if len(cases) == 1 and len(cases[0].images) > 1:
        names = ", ".join(image.name for image in cases[0].images[:3])
        emit(
            events.warning(
                f"{len(cases[0].images)} files ({names}, ...) are taken for the channels of one volume, "
                f"{cases[0].name}. If they are volumes of their own, name them so that none ends in _0000, or list "
                "them in a JSON file."
            )
        )


@contextmanager
def cache_folder(job: Training, keep_if_refused: bool = True) -> Iterator[Path]:
    """The folder for preprocessed volumes: that of the job, or one beside the output that is emptied at the end.

    A run that ends early (cancelled, failed) keeps it, so that resuming need not preprocess again. With
    ``keep_if_refused`` false it is removed when the input cannot be used. Files of others in it stay.
    """
    if job.cache:
        yield Path(job.cache)
        return
    folder = Path(job.output).with_name(Path(job.output).name + ".cache")
    try:
        yield folder
    except InputError:
        if not keep_if_refused and distributed.rank() == 0:
            remove_cache(folder)
        raise
    distributed.barrier()
    if distributed.rank() == 0:
        remove_cache(folder)


def prepared(cases: Sequence[CaseFiles], plan: Plan, folder: Path, run: Run) -> list[CachedCase]:
    """:func:`.data.cache.preprocess`, of which each of several processes does a part first."""
    if distributed.world() > 1:
        share = cases[distributed.rank() :: distributed.world()]
        preprocess(share, plan, folder, emit=run.emit, cancelled=run.cancelled)
        distributed.barrier()
    return preprocess(cases, plan, folder, emit=run.emit, cancelled=run.cancelled)


def on_data(run: Run, cases: Sequence[CachedCase]) -> Run:
    """``run``, which only the same job on the same ``cases`` resumes: with another one more, cases may be held out that
    were learned from."""
    data = [(case.key, case.structures) for case in cases]
    return dataclasses.replace(run, identity=f"{run.identity} {hashlib.sha256(json.dumps(data).encode()).hexdigest()}")


def provenance(
    job: Training,
    cases: Sequence[CachedCase],
    how: Optimization,
    trained: Trained,
    earlier_training: Provenance | None = None,
    **more: Any,
) -> Provenance:
    """The part of the card that says where the weights come from.

    Args:
        earlier_training: the provenance of the checkpoint that training started from. Cases whose labels it has
            learned stay listed so, even if they are used without their labels now.
    """
    # Those with labels first, and every one of them.
    labeled = sum(c.values is not None for c in cases)
    named = sorted(cases, key=lambda c: c.values is None)[: max(_NAMED_CASES, labeled)]
    earlier = earlier_training.labeled_cases if earlier_training else ()
    salt = (earlier_training.salt if earlier_training and earlier else "") or new_salt(case.digest for case in cases)
    if earlier_training and not earlier_training.salt:
        earlier = tuple(hashed(case, salt) for case in earlier)
    now = [hashed(_training_case(c), salt) for c in named]
    again = {case.digest for case in now if case.label_used}
    earlier = tuple(case for case in earlier if case.digest not in again)
    known = {case.digest for case in earlier}
    listed = [*(case for case in now if case.digest not in known), *earlier]
    return Provenance(
        cases=numbered(listed, job.keep_names),
        case_count=len(cases) + len(listed) - len(now),
        salt=salt,
        steps=trained.steps,
        seed=job.seed,
        minutes=round(trained.minutes, 2),
        kept=trained.kept,
        interventions=trained.interventions,
        optimization=to_json(how),
        license=job.license,
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        software=f"contrastiveseg {__version__}, torch {torch.__version__}",
        **more,
    )


def _training_case(case: CachedCase) -> TrainingCase:
    if case.values is None:
        return TrainingCase(case.name, case.digest, False)
    return TrainingCase(case.name, case.digest, True, round(case.labeled, 4), case.structures)

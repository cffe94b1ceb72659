"""Trainings that a crash, a click on Cancel or the end of Slicer has interrupted, and what going on with them needs.

Beside its checkpoint, a training of the panel keeps a folder with its job and the files that it learns from, until it
has ended well.
"""

from __future__ import annotations

import contextlib
import glob
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.header import SUFFIX
from contrastiveseg.claims import is_locked, lock_path
from contrastiveseg.descriptions import JOBS, FinetuneJob, PretrainJob
from contrastiveseg.errors import InputError
from contrastiveseg.files import leftovers, write_text
from contrastiveseg.serialization import from_json, to_json
from contrastiveseg.training.beside import comparison_folder, resume_path

from .computers import Computer

TrainingJob = PretrainJob | FinetuneJob
_ENDING = ".job"
_JOB, _COMPUTER = "job.json", "computer"


@dataclass(frozen=True)
class Interrupted:
    """A training that can go on, or begin again where nothing was learned yet.

    Attributes:
        folder: its files.
        learned: whether there is something to go on from.
        computer: the other one that does it, where it may be going on; None for this one.
    """

    output: Path
    folder: Path
    job: TrainingJob
    learned: bool
    computer: Computer | None = None

    @property
    def resumed(self) -> TrainingJob:
        """The job that goes on with it, or that another computer knows it by."""
        return replace(self.job, resume="auto")


def folder_of(output: Path) -> Path:
    """Where a training that writes ``output`` keeps its files."""
    return output.with_name(output.name + _ENDING)


def save_job(job: TrainingJob, folder: Path, computer: Computer | None = None) -> None:
    """Keep a job whose files are written, and the other computer that does it.

    Raises:
        InputError: the folder cannot be written.
    """
    elsewhere = {} if computer is None else {_COMPUTER: to_json(computer)}
    write_text(folder / _JOB, json.dumps({"kind": job.kind, **to_json(job), **elsewhere}, indent=1))


def interrupted(models: Path, alive: Collection[Path]) -> list[Interrupted]:
    """The interrupted trainings in the folder of the user's checkpoints, by name.

    Args:
        alive: checkpoints that are being trained, or wait for that.
    """
    found = []
    for folder in sorted(models.glob(f"*{SUFFIX}{_ENDING}")) if models.is_dir() else []:
        output = folder.with_name(folder.name.removesuffix(_ENDING))
        job, computer = _saved_job(folder)
        learned = resume_path(output).is_file()
        if output in alive or job is None or _claimed(output):
            continue
        if output.is_file() and not learned and computer is None:
            # It had ended well, and Slicer before its files were removed.
            remove_files(output, folder)
        else:
            found.append(Interrupted(output, folder, replace(job, output=str(output)), learned, computer))
    return found


def title(job: TrainingJob, output: Path, computer: Computer | None) -> str:
    """What a training is, and which other computer does it, for the user."""
    kind = _("Fine-tune") if isinstance(job, FinetuneJob) else _("Pre-train")
    budget = _("{count} steps").format(count=job.steps) if job.steps else _("{count:g} min").format(count=job.minutes)
    where = "" if computer is None else ", " + _("on {computer}").format(computer=computer.title)
    return f"{kind} {output.stem} ({job.method}, {budget}{where})"


def remove_files(output: Path, folder: Path, keep: bool = False) -> None:
    """Remove all but the checkpoint: volumes written for it, their preprocessed copies, what was half-written, and the
    files to resume from.

    Args:
        keep: leave what going on needs, if there is something to go on from.
    """
    going_on = keep and resume_path(output).is_file()
    for path in (*leftovers(output), *(() if going_on else output.parent.glob(f"{glob.escape(output.name)}.*"))):
        with contextlib.suppress(OSError):
            path.unlink()
    if not going_on:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(comparison_folder(output), ignore_errors=True)


def _claimed(output: Path) -> bool:
    """Whether a process writes ``output`` now: that of another Slicer, or one that is still ending."""
    lock = lock_path(output)
    return lock.exists() and is_locked(lock)


def _saved_job(folder: Path) -> tuple[TrainingJob | None, Computer | None]:
    """The job kept in ``folder``, None where there is none that this version can do; and the computer that does it."""
    try:
        data = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        elsewhere = data.pop(_COMPUTER, None)
        computer = None if elsewhere is None else from_json(Computer, elsewhere)
        job = from_json(JOBS[data.pop("kind")], data)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError):
        return None, None
    return (job, computer) if isinstance(job, (PretrainJob, FinetuneJob)) else (None, None)

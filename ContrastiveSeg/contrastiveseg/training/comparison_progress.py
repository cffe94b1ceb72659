"""What is finished of a comparison of starts: in a folder beside the output, until its end.

The folder holds the checkpoints and their resume files, and the output's own resume file says which starts are
finished, so that a comparison goes on like any other run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .. import events
from ..checkpoints.header import digest
from ..errors import Cancelled, InputError
from ..files import replacing, write_text
from ..results import FinetuneResult, StartsComparison
from ..serialization import from_json, to_json
from . import distributed
from .beside import comparison_folder, comparison_path, metrics_path, resume_path
from .curve import put_aside
from .held_out import mean_dice
from .resume import DamagedResumeFile
from .run import Run
from .start import Start
from .start_scores import scored_cases

#: The files that a comparison has in its folder; whatever else lies there stays.
_OWN = re.compile(r"\.?\d+\.safetensors.*")


@dataclass(frozen=True)
class Turn:
    """One training of a comparison: its number from 1 on, the start's name and file ("none" from scratch), its seed."""

    number: int
    name: str
    checkpoint: str
    start: Start
    seed: int

    def output(self, output: Path) -> Path:
        """Its checkpoint, where the comparison writes ``output``."""
        return comparison_folder(output) / f"{self.number}.safetensors"


@dataclass(frozen=True)
class Finished:
    """A training that has ended well, what it returned, and the SHA-256 of its checkpoint.

    Where leave-one-out alone was done, the result names no checkpoint.
    """

    name: str
    seed: int
    result: FinetuneResult
    digest: str = ""


@dataclass(frozen=True)
class Record:
    """The content of a comparison's resume file; ``checksum`` is of the rest."""

    comparison_of: str
    finished: tuple[Finished, ...] = ()
    checksum: str = ""

    def checked(self) -> Record:
        """The same, with the checksum that it should have."""
        bare = dataclasses.replace(self, checksum="")
        return dataclasses.replace(bare, checksum=hashlib.sha256(json.dumps(to_json(bare)).encode()).hexdigest())


class ComparisonProgress:
    """What is finished of a comparison, kept in the output's resume file."""

    def __init__(self, run: Run, record: Record) -> None:
        assert run.output is not None
        self.run, self.output, self.record = run, run.output, record

    @classmethod
    def of(cls, run: Run, identity: str) -> ComparisonProgress:
        """That of the run that ``run`` resumes, else none yet.

        Raises:
            InputError: the resume file is damaged, or of another job; or files lie where the comparison keeps its own.
        """
        assert run.output is not None
        fresh, folder = cls(run, Record(identity)), comparison_folder(run.output)
        if run.resume:
            try:
                return cls(run, read_record(resume_path(run.output), identity))
            except DamagedResumeFile as problem:
                if not run.begin_anew:
                    raise
                run.emit(events.warning(f"{problem} Training begins anew."))
        if not (run.replace_curve or resume_path(run.output).exists()) and (there := _own_files(folder)):
            raise InputError(
                f"{there[0]} is there already, where a comparison keeps its checkpoints. Move the folder {folder}, or "
                "add --overwrite to replace what is in it."
            )
        if not distributed.rank():
            _remove_folder(folder)
        fresh._write()
        return fresh

    def has(self, turn: Turn) -> bool:
        """Whether ``turn`` is finished; one whose checkpoint is not as it was is warned of, and is not."""
        known = self._finished(turn)
        if known is not None and not known.result.checkpoint:
            return True
        return self.has_checkpoint(turn)

    def has_checkpoint(self, turn: Turn) -> bool:
        """As :meth:`has`, with the checkpoint of a training on all cases that are not held out."""
        path, known = turn.output(self.output), self._finished(turn)
        if known is None or not known.result.checkpoint or not path.is_file():
            return False
        whole = known.digest in ("", digest(path))
        if not whole:
            self.run.emit(events.warning(f"{path} is damaged: {turn.name} is trained again, seed {turn.seed}."))
        return whole

    def _finished(self, turn: Turn) -> Finished | None:
        return next((done for done in self.record.finished if (done.name, done.seed) == (turn.name, turn.seed)), None)

    def add(self, turn: Turn, result: FinetuneResult) -> None:
        others = [done for done in self.record.finished if (done.name, done.seed) != (turn.name, turn.seed)]
        # The first process writes the checkpoint and this record.
        made = digest(turn.output(self.output)) if result.checkpoint and not distributed.rank() else ""
        finished = (*others, Finished(turn.name, turn.seed, result, made))
        self.record = dataclasses.replace(self.record, finished=finished)
        self._write()

    def results(self, name: str) -> list[FinetuneResult]:
        """Those of a start, by seed."""
        return [done.result for done in sorted(self.record.finished, key=lambda d: d.seed) if done.name == name]

    def stopped(self, turn: Turn, stop: Cancelled, keep: str) -> Cancelled:
        """What a comparison ends with that was stopped in ``turn``; the output holds the best so far."""
        done = {done.name: [done.result] for done in self.record.finished if done.seed == self.run.seed}
        so_far = max(done, key=lambda name: (name == keep, mean_dice(scored_cases(done[name][0]))), default="")
        if so_far and not done[so_far][0].checkpoint:
            so_far = ""
        source = Path(done[so_far][0].checkpoint) if so_far else turn.output(self.output)
        if not source.is_file():
            return Cancelled(f"{stop} --resume goes on.")
        self._copy(source)
        where = f"Stopped while training from {turn.name}. {self.output}"
        if not so_far:
            return Cancelled(f"{where} holds what was learned so far; --resume goes on.")
        return Cancelled(
            f"{where} is finished, started from {so_far}, the best so far; --resume goes on with the rest."
        )

    def keep(self, comparison: StartsComparison) -> None:
        """Write the output and the table, and remove what the others have left."""
        if distributed.rank():
            return
        result = self.results(comparison.kept)[0]
        self._copy(Path(result.checkpoint))
        curve = metrics_path(self.output)
        if not self.run.replace_curve and curve.is_file() and curve.stat().st_size:
            self.run.emit(events.log(put_aside(curve)))
        with suppress(FileNotFoundError), replacing(curve) as temporary:
            shutil.copyfile(result.metrics, temporary)
        write_text(comparison_path(self.output), json.dumps(to_json(comparison), indent=1))
        # First the record: where it is there, so are the files that it names.
        resume_path(self.output).unlink(missing_ok=True)
        _remove_folder(comparison_folder(self.output))

    def _copy(self, checkpoint: Path) -> None:
        if distributed.rank():
            return
        with replacing(self.output, durable=True) as temporary:
            shutil.copyfile(checkpoint, temporary)

    def _write(self) -> None:
        if not distributed.rank():
            write_text(resume_path(self.output), json.dumps(to_json(self.record.checked())))
        distributed.barrier()


def read_record(path: Path, identity: str) -> Record:
    """The record at ``path``.

    Raises:
        DamagedResumeFile: it is none.
        InputError: it is that of another job.
    """
    try:
        record = from_json(Record, json.loads(path.read_text(encoding="utf-8")), path.name)
        if record.checksum != record.checked().checksum:
            raise ValueError("its checksum is another")
    except (OSError, ValueError, RecursionError, InputError) as problem:
        raise DamagedResumeFile(
            f"{path} is not that of a comparison of starts, or is damaged. Give the same options as then, or delete it "
            "and start anew without --resume."
        ) from problem
    if record.comparison_of != identity:
        raise InputError(
            f"{path} belongs to a run with other starts, data, method or settings; or volumes or label maps were added "
            "or changed since. Give the same as then, or delete it and start anew without --resume."
        )
    return record


def _own_files(folder: Path) -> list[Path]:
    """The files in ``folder`` that are named as those of a comparison."""
    return sorted(file for file in folder.glob("*") if _OWN.fullmatch(file.name))


def _remove_folder(folder: Path) -> None:
    for file in _own_files(folder):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # something of others is in it, or it is not there
        folder.rmdir()

"""The files that a reported job reads and makes, by hash and by the option they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..descriptions import EvaluateJob, FinetuneJob, PretrainJob, SegmentJob
from ..errors import ContrastiveSegError
from ..evaluation.references import references_in
from ..events import CancelCheck
from ..files import without_folders
from ..results import Failure
from ..volumes.content import bytes_on_disk, content_digest, state_on_disk
from ..volumes.dataset import find_cases
from ..volumes.origin import read_distance
from ..volumes.pairing import volume_files

ReportingJob = PretrainJob | FinetuneJob | SegmentJob | EvaluateJob
#: Options that are paths of outputs, and become the roles of what is written there.
_OUTPUTS = ("output", "probabilities", "uncertainty", "timings", "csv")


@dataclass(frozen=True)
class ReportedFile:
    """A file, or a folder with a DICOM series: the option it belongs to, its hash (None where it cannot be read) and
    size, its name where kept; of a label map that was made the distance of its volume from the training, where that is
    known. ``changed``: an input whose content was another one when the job ended, so that it may have read either."""

    role: str
    sha256: str | None
    bytes: int
    name: str | None
    distance: float | None = None
    changed: bool = False


@dataclass(frozen=True)
class ReportedFailure:
    """An input of a job that did the others: its hash (None where it cannot be read, or is a case of two files), and
    its name and what was wrong with it where names are kept."""

    sha256: str | None
    name: str | None
    what: str | None


@dataclass(frozen=True)
class ReadFile:
    """An input as it is before the job begins, and by what a later change shows."""

    path: Path
    reported: ReportedFile
    state: tuple[tuple[str, int, int, int], ...]


def read_files(job: ReportingJob, cancelled: CancelCheck) -> tuple[ReadFile, ...]:
    """What the job reads, as it is before it begins; nothing where that cannot be found or ``cancelled`` says so, which
    the job then does too."""
    inputs = []
    try:
        for role, path in _input_files(job):
            if cancelled():
                return ()
            state = state_on_disk([path])  # before the hash: what changes while that is made shows too
            inputs.append(ReadFile(path, _reported(role, path, job.keep_names), state))
    except (ContrastiveSegError, OSError):
        return ()
    return tuple(inputs)


def reported_inputs(inputs: Sequence[ReadFile]) -> tuple[ReportedFile, ...]:
    """``inputs`` after the job, with those that were changed meanwhile marked."""
    return tuple(
        replace(one.reported, changed=True)
        if state_on_disk([one.path]) != one.state and _digest(one.path) != one.reported.sha256
        else one.reported
        for one in inputs
    )


def reported_failures(job: ReportingJob, failures: Sequence[Failure]) -> tuple[ReportedFailure, ...]:
    """What a job could not use, and named in its result."""
    paths = [Path(failure.input) for failure in failures]
    return tuple(
        ReportedFailure(
            _digest(path) if isinstance(job, SegmentJob) else None,
            path.name if job.keep_names else None,
            without_folders(failure.what, [path]) if job.keep_names else None,
        )
        for failure, path in zip(failures, paths, strict=True)
    )


def _input_files(job: ReportingJob) -> Iterable[tuple[str, Path]]:
    if isinstance(job, EvaluateJob):
        predictions = Path(job.predictions)
        for file in volume_files(predictions) if predictions.is_dir() else [predictions]:
            yield "predictions", file
        for reference in references_in(Path(job.references)).values():
            yield "references", reference.file
    elif isinstance(job, SegmentJob):
        yield from _case_files("input", job.input)
    else:
        yield from _case_files("images", job.images, job.labels)
        if isinstance(job, FinetuneJob):
            yield from _case_files("unlabeled", job.unlabeled)
            yield from (("label_table", Path(path)) for path in [job.label_table] if path)
            yield from (("compare", path) for path in _compared(job))
    checkpoint = named_checkpoint(job)
    if checkpoint:
        yield "checkpoint", checkpoint


def _case_files(role: str, given: Sequence[str], labels: Sequence[str] = ()) -> Iterable[tuple[str, Path]]:
    for case in find_cases([Path(p) for p in given], [Path(p) for p in labels]) if given else ():
        yield from ((role, image) for image in case.images)
        if case.labels and role == "images":
            yield "labels", case.labels


def _compared(job: FinetuneJob) -> list[Path]:
    """The checkpoints that a fine-tuning compares with the one it names."""
    from ..training.compared_starts import compared_starts

    paths = compared_starts(job).values() if job.compare else ()
    return [Path(path) for path in paths if path not in ("none", job.checkpoint)]


def named_checkpoint(job: ReportingJob) -> Path | None:
    """The checkpoint that ``job`` begins with; None for none."""
    given = getattr(job, "checkpoint", None)
    return Path(given) if given and given != "none" else None


def reported_outputs(job: ReportingJob, written: Sequence[Path]) -> tuple[ReportedFile, ...]:
    """Those of the ``written`` files that are there and belong to an output, and what lies beside a checkpoint."""
    named = {name: Path(value) for name in _OUTPUTS if (value := getattr(job, name, None))}
    roles: dict[Path, str] = {}
    for path in written:
        role = next((name for name, place in named.items() if place in (path, path.parent)), None)
        if role:
            roles.setdefault(path, role)
    if isinstance(job, (PretrainJob, FinetuneJob)):
        output = named["output"]
        for role in ("metrics.jsonl", "resume", "starts.json"):
            roles.setdefault(output.with_name(f"{output.name}.{role}"), role)
    there = sorted((path for path in roles if path.is_file()), key=lambda path: (roles[path], path.name))
    return tuple(_reported(roles[path], path, job.keep_names) for path in there)


def _reported(role: str, path: Path, keep_names: bool) -> ReportedFile:
    # Label maps alone say it.
    distance = read_distance(path) if role == "output" else None
    return ReportedFile(role, _digest(path), bytes_on_disk([path]), path.name if keep_names else None, distance)


def _digest(path: Path) -> str | None:
    try:
        return content_digest([path])
    except OSError:  # a link to what is gone, or what may not be read
        return None

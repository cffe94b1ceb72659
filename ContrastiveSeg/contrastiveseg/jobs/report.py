"""The run report: what a job was given, did it with, and made, as one JSON file; see docs/reference/run-report.md.

It names no file unless the job keeps names: inputs and outputs are SHA-256 sums of their content. Options that may hold
a name or a path are left out, and so is the text of an error.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from .. import __version__, events, files
from ..checkpoints.header import digest, read_card
from ..descriptions import SegmentJob
from ..errors import Cancelled, ContrastiveSegError, InputError
from ..parameters import Parameter, parameters_of
from ..results import Failure, JobResult
from ..serialization import to_json
from .reported_files import (
    ReportedFailure,
    ReportedFile,
    ReportingJob,
    named_checkpoint,
    read_files,
    reported_failures,
    reported_inputs,
    reported_outputs,
)

RunStatus = Literal["done", "partly failed", "failed", "cancelled"]

FORMAT = "contrastiveseg run report"
#: Raised whenever a reader of the former would misunderstand.
SCHEMA = 1
_LIBRARIES = ("torch", "monai", "numpy", "SimpleITK")
#: What the option ``validation`` may be without naming a case.
_NO_NAMES = re.compile(r"[0-9]*|none|leave-one-out")


@dataclass(frozen=True)
class ReportedModel:
    """The checkpoint that was used: the SHA-256 of its file, its kind and method, and its license."""

    sha256: str
    kind: str
    method: str
    license: str


@dataclass(frozen=True)
class ReportedError:
    """Why the job ended early: the class and exit code of the error, and its text where names are kept."""

    kind: str
    exit_code: int
    what: str | None


@dataclass(frozen=True)
class RunReport:
    """The whole report.

    Attributes:
        started: UTC, ISO 8601. seconds: of the whole job. stages: seconds by the value of :class:`..events.Stage`.
        software: versions of product, libraries, Python and platform. device: that the job computed on, "" if on none.
        options: the job's options without paths and names.
        failures: inputs that could not be used, of a run that did the others.
    """

    kind: str
    status: RunStatus
    started: str
    seconds: float
    stages: Mapping[str, float]
    software: Mapping[str, str]
    device: str
    seed: int | None
    options: Mapping[str, Any]
    model: ReportedModel | None
    inputs: tuple[ReportedFile, ...]
    outputs: tuple[ReportedFile, ...]
    error: ReportedError | None
    failures: tuple[ReportedFailure, ...] = ()
    format: str = FORMAT
    schema: int = SCHEMA


def run_with_report(
    job: ReportingJob,
    emit: events.Emit,
    cancelled: events.CancelCheck,
    do: Callable[[ReportingJob, events.Emit, events.CancelCheck], JobResult],
) -> JobResult:
    """``do`` the job, and write its report also where that fails or is cancelled.

    Raises:
        InputError: the report's file exists or cannot be written; then nothing is done. Else as ``do``.
    """
    path = Path(job.report or "")
    check_report(job, path)
    started, start = datetime.now(timezone.utc), time.perf_counter()
    stages = _Stages(emit)
    read, model = read_files(job, cancelled), _model(job)
    status: RunStatus = "failed"
    error: ReportedError | None = None
    kept: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    with files.recording() as written:
        try:
            result = do(job, stages, cancelled)
            kept = getattr(result, "kept", ()) if isinstance(job, SegmentJob) else ()
            failures = getattr(result, "failures", ())
            status = "partly failed" if failures else "done"
            return result
        except BaseException as problem:
            status = "cancelled" if isinstance(problem, (Cancelled, KeyboardInterrupt)) else "failed"
            error = _error(problem, job)
            raise
        finally:
            inputs = reported_inputs(read)
            report = RunReport(
                kind=job.kind,
                status=status,
                started=started.isoformat(timespec="seconds"),
                seconds=round(time.perf_counter() - start, 3),
                stages=stages.seconds(),
                software=_software(),
                device=_device(job),
                seed=getattr(job, "seed", None),
                options=_options(job),
                model=model,
                inputs=inputs,
                outputs=reported_outputs(job, [*written, *map(Path, kept)]),
                error=error,
                failures=reported_failures(job, failures),
            )
            _write(path, report, emit)
            if changed := sum(one.changed for one in inputs):
                emit(events.warning(f"{changed} of the inputs changed while the run read them; the report marks them."))


def check_report(job: ReportingJob, path: Path) -> None:
    """Refuse a report that would replace a file; that of a run that failed gives way to the next one's, and that of an
    interrupted one to that of its end.

    Raises:
        InputError: the file exists, is another of the job's files, or cannot be written.
    """
    goes_on = bool(getattr(job, "resume", False) or getattr(job, "continue_", False))
    before = _report_at(path)
    gives_way = before is not None and (goes_on or before.get("status") == "failed")
    files.check_outputs([path], _paths(job), job.overwrite or gives_way)


def _paths(job: ReportingJob) -> list[Path]:
    """Every path that the job names, but the report's."""
    options = [option for option in parameters_of(job) if _is_path(option) and option.name != "report"]
    return [Path(text) for one in options for text in ([one.default] if one.kind == "text" else one.default) if text]


def _is_path(option: Parameter) -> bool:
    return option.kind in ("text", "texts") and not option.placeholder


def _report_at(path: Path) -> dict[str, Any] | None:
    """What the report at ``path`` says; None where no report is."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def _write(path: Path, report: RunReport, emit: events.Emit) -> None:
    """What the job has made stands, whether or not its report can be written."""
    try:
        files.write_text(path, json.dumps(to_json(report), indent=1) + "\n")
    except (InputError, OSError) as problem:
        emit(events.warning(f"The report was not written. {problem}"))


def _model(job: ReportingJob) -> ReportedModel | None:
    path = named_checkpoint(job)
    try:
        if path is None:
            return None
        card = read_card(path)
        return ReportedModel(digest(path), card.kind, card.method, card.provenance.license)
    except (ContrastiveSegError, OSError):  # the job will say so
        return None


def _options(job: ReportingJob) -> dict[str, Any]:
    """The options whose values are neither a path nor a name of a case."""
    kept = {}
    for option in parameters_of(job):
        names_cases = option.name == "validation" and not _NO_NAMES.fullmatch(str(option.default))
        if not _is_path(option) and (job.keep_names or not names_cases):
            kept[option.name] = to_json(option.default)
    return kept


def _software() -> dict[str, str]:
    versions = {"contrastiveseg": __version__}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = ""
    return {**versions, "python": platform.python_version(), "platform": platform.platform()}


def _device(job: ReportingJob) -> str:
    given = getattr(job, "device", None)
    if given is None or "torch" not in sys.modules:
        return ""
    from ..device import resolve_device

    try:
        return str(resolve_device(given))
    except InputError:
        return ""


def _error(problem: BaseException, job: ReportingJob) -> ReportedError:
    code = Cancelled.exit_code if isinstance(problem, KeyboardInterrupt) else getattr(problem, "exit_code", 1)
    folders = [path for path in _paths(job) if len(path.parts) > 1]
    what = files.without_folders(str(problem), folders) if job.keep_names else None
    return ReportedError(type(problem).__name__, code, what)


@dataclass
class _Stages:
    """Hands events on, and adds up how long each stage takes."""

    emit: events.Emit
    _seconds: dict[str, float] = field(default_factory=dict)
    _running: str = ""
    _since: float = 0.0

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            self._end()
            self._running, self._since = event.name.value, time.perf_counter()
        self.emit(event)

    def seconds(self) -> dict[str, float]:
        """Seconds by stage; the last one ends now."""
        self._end()
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}

    def _end(self) -> None:
        if self._running:
            spent = time.perf_counter() - self._since
            self._seconds[self._running] = self._seconds.get(self._running, 0.0) + spent
            self._running = ""

"""Jobs that Slurm does: the same command as a batch script, submitted from here and followed by its log.

The machine that submits and those that compute see the same files, at the same paths.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from .. import events
from ..command_line import command_line
from ..descriptions import Job, SegmentJob
from ..errors import Cancelled, InputError
from ..files import write_text
from ..results import JobResult
from ..segmentation.outputs import check_several
from .following import lines, result_of
from .interpreter import command, python_path
from .packing import RemoteJob, check_job
from .slurm import NUMBER, Slurm, Watch, stop, submit

#: A network file system may show a log's last lines so many seconds after Slurm has seen the end.
_SETTLE = 20.0
#: What the script adds to the command where Slurm has put the job into the queue again.
_GO_ON_SEGMENTING, _GO_ON_TRAINING = "--continue", "--resume auto"
#: What Slurm prints where it ends a job for its memory, and calls it failed.
_NO_MEMORY = "memory limit"
#: What to do about an end without a result.
_HINTS = {
    "TIMEOUT": " --time was too short; the same command with --resume auto goes on.",
    "OUT_OF_MEMORY": " Ask for more memory, as --sbatch mem=32G.",
}


def submit_and_follow(
    slurm: Slurm,
    job: Job,
    emit: events.Emit,
    cancelled: events.CancelCheck,
    *,
    folder: Path | None = None,
    stops: bool = False,
) -> JobResult:
    """Have Slurm do ``job`` with the events and the result that it would have here.

    The same job that waits or runs, or whose end nobody has seen, is not submitted anew: it is followed.

    Args:
        folder: for script, log and the job's number; None for one beside the output.
        stops: whether ``cancelled`` stops the job, and not only the following.

    Raises:
        InputError: the job cannot be done, another one is to write the same output, or Slurm does not take it.
        Cancelled: it is not followed any more, or it was stopped.
        ContrastiveSegError: as the job itself, or it ended without a result.
    """
    if not isinstance(job, RemoteJob):
        raise InputError(f"--submit is for pretrain, finetune and segment, not for {job.kind}.")
    output = Path(job.output)
    folder = folder or output.with_name(f"{output.name}.slurm")
    script, log, number = folder / "job.sh", folder / "log.txt", folder / NUMBER
    text = slurm.script(f"contrastiveseg-{job.kind}", Path.cwd(), log.absolute(), _lines(slurm, job))
    before = number.read_text(encoding="utf-8").strip() if number.is_file() else ""
    same = script.is_file() and script.read_text(encoding="utf-8") == text
    if before and same:
        emit(events.log(f"Job {before} of Slurm is this one: it is followed."))
    elif before and Watch(before, events.silent).is_active():
        raise InputError(
            f"Job {before} of Slurm, which has other options, is to write {job.output}. Stop it (scancel {before}), or "
            "choose another output."
        )
    else:
        check_job(job)
        if slurm.gpus > 1 and isinstance(job, SegmentJob):
            check_several(job)
        write_text(script, text)
        log.unlink(missing_ok=True)
        before = submit(script)
        write_text(number, f"{before}\n")
        emit(events.log(f"Slurm has taken the job as {before}; script and log are in {folder}."))
    last = _followed(Watch(before, emit), log, emit, cancelled, stops)
    number.unlink(missing_ok=True)
    return result_of(job.kind, last)


def _lines(slurm: Slurm, job: RemoteJob) -> list[str]:
    """The shell lines that do ``job``; in a job that was put into the queue again they go on with what is there."""
    again = _GO_ON_SEGMENTING if isinstance(job, SegmentJob) else _GO_ON_TRAINING
    typed = shlex.join(command([*command_line(job), "--json"], slurm.gpus))
    return [
        f"export PYTHONPATH={shlex.quote(python_path())}",
        f'if [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ]; then set -- {again}; fi',
        f'exec {typed} "$@"',
    ]


def _followed(watch: Watch, log: Path, emit: events.Emit, cancelled: events.CancelCheck, stops: bool) -> dict[str, Any]:
    """The last event of the job, as JSON: its result or its error; the others are told.

    Raises:
        Cancelled: it is not followed any more.
    """
    last: dict[str, Any] = {}
    said, asked = "", False
    left = events.never if stops else cancelled

    def going_on() -> bool:
        nonlocal asked
        if stops and cancelled() and not asked:
            asked = True
            stop(watch.job)
        if watch.is_active():
            return True
        never_began = watch.state == "CANCELLED" and not log.exists()
        return not last and not never_began and watch.seconds_ended < _SETTLE

    for line in lines(log, going_on, left):
        event = _event(line)
        if event is None:
            said = line.decode(errors="replace").strip() or said
            emit(events.log(said))
        elif event["event"] in ("result", "error"):
            last = event
        else:
            last = {}  # of a run before it was put into the queue again
            emit(events.from_json(event))
    number = watch.job.partition(";")[0]
    if left() and not (last and not watch.is_active()):
        raise Cancelled(
            f"Job {number} of Slurm goes on and is not followed any more. The same command follows it again; scancel "
            f"{number} stops it."
        )
    hint = _HINTS.get("OUT_OF_MEMORY" if _NO_MEMORY in said.lower() else watch.state, "")
    return last or {
        "event": "error",
        "what": f"Job {number} of Slurm ended without a result: {watch.state.lower()}.{hint} {said}".strip(),
        "exit_code": Cancelled.exit_code if watch.state == "CANCELLED" else 1,
    }


def _event(line: bytes) -> dict[str, Any] | None:
    """The event in a line of the log; None for what libraries, shell and Slurm print there."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None

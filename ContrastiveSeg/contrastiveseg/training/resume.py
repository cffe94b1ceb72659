"""What a killed or cancelled run leaves beside its output, so that ``--resume`` continues the same curve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import InputError
from ..files import replacing, write_text
from ..serialization import from_json, to_json


@dataclass(frozen=True)
class ResumeState:
    """Where the run stands. ``identity`` names the job: another job may not continue it."""

    identity: str
    step: int
    seconds: float
    averages: int = 0
    best_score: float | None = None
    skipped: int = 0


def resume_path(output: Path) -> Path:
    """The resume file beside a checkpoint."""
    return output.with_name(output.name + ".resume")


def metrics_path(output: Path) -> Path:
    """The curve beside a checkpoint: one JSON object a line."""
    return output.with_name(output.name + ".metrics.jsonl")


def save_resume_state(path: Path, mark: ResumeState, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write ``parts`` (e.g. "objective", "optimizer", "average", "best") and ``mark`` by write-then-rename."""
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, str(temporary), metadata={"mark": json.dumps(to_json(mark))})


def check_resumable(path: Path) -> None:
    """Refuse to resume where there is no resume file; to be asked before any work is done.

    Raises:
        InputError: ``path`` does not exist.
    """
    if not path.is_file():
        raise InputError(f"There is nothing to resume: {path} does not exist. Run without --resume.")


def check_fresh(path: Path, overwrite: bool) -> None:
    """Refuse to begin anew, unasked, over what an interrupted run has learned.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is false.
    """
    if path.is_file() and not overwrite:
        raise InputError(
            f"{path} holds an interrupted run. Add --resume to the same command to go on with it, or --overwrite to "
            "begin anew."
        )


def load_resume_state(path: Path, identity: str) -> tuple[ResumeState, dict[str, dict[str, Tensor]]]:
    """What :func:`save_resume_state` wrote.

    Raises:
        InputError: the file is not there or damaged, or it belongs to another job.
    """
    check_resumable(path)
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            mark = from_json(ResumeState, json.loads((file.metadata() or {}).get("mark", "null")), path.name)
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (safetensors.SafetensorError, OSError, ValueError) as problem:
        raise InputError(f"{path} cannot be read ({problem}). Delete it and start anew without --resume.") from problem
    if mark.identity != identity:
        raise InputError(
            f"{path} belongs to a run with other data, network, method or settings. Give the same options as then, or "
            "delete it and start anew without --resume."
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = tensor
    return mark, parts


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines of the curve from ``step`` on: the resumed run writes them again."""
    if path.exists():
        # What follows the last line break was cut short when the run was killed.
        whole = path.read_text(encoding="utf-8").split("\n")[:-1]
        write_text(path, "".join(line + "\n" for line in whole if json.loads(line)["step"] < step))

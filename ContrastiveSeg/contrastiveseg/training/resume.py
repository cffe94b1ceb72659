"""The resume file that a killed or cancelled run leaves beside its output; ``--resume`` continues from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import InputError
from ..files import replacing
from ..serialization import from_json, to_json

#: Keys of the file's metadata: the state, and the checksums of all tensors and of the state.
_STATE_KEY = "state"
_CHECKSUM_KEY = "checksum"
_STATE_CHECKSUM_KEY = "state_checksum"


class DamagedResumeFile(InputError):
    """The resume file is not as it was written."""


@dataclass(frozen=True)
class ResumeState:
    """The progress of an interrupted run.

    Attributes:
        identity: hash of the job and its data; another job may not continue the run.
        step, seconds: of training so far. averages: updates of the averaged weights. skipped: steps without update.
        validated: how many validations were done.
    """

    identity: str
    step: int
    seconds: float
    averages: int = 0
    best_score: float | None = None
    skipped: int = 0
    validated: int = 0


def save_resume_state(path: Path, state: ResumeState, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write ``parts`` ("objective", "optimizer", "average", "best") and ``state`` by write-then-rename."""
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    text = json.dumps(to_json(state))
    metadata = {_STATE_KEY: text, _CHECKSUM_KEY: _checksum(tensors), _STATE_CHECKSUM_KEY: _text_checksum(text)}
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _text_checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_resumable(path: Path) -> None:
    """Refuse to resume where there is no resume file; to be called before any work is done.

    Raises:
        InputError: ``path`` does not exist.
    """
    if not path.is_file():
        raise InputError(f"There is nothing to resume: {path} does not exist. Run without --resume.")


def check_fresh(path: Path, overwrite: bool) -> None:
    """Refuse to begin anew over an interrupted run, unless ``overwrite`` is set.

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
        DamagedResumeFile: the file is not as it was written.
        InputError: it is not there, or it belongs to another job.
    """
    check_resumable(path)
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            text = metadata.get(_STATE_KEY, "null")
            state = from_json(ResumeState, json.loads(text), path.name)
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if (metadata.get(_CHECKSUM_KEY), metadata.get(_STATE_CHECKSUM_KEY)) != (_checksum(flat), _text_checksum(text)):
            raise ValueError("its checksum is another")
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError, InputError) as problem:
        raise DamagedResumeFile(
            f"{path} cannot be read ({problem}). It is damaged. Delete it and start anew without --resume, or give "
            "--resume auto, which begins anew by itself."
        ) from problem
    if state.identity != identity:
        raise InputError(
            f"{path} belongs to a run with other data, network, method or settings; or its checkpoint, volumes "
            "or label maps were added or changed since. Give the same as then, or delete it and start anew without "
            "--resume."
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = tensor
    return state, parts

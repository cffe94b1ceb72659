"""A cache of preprocessed volumes on disk: each is prepared once, and an interrupted run continues where it stopped.

:mod:`.cached_case` says what of a case is kept, and :mod:`.cached_volumes` reads crops of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..device import keep_large_buffers
from ..errors import Cancelled, InputError, together
from ..events import CancelCheck, Emit, ProgressMeter, never, silent, warning
from ..files import check_link, remove_half_written
from ..planning.plan import Conventions, Plan
from ..serialization import to_json
from ..volumes.content import bytes_on_disk, content_digest, unchanged
from ..volumes.dataset import CaseFiles
from ..volumes.memory import free_memory
from ..volumes.named_labels import read_case_labels
from ..volumes.reading import read_channels, read_geometry
from .cached_case import CachedCase, existing_case, preprocess_case, write_record
from .preprocessor import Preprocessor

#: Part of every key; raised when preprocessing or the files' names change.
_VERSION = 8
#: The most cases that are prepared at the same time; what takes turns in the interpreter leaves more threads nothing.
_MOST_THREADS = 8
#: What preparing a case holds in memory, in volumes of float32.
_COPIES = 6
#: The names of all files of a cache, also of half-written ones.
_OWN = re.compile(r"\.?[0-9a-f]{32}[.a-z]*(-[a-z0-9_]{8})?\.(json|npy)")


@dataclass(frozen=True)
class _Prepared:
    """A case, and whether a damaged copy of it lay in the cache."""

    case: CachedCase
    was_damaged: bool = False


def preprocess(
    cases: Sequence[CaseFiles],
    plan: Plan,
    folder: Path,
    *,
    emit: Emit = silent,
    cancelled: CancelCheck = never,
) -> list[CachedCase]:
    """Preprocess ``cases`` into ``folder``, except those that are there already; ``emit`` gets the progress.

    A case whose files are damaged is prepared again, with a warning. What a killed run left half-written is removed.
    A folder that is made here can be read by its owner alone; one that is there keeps its rights.

    Returns:
        The cached cases, in the order of ``cases``.

    Raises:
        InputError: cases that cannot be read or do not fit the plan (their names are in the message). Where there is
            one, those behind it are not prepared any more, but read.
        Cancelled: ``cancelled()`` became true; finished cases stay for the next run.
    """
    # Copies of patients' images: the originals may be where others cannot read.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in folder.glob(".*"):
        if _OWN.fullmatch(file.name):
            remove_half_written(file)
    cached: list[CachedCase] = []
    refused: list[InputError] = []
    failed = threading.Event()

    def prepare(case: CaseFiles) -> _Prepared | InputError | None:
        if cancelled():
            raise Cancelled("Stopped while preprocessing. Volumes already prepared are kept.")
        try:
            if not failed.is_set():
                return _prepared_case(case, plan, folder)
            _check(case, plan)
        except InputError as problem:
            failed.set()
            return InputError(f"Case {case.name}: {problem}")
        return None

    progress = ProgressMeter(emit, len(cases), "volumes")
    # Memory that is new for each array costs a tenth of the time, and threads wait for each other to get it.
    keep_large_buffers()
    with ThreadPoolExecutor(_at_once(cases, plan)) as pool:
        for done, prepared in enumerate(pool.map(prepare, cases), start=1):
            progress(done)
            if isinstance(prepared, InputError):
                refused.append(prepared)
            if not isinstance(prepared, _Prepared):
                continue
            case = prepared.case
            if prepared.was_damaged:
                emit(warning(f"The cache held a damaged copy of case {case.name}: it was prepared again."))
            if case.doubt:
                emit(warning(f"Case {case.name}: {case.doubt}."))
            cached.append(case)
    if refused:
        raise together(refused)
    return cached


def _at_once(cases: Sequence[CaseFiles], plan: Plan) -> int:
    """How many cases to prepare at the same time: as many as torch has threads and the memory holds of the largest.

    Threads, not processes: unpacking, NumPy and torch leave the interpreter free, so that two threads on two cores take
    little more than half the time (Testing/benchmarks/first_step.py). A process would load libraries for longer than
    it takes to prepare ten volumes.
    """
    if not cases:
        return 1
    largest = max(cases, key=lambda case: bytes_on_disk(case.images))
    try:
        geometry, channels = read_geometry(largest.images[0], len(plan.channels))
    except InputError:  # told when it is read
        return 1
    needed = _COPIES * np.dtype(np.float32).itemsize * math.prod(geometry.size) * channels * len(largest.images)
    return max(1, min(torch.get_num_threads(), _MOST_THREADS, free_memory(_MOST_THREADS * needed) // needed))


def remove_cache(folder: Path) -> None:
    """Remove the files that :func:`preprocess` writes from ``folder``, and the folder itself where nothing else is in
    it. A link to a folder stays, which is then empty."""
    # Records first: where one is left by a killed process, its arrays are there.
    for file in sorted(folder.glob("*"), key=lambda file: file.suffix != ".json"):
        if _OWN.fullmatch(file.name):
            with suppress(OSError):
                file.unlink()
    with suppress(OSError):
        folder.rmdir()


def _check(case: CaseFiles, plan: Plan) -> None:
    """Read ``case``, whose run another one has ended, so that all that cannot be read are named at once."""
    volume = read_channels(case.images, len(plan.channels))
    if case.labels is not None:
        read_case_labels(case, volume.geometry)


def _prepared_case(case: CaseFiles, plan: Plan, folder: Path) -> _Prepared:
    with unchanged([*case.images, *([case.labels] if case.labels else [])]):
        return _prepared_content(case, plan, folder)


def _prepared_content(case: CaseFiles, plan: Plan, folder: Path) -> _Prepared:
    if case.labels:
        check_link(case.labels)
    digest = content_digest(case.images)
    key = _key(digest, case, plan)
    if existing := existing_case(folder, key):
        return _Prepared(dataclasses.replace(existing, name=case.name))
    # The record is written last: where there is one, the case was whole.
    was_damaged = (folder / f"{key}.json").exists()
    cached = preprocess_case(case, Preprocessor(plan), folder, key, digest)
    write_record(folder, cached)
    return _Prepared(cached, was_damaged)


def _key(digest: str, case: CaseFiles, plan: Plan) -> str:
    labels = content_digest((case.labels,)) if case.labels else ""
    parts = [_VERSION, digest, labels, to_json(plan.channels), plan.spacing]
    if case.labels:
        parts.append([case.labeling.part or "all", case.labeling.ignore, case.labeling.background])
        parts += [(label.stored, label.value) for label in case.named if label.stored != label.value]
    if plan.dimensions == 2:
        parts.append(plan.slice_axis)
    if plan.conventions != Conventions():
        parts.append(to_json(plan.conventions))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

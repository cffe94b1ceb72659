"""A cache of preprocessed volumes on disk: each is prepared once, and an interrupted run continues where it stopped.

A case is kept as ``KEY.npy`` (image, float16 (C, z, y, x), as :class:`.preprocessor.Preprocessor` gives it),
``KEY.labels.npy`` (z, y, x; -1 without a label), ``KEY.foreground.npy`` (rows value, z, y, x: voxels of each label to
center crops on, and of the background where only a part of the volume is labeled) and
``KEY.json`` (the :class:`CachedCase`), written last. KEY is a hash of the files' content and of the part of the plan
that preprocessing depends on. The record has a checksum of each array, so that a damaged cache is noticed.
:mod:`.cached_volumes` reads crops.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import threading
import zlib
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
from ..files import remove_half_written, replacing, write_text
from ..planning.plan import Conventions, Plan
from ..serialization import from_json, to_json
from ..volumes.components import in_one_piece
from ..volumes.content import bytes_on_disk, content_digest, unchanged
from ..volumes.dataset import CaseFiles
from ..volumes.labeling import Labeling
from ..volumes.memory import free_memory
from ..volumes.named_labels import read_case_labels, with_background_painted
from ..volumes.orientation import canonical_axes
from ..volumes.painted_slices import PaintedSlices, looks_like_slices, painted_slices
from ..volumes.reading import read_channels, read_geometry
from ..volumes.volume import LabelMap
from .preprocessor import Preprocessor

#: Part of every key; raised when preprocessing or the files' names change.
_VERSION = 8
#: The most voxels of each label that are stored for foreground-aware sampling.
_FOREGROUND_VOXELS = 2000
#: The most cases that are prepared at the same time; what takes turns in the interpreter leaves more threads nothing.
_MOST_THREADS = 8
#: The largest number of a float16.
_LARGEST = float(np.finfo(np.float16).max)
#: What preparing a case holds in memory, in volumes of float32.
_COPIES = 6
#: Endings of a case's arrays: always there, and those of labeled cases.
IMAGE, LABELS, FOREGROUND = ".npy", ".labels.npy", ".foreground.npy"
#: The names of all files of a cache, also of half-written ones.
_OWN = re.compile(r"\.?[0-9a-f]{32}[.a-z]*(-[a-z0-9_]{8})?\.(json|npy)")
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class CachedCase:
    """A preprocessed case.

    Attributes:
        key: name of its files in the cache. digest: SHA-256 of its image files' content.
        shape: voxels (z, y, x) at the plan's spacing. box: (start, stop) of the body in them on each axis.
        values: the labels in it, None where it has no label map. one_piece: those whose voxels are all connected.
        labeled: share of its voxels that have a label. background: whether some of them are background. painted:
            whether its label map holds the value that means background.
        slices: the slices that are labeled; where the label map is said to label everything, those that are painted, if
            it looks as if only some were.
        structures: the labels that were looked for, None for all; the task says it.
        doubt: what speaks against using the image, see :class:`.volumes.volume.Volume`.
        checksums: CRC-32 of its arrays, in the order of the files' endings; in its file also of the rest of the record.
    """

    name: str
    key: str
    digest: str
    shape: tuple[int, int, int]
    channels: int
    box: Box
    values: tuple[int, ...] | None
    one_piece: tuple[int, ...] = ()
    labeled: float = 1.0
    background: bool = True
    painted: bool = False
    slices: PaintedSlices | None = None
    structures: tuple[int, ...] | None = None
    doubt: str = ""
    checksums: tuple[int, ...] = ()


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

    Returns:
        The cached cases, in the order of ``cases``.

    Raises:
        InputError: cases that cannot be read or do not fit the plan (their names are in the message). Where there is
            one, those behind it are not prepared any more, but read.
        Cancelled: ``cancelled()`` became true; finished cases stay for the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
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
    digest = content_digest(case.images)
    key = _key(digest, case, plan)
    if existing := _existing(folder, key):
        return _Prepared(dataclasses.replace(existing, name=case.name))
    # The record is written last: where there is one, the case was whole.
    was_damaged = (folder / f"{key}.json").exists()
    cached = _preprocess_case(case, Preprocessor(plan), folder, key, digest)
    # The copies are anonymous; who asks for a case knows its name.
    record = dataclasses.replace(cached, name="")
    record = dataclasses.replace(record, checksums=(*record.checksums, _checksum_of_record(record)))
    write_text(folder / f"{key}.json", json.dumps(to_json(record)))
    return _Prepared(cached, was_damaged)


def _existing(folder: Path, key: str) -> CachedCase | None:
    """The case ``key`` as it lies in ``folder``; None where it does not, or where its files are damaged."""
    try:
        case = from_json(CachedCase, json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
        endings = (IMAGE,) if case.values is None else (IMAGE, LABELS, FOREGROUND)
        arrays = tuple(_checksum(np.load(folder / f"{key}{ending}", mmap_mode="r")) for ending in endings)
    except Exception:  # whatever json and numpy meet in damaged files
        return None
    whole = dataclasses.replace(case, checksums=case.checksums[: len(endings)])
    return whole if case.checksums == (*arrays, _checksum_of_record(whole)) else None


def _checksum_of_record(case: CachedCase) -> int:
    return zlib.crc32(json.dumps(to_json(case)).encode())


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _preprocess_case(case: CaseFiles, preprocessor: Preprocessor, folder: Path, key: str, digest: str) -> CachedCase:
    volume = read_channels(case.images, len(preprocessor.plan.channels))
    image = preprocessor.image(volume)
    # Networks of others may take values as they are, which can be larger than a float16 is.
    np.clip(image, -_LARGEST, _LARGEST, out=image)
    checksum = _write(folder / f"{key}{IMAGE}", image.astype(np.float16))
    (z, y, x), box, doubt = image.shape[1:], _body_box(image), volume.doubt
    cached = CachedCase(case.name, key, digest, (z, y, x), len(image), box, None, doubt=doubt, checksums=(checksum,))
    if case.labels is None:
        return cached
    label_map = read_case_labels(with_background_painted(case), volume.geometry)
    background = case.labeling.background
    if painted := background is not None and bool((label_map.array == background).any()):
        label_map = dataclasses.replace(label_map, array=np.where(label_map.array == background, 0, label_map.array))
    if np.array_equal(label_map.array, volume.array[0]):
        raise InputError(f"{case.labels} has the same voxels as its image. Give its label map.")
    labels = preprocessor.labels(label_map, volume.geometry)
    values = tuple(int(v) for v in np.unique(labels) if v > 0)
    labeled = float((labels >= 0).mean())
    if not labeled:
        raise InputError("No voxel is labeled. Paint some, or leave its label map out.")
    to_center_on = _voxels_to_center_on(labels, values if labeled == 1 else (0, *values))
    label_sums = [
        _write(folder / f"{key}{end}", array) for end, array in ((LABELS, labels), (FOREGROUND, to_center_on))
    ]
    return dataclasses.replace(
        cached,
        checksums=(checksum, *label_sums),
        values=values,
        # On the volume's own grid: on a coarser one, pieces that lie close together touch.
        one_piece=tuple(v for v in in_one_piece(label_map.array) if v in values) if labeled == 1 else (),
        labeled=labeled,
        background=bool((labels == 0).any()),
        painted=painted,
        slices=_slices(label_map, case.labeling),
    )


def _slices(label_map: LabelMap, labeling: Labeling) -> PaintedSlices | None:
    """See :class:`CachedCase`; its axes are those of the canonical orientation."""
    axes = canonical_axes(label_map.geometry)
    labels = axes.apply(label_map.array)
    if labeling.part == "slices":
        return painted_slices(labels >= 0)
    if labels.min() < 0:
        return None
    return looks_like_slices(labels, axes.spacing_zyx(label_map.geometry))


def _voxels_to_center_on(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Evenly spread voxels of each of ``values``, rows (value, z, y, x)."""
    rows = [np.empty((0, 4), np.int32)]
    for value in values:
        voxels = np.flatnonzero(labels == value)
        chosen = voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), _FOREGROUND_VOXELS)).astype(int)]
        indices = np.stack(np.unravel_index(chosen, labels.shape), 1).astype(np.int32)
        rows.append(np.concatenate([np.full((len(indices), 1), value, np.int32), indices], 1))
    return np.concatenate(rows)


def _body_box(image: np.ndarray) -> Box:
    """The body: from the first to the last slice of each axis with 1 % of voxels clearly above the background."""
    first = image[0]
    low, high = np.percentile(first[:: max(1, first.shape[0] // 32)], (1, 99))
    bright = first > low + 0.1 * (high - low)
    sides = []
    for axis in range(3):
        fraction = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        slices = np.flatnonzero(fraction > 0.01)
        sides.append((int(slices[0]), int(slices[-1]) + 1) if len(slices) else (0, first.shape[axis]))
    return (sides[0], sides[1], sides[2])


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


def _write(path: Path, array: np.ndarray) -> int:
    """Returns the array's checksum."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)
    return _checksum(array)

"""Preprocessed volumes on disk: made once, resumable, and read crop by crop, so that memory does not grow with them.

A case is kept as ``KEY.npy`` (float16 image, (C, z, y, x), canonical orientation, the plan's spacing, normalized),
``KEY.labels.npy`` (z, y, x), ``KEY.places.npy`` (rows value, z, y, x: voxels of each label to center crops on) and
``KEY.json``, written last. KEY hashes the files' content and the part of the plan that preprocessing depends on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import Cancelled, InputError
from ..events import Cancelled as CancelledCheck
from ..events import Emit, Progress, never, silent
from ..files import replacing, write_text
from ..planning.normalize import normalize
from ..planning.plan import Plan
from ..serialization import from_json, to_json
from ..volumes.components import in_one_piece
from ..volumes.dataset import CaseFiles
from ..volumes.orientation import canonical_axes
from ..volumes.reading import read_channels, read_labels
from ..volumes.resample import resample_image, resample_labels, resampled_shape

#: Part of every key; raised when preprocessing changes.
_VERSION = 2
#: Voxels remembered of each label for foreground-aware sampling.
_PLACES = 2000
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class CachedCase:
    """A preprocessed case.

    Attributes:
        digest: SHA-256 of its image files' content.
        values: the labels in it, None where it has no label map. whole: those of them that are in one piece.
    """

    name: str
    key: str
    digest: str
    shape: tuple[int, int, int]
    channels: int
    box: Box
    values: tuple[int, ...] | None
    whole: tuple[int, ...] = ()


class CachedVolumes:
    """The :class:`.sampling.PatchSource` over preprocessed volumes in ``folder``.

    Those whose ``values`` are None are unlabeled: no label of theirs was ever read.

    Args:
        classes: the label values that become class 1, 2, ... in crops; other values become background.
        data_sets: how many of ``cases`` come from each data set, in order; by default all from one.
    """

    def __init__(
        self, folder: Path, cases: Sequence[CachedCase], classes: Sequence[int] = (), data_sets: Sequence[int] = ()
    ) -> None:
        self.folder, self.cases, self.classes = folder, list(cases), tuple(classes)
        self._data_set = np.repeat(np.arange(max(len(data_sets), 1)), data_sets or [len(cases)])
        self._lookup = np.zeros(max(self.classes, default=0) + 1, np.int16)
        self._lookup[list(self.classes)] = np.arange(1, len(self.classes) + 1)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def labeled(self) -> tuple[int, ...]:
        return tuple(i for i, case in enumerate(self.cases) if case.values is not None)

    @property
    def unlabeled(self) -> tuple[int, ...]:
        return tuple(i for i, case in enumerate(self.cases) if case.values is None)

    def shape(self, case: int) -> tuple[int, int, int]:
        return self.cases[case].shape

    def box(self, case: int) -> Box:
        return self.cases[case].box

    def crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        image = self._open(case, "")
        return _crop(image, start, size, fill=float(image[:, 0, 0, 0].min())).astype(np.float32)

    def label_crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        if self.cases[case].values is None:
            return np.full(tuple(size), -1, np.int16)
        values = _crop(self._open(case, ".labels")[None], start, size, fill=0)[0]
        return self._lookup[np.where(values < len(self._lookup), values, 0)]

    def data_set(self, case: int) -> int:
        return int(self._data_set[case])

    def foreground_voxels(self, case: int) -> np.ndarray:
        """(n, 4) rows class, z, y, x: voxels of the classes, at most 2000 each."""
        if self.cases[case].values is None:
            return np.empty((0, 4), np.int32)
        rows = np.array(self._open(case, ".places"))
        rows[:, 0] = self._lookup[np.where(rows[:, 0] < len(self._lookup), rows[:, 0], 0)]
        return rows[rows[:, 0] > 0]

    def subset(self, indices: Sequence[int]) -> CachedVolumes:
        """The same source with some of its cases."""
        return CachedVolumes(self.folder, [self.cases[i] for i in indices], self.classes)

    def _open(self, case: int, part: str) -> np.ndarray:
        # Opened anew for each crop: a map that stays open counts its touched pages to the process for ever.
        return np.load(self.folder / f"{self.cases[case].key}{part}.npy", mmap_mode="r")


def preprocess(
    cases: Sequence[CaseFiles],
    plan: Plan,
    folder: Path,
    *,
    with_labels: bool = False,
    emit: Emit = silent,
    cancelled: CancelledCheck = never,
) -> list[CachedCase]:
    """Bring ``cases`` into ``folder``, skipping those already there and whole; progress is told through ``emit``.

    Args:
        with_labels: also read the labels of the cases that have any.

    Raises:
        InputError: a case that cannot be read or does not fit the plan (its name is in the message).
        Cancelled: ``cancelled()`` became true; finished cases stay for the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[CachedCase] = []
    progress = Progress(emit, len(cases), "volumes")
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        for done, case in enumerate(
            pool.map(lambda c: _preprocess_case(c, plan, folder, with_labels, cancelled), cases)
        ):
            made.append(case)
            progress(done + 1)
    return made


def _preprocess_case(
    case: CaseFiles, plan: Plan, folder: Path, with_labels: bool, cancelled: CancelledCheck
) -> CachedCase:
    if cancelled():
        raise Cancelled("Stopped while preprocessing. Volumes already prepared are kept.")
    digest = _digest(case.images)
    key = _key(digest, case.labels if with_labels else None, plan)
    if kept := _kept(folder, key):
        return dataclasses.replace(kept, name=case.name)
    try:
        made = _make(case, plan, folder, key, digest, with_labels)
    except InputError as problem:
        raise InputError(f"Case {case.name}: {problem}") from problem
    write_text(folder / f"{key}.json", json.dumps(to_json(made)))
    return made


def _kept(folder: Path, key: str) -> CachedCase | None:
    """The case as it was made before; None where it was not, or where what is left of it is damaged."""
    try:
        case = from_json(CachedCase, json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
        for part in ("",) if case.values is None else ("", ".labels", ".places"):
            np.load(folder / f"{key}{part}.npy", mmap_mode="r")
    except (OSError, EOFError, ValueError, InputError):
        return None
    return case


def _make(case: CaseFiles, plan: Plan, folder: Path, key: str, digest: str, with_labels: bool) -> CachedCase:
    volume = read_channels(case.images)
    axes = canonical_axes(volume.geometry)
    shape = working_shape(axes.apply(volume.array).shape[1:], axes.spacing_zyx(volume.geometry), plan)
    image = resample_image(normalize(axes.apply(volume.array), plan.channels), shape)
    _write(folder / f"{key}.npy", image.astype(np.float16))
    values: tuple[int, ...] | None = None
    whole: tuple[int, ...] = ()
    if with_labels and case.labels is not None:
        labels = resample_labels(axes.apply(read_labels(case.labels, volume.geometry).array), shape)
        values = tuple(int(v) for v in np.unique(labels) if v)
        whole = in_one_piece(labels)
        _write(folder / f"{key}.labels.npy", labels)
        _write(folder / f"{key}.places.npy", _places(labels, values))
    return CachedCase(case.name, key, digest, shape, len(image), _foreground_box(image), values, whole)


def working_shape(shape: Sequence[int], spacing: Sequence[float], plan: Plan) -> tuple[int, int, int]:
    """Size in voxels (z, y, x) of a canonical volume at the plan's spacing; in 2D the slice axis is kept as it is."""
    target = list(plan.spacing)
    if plan.dimensions == 2:
        target[plan.slice_axis] = spacing[plan.slice_axis]
    return resampled_shape(shape, spacing, target)


def _places(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Evenly spread voxels of each label, rows (value, z, y, x)."""
    rows = [np.empty((0, 4), np.int32)]
    for value in values:
        found = np.flatnonzero(labels == value)
        chosen = found[np.linspace(0, len(found) - 1, min(len(found), _PLACES)).astype(int)]
        where = np.stack(np.unravel_index(chosen, labels.shape), 1).astype(np.int32)
        rows.append(np.concatenate([np.full((len(where), 1), value, np.int32), where], 1))
    return np.concatenate(rows)


def _foreground_box(image: np.ndarray) -> Box:
    """The body: from the first to the last slice of each axis with 1 % of voxels clearly above the background."""
    first = image[0]
    low, high = np.percentile(first[:: max(1, first.shape[0] // 32)], (1, 99))
    bright = first > low + 0.1 * (high - low)
    sides = []
    for axis in range(3):
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        found = np.flatnonzero(share > 0.01)
        sides.append((int(found[0]), int(found[-1]) + 1) if len(found) else (0, first.shape[axis]))
    return (sides[0], sides[1], sides[2])


def _crop(array: np.ndarray, start: Sequence[int], size: Sequence[int], fill: float) -> np.ndarray:
    """``array`` is (C, z, y, x); parts of the crop outside it are ``fill``."""
    inside = [
        slice(max(s, 0), max(min(s + n, full), 0)) for s, n, full in zip(start, size, array.shape[1:], strict=True)
    ]
    part = array[:, inside[0], inside[1], inside[2]]
    if part.shape[1:] == tuple(size):
        return np.array(part)
    crop = np.full((len(array), *size), fill, array.dtype)
    into = [slice(i.start - s, i.stop - s) for i, s in zip(inside, start, strict=True)]
    crop[:, into[0], into[1], into[2]] = part
    return crop


def _key(digest: str, labels: Path | None, plan: Plan) -> str:
    parts = [_VERSION, digest, _digest((labels,)) if labels else "", to_json(plan.channels), plan.spacing]
    if plan.dimensions == 2:
        parts.append(plan.slice_axis)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _digest(paths: Sequence[Path]) -> str:
    """SHA-256 over the content of files, of the files in folders (DICOM series), and of voxels kept beside a header."""
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path, *_voxels_of(path)]:
            with open(file, "rb") as opened:
                while block := opened.read(2**20):
                    total.update(block)
    return total.hexdigest()


def _voxels_of(path: Path) -> list[Path]:
    """The file that a MetaImage or NRRD header names for its voxels: without it, changed voxels would go unnoticed."""
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return []
    header = path.read_text(encoding="latin-1")
    named = re.search(r"^(?:ElementDataFile *=|data ?file:) *(.+?) *$", header, re.IGNORECASE | re.MULTILINE)
    voxels = path.parent / named[1] if named else path
    return [voxels] if voxels != path and voxels.is_file() else []


def _write(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)

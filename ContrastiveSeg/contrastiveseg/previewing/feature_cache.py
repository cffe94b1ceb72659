"""The features of volumes on disk, by content: ``KEY.npy`` holds all maps one behind the other as float16, and
``KEY.json``, written last, what they are.

KEY is a hash of the volume's voxels and grid, of the checkpoint file, and of how features are computed. What does not
fit its description is computed anew. The folder holds at most :data:`MOST_BYTES`: what was used longest ago goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path

import numpy as np

from ..files import replacing, write_text
from ..serialization import from_json, to_json
from ..volumes.volume import Volume
from .feature_maps import FeatureMaps

#: Part of every key; raised when features are computed in another way.
_VERSION = 2
MOST_BYTES = 2 * 2**30
_MAPS, _DESCRIPTION = ".npy", ".json"


@dataclass(frozen=True)
class _Described:
    """What ``KEY.npy`` holds; see :class:`.feature_maps.FeatureMaps`. ``checksum``: CRC-32 of that and of this."""

    shapes: tuple[tuple[int, int, int, int], ...]
    groups: tuple[int, ...]
    shape: tuple[int, int, int]
    extent: tuple[int, int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    checksum: int


def default_folder() -> Path:
    """The folder for features in the user's cache."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "contrastiveseg" / "features"


def key_of(volume: Volume, checkpoint_digest: str, computed_as: str) -> str:
    """The name of a volume's features.

    Args:
        computed_as: what else they depend on, as the precision.
    """
    geometry = volume.geometry
    parts = [_VERSION, checkpoint_digest, computed_as, volume.array.dtype.str, volume.array.shape]
    parts += [geometry.spacing, geometry.direction]
    total = hashlib.sha256(json.dumps(parts).encode())
    total.update(np.ascontiguousarray(volume.array).data)
    return total.hexdigest()[:32]


def stored(folder: Path, key: str) -> FeatureMaps | None:
    """The features of ``key``, memory-mapped; None where there are none, or where the files are damaged."""
    path = folder / f"{key}{_MAPS}"
    try:
        described = from_json(_Described, json.loads((folder / f"{key}{_DESCRIPTION}").read_text("utf-8")), "cache")
        flat = np.load(path, mmap_mode="r")
        sizes = [prod(shape) for shape in described.shapes]
        channels = sum(shape[0] for shape in described.shapes)
        fits = flat.dtype == np.float16 and flat.shape == (sum(sizes),) and len(described.groups) == len(sizes)
        fits = fits and len(described.mean) == len(described.deviation) == channels
        if not fits or _checksum(flat, described) != described.checksum:
            return None
        os.utime(path)
    except Exception:  # whatever json and numpy meet in damaged files
        return None
    maps = tuple(
        flat[first:end].reshape(shape)
        for (first, end), shape in zip(pairwise(accumulate(sizes, initial=0)), described.shapes, strict=True)
    )
    mean, deviation = np.array(described.mean, np.float32), np.array(described.deviation, np.float32)
    return FeatureMaps(maps, described.groups, described.shape, described.extent, mean, deviation)


def store(folder: Path, key: str, features: FeatureMaps) -> None:
    """Keep ``features`` for the next preview, and remove the oldest of others beyond :data:`MOST_BYTES`.

    Raises:
        InputError: the folder cannot be written, or its disk is full.
        OSError: the same, where the system says it before a file is opened.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    flat = np.concatenate([one.ravel() for one in features.maps])
    with replacing(folder / f"{key}{_MAPS}") as temporary, open(temporary, "wb") as file:
        np.save(file, flat)
    described = _Described(
        tuple(one.shape for one in features.maps),
        features.groups,
        features.shape,
        features.extent,
        tuple(map(float, features.mean)),
        tuple(map(float, features.deviation)),
        0,
    )
    described = replace(described, checksum=_checksum(flat, described))
    write_text(folder / f"{key}{_DESCRIPTION}", json.dumps(to_json(described)))
    _keep_within(folder, key)


def _checksum(flat: np.ndarray, described: _Described) -> int:
    return zlib.crc32(json.dumps(to_json(replace(described, checksum=0))).encode(), zlib.crc32(flat.data))


def _keep_within(folder: Path, newest: str) -> None:
    """Remove what was used longest ago, until the folder holds at most :data:`MOST_BYTES`; ``newest`` stays."""
    found = []
    for path in folder.glob(f"*{_MAPS}"):
        try:
            state = path.stat()
        except OSError:  # another process has removed it
            continue
        found.append((path.stem != newest, -state.st_mtime, state.st_size, path))
    total = 0
    for is_other, _, size, path in sorted(found):
        total += size
        if is_other and total > MOST_BYTES:
            for file in (path.with_suffix(_DESCRIPTION), path):
                with suppress(OSError):  # Windows keeps what another process reads
                    file.unlink(missing_ok=True)

"""Finding a MONAI bundle in a folder or an archive: its configuration, its metadata and its weights. Light to import.

A bundle is ``configs/inference.json`` (or ``.yaml``), ``configs/metadata.json``, and ``models/model.pt`` (tensors
alone) or ``models/model.ts``, below a folder of its name.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..files import readable
from .archives import MOST_WEIGHTS, members, names_in, opened, unpack

_CONFIGS = tuple(PurePosixPath("configs") / f"inference.{ending}" for ending in ("json", "yaml", "yml"))
_METADATA = PurePosixPath("configs/metadata.json")
_WEIGHTS = (".pt", ".pth", ".ts", ".safetensors")
#: The better first.
_PREFERRED = ("model.pt", "model.safetensors", "model.ts")
#: The most bytes of a configuration.
_MOST_TEXT = 16 * 2**20


@dataclass(frozen=True)
class BundleFiles:
    """A bundle's parsed files, and the file of its weights.

    Attributes:
        name: of the bundle. where: the name of its configuration.
        weights_name: of the weights in the bundle.
    """

    name: str
    inference: Any
    where: str
    metadata: Any
    weights: Path
    weights_name: str


def holds_bundle(path: Path) -> bool:
    """Whether there is a bundle at ``path``, a folder or an archive, by names alone: a quick look before it is read."""
    if path.is_dir():
        return any((path / config).is_file() for config in _CONFIGS)
    return path.suffix == ".zip" and _root_in(names_in(path)) is not None


@contextmanager
def bundle_files(path: Path) -> Iterator[BundleFiles]:
    """The bundle at ``path``: its folder, a file in one of its folders, or an archive, of which only what is needed is
    unpacked, to a folder of its own that is removed again.

    Raises:
        InputError: there is no bundle, a file is missing or cannot be read, or it is unclear which are the weights.
    """
    if path.suffix != ".zip":
        root = _root(path)
        given = path.is_file() and path.suffix in _WEIGHTS
        names = [file.name for file in (root / "models").glob("*")] if not given else []
        weights = path if given else root / "models" / _chosen(names, f"{root}/models")
        yield _read(root, weights, weights.name, root.name)
        return
    with opened(path) as archive, tempfile.TemporaryDirectory(prefix="contrastiveseg-") as temporary:
        inside = members(archive)
        root_in = _root_in(inside)
        if root_in is None:
            raise InputError(f"{path} holds no MONAI bundle: there is no configs/inference.json in it.")
        names = [name.name for name in inside if name.parent == root_in / "models"]
        name = _chosen(names, f"{path}/{root_in / 'models'}")
        root, weights = Path(temporary), Path(temporary) / f"weights{PurePosixPath(name).suffix}"
        (root / "configs").mkdir()
        for one in (*_CONFIGS, _METADATA):
            if root_in / one in inside:
                unpack(archive, inside[root_in / one], root / one, _MOST_TEXT, path)
        unpack(archive, inside[root_in / "models" / name], weights, MOST_WEIGHTS, path)
        yield _read(root, weights, name, root_in.name or path.stem)


def _root(path: Path) -> Path:
    """The bundle's folder."""
    for folder in (path, *path.resolve().parents[:3]):
        if any((folder / config).is_file() for config in _CONFIGS):
            return folder
    raise InputError(
        f"{path} is no MONAI bundle: a folder, or a zip of it, with configs/inference.json (or .yaml) and "
        "models/model.pt."
    )


def _root_in(names: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """The bundle's folder in an archive with these ``names``: the outermost one with a configuration."""
    roots = [name.parent.parent for name in names if name.parts[-2:] in {config.parts for config in _CONFIGS}]
    return min(roots, key=lambda root: len(root.parts), default=None)


def _chosen(names: Sequence[str], place: str) -> str:
    """The name of the weights: model.pt, or the only ones there are."""
    found = sorted(name for name in names if PurePosixPath(name).suffix in _WEIGHTS)
    if preferred := next((name for name in _PREFERRED if name in found), ""):
        return preferred
    if len(found) != 1:
        raise InputError(f"{place} holds {len(found)} files of weights and no model.pt. Name one of them instead.")
    return found[0]


def _read(root: Path, weights: Path, weights_name: str, name: str) -> BundleFiles:
    config = next(root / one for one in _CONFIGS if (root / one).is_file())
    parsed = _json(config) if config.suffix == ".json" else _yaml(config)
    return BundleFiles(name, parsed, config.name, _json(root / _METADATA), weights, weights_name)


def _text(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(
            f"There is no file {path.parent.name}/{path.name} in the bundle. Give the whole bundle, its folder "
            "with configs and models, or a .zip of it."
        )
    with readable(path):
        return path.read_bytes() if path.stat().st_size <= _MOST_TEXT else b""


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is not a JSON file of a bundle ({problem}). Download it again.") from problem


def _yaml(path: Path) -> Any:
    """Plain values alone; a name for a part (&, *) could make a small file endless, and is refused."""
    try:
        import yaml
    except ImportError as problem:
        raise InputError(
            f"{path.name} of the bundle is in YAML, which needs PyYAML. Install it (pip install "
            '"contrastiveseg[bundles]"; in Slicer: PythonSlicer -m pip install PyYAML), or write it as JSON.'
        ) from problem
    text = _text(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it refers to parts by *NAME; write them out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise InputError(f"{path.name} is not a YAML file of a bundle ({problem}). Correct it there.") from problem

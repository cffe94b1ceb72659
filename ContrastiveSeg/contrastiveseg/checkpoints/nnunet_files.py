"""Finding a trained model in nnU-Net's folders and archives: its checkpoint, its plans and its dataset.json.

A model's folder is ``TRAINER__PLANS__CONFIGURATION``, with ``plans.json``, ``dataset.json`` and a folder ``fold_N`` a
fold, which holds ``checkpoint_final.pth`` (nnunetv2 2.8, utilities/file_path_utilities.py, model_sharing).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..files import near
from .archives import MOST_WEIGHTS, members, names_in, opened, unpack

#: The better first.
_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
_CONFIGURATIONS = ("3d_fullres", "3d_lowres", "2d")
#: Folders between the given one and a checkpoint: data set, model, fold.
_DEPTH = 4
#: The most bytes of plans or a dataset.json; more would fill the memory.
_MOST_JSON = 64 * 2**20


@dataclass(frozen=True)
class Found:
    """A checkpoint below the given place: its path, that of its model's folder, and what its names say."""

    path: PurePosixPath
    model: PurePosixPath
    configuration: str
    fold: str

    @property
    def preference(self) -> tuple[int, str, bool, int, int]:
        """The smallest is taken where nothing is asked for: the configuration that nnU-Net prefers, all folds' data."""
        order = _CONFIGURATIONS.index(self.configuration) if self.configuration in _CONFIGURATIONS else 9
        number = int(self.fold) if self.fold.isdecimal() else 0
        return order, self.configuration, self.fold != "all", number, _CHECKPOINTS.index(self.path.name)


@dataclass(frozen=True)
class ModelFiles:
    """The chosen checkpoint as a file to read, its plans and dataset.json (None: not there), and what else there was.

    Attributes:
        name: of the checkpoint below the given place.
    """

    checkpoint: Path
    name: str
    plans: Any
    dataset: Any
    others: tuple[str, ...]


@contextmanager
def model_files(path: Path, configuration: str | None, fold: str | None) -> Iterator[ModelFiles]:
    """The model at ``path``: a results folder, a fold of it, a checkpoint in one or alone, or an exported archive.

    A checkpoint alone has plans and dataset.json in itself. Of an archive only the files that are needed are copied, to
    a folder of their own, which is removed again.

    Raises:
        InputError: there is no such model, models of several data sets, or a file that cannot be read.
    """
    if path.is_file() and path.suffix != ".zip" and not path.resolve().parent.name.startswith("fold_"):
        yield ModelFiles(path, path.name, None, None, ())
        return
    if path.is_dir() or path.suffix != ".zip":
        root, below = _root(path)
        found = chosen(_found_in(below), path, configuration, fold)
        folder = root / found[0].model
        dataset, plans = (_json(folder / name) for name in ("dataset.json", "plans.json"))
        yield ModelFiles(root / found[0].path, str(found[0].path), plans, dataset, _others(found))
        return
    with opened(path) as archive, tempfile.TemporaryDirectory(prefix="contrastiveseg-") as temporary:
        inside = members(archive)
        found = chosen(_found_in(list(inside)), path, configuration, fold)
        # No member gets the name that it has in the archive.
        wanted = {"checkpoint.pth": found[0].path}
        wanted |= {name: found[0].model / name for name in ("dataset.json", "plans.json")}
        for name, member in wanted.items():
            if member in inside:
                most = MOST_WEIGHTS if name.endswith(".pth") else _MOST_JSON
                unpack(archive, inside[member], Path(temporary) / name, most, path)
        dataset, plans = (_json(Path(temporary) / name) for name in ("dataset.json", "plans.json"))
        checkpoint = Path(temporary) / "checkpoint.pth"
        yield ModelFiles(checkpoint, str(found[0].path), plans, dataset, _others(found))


def holds_model(path: Path) -> bool:
    """Whether there is a checkpoint of nnU-Net at ``path``, by names alone: a quick look before it is read."""
    if path.is_dir():
        models = (path, *(folder for folder in path.iterdir() if folder.is_dir()))
        return path.name.startswith("fold_") or any((folder / "plans.json").is_file() for folder in models)
    return path.suffix == ".pth" or (path.suffix == ".zip" and bool(_found_in(names_in(path))))


def chosen(found: Sequence[Found], place: Path, configuration: str | None, fold: str | None) -> list[Found]:
    """Those of ``found`` that can be asked for, the wanted one first.

    Raises:
        InputError: none is wanted, or they are of several data sets.
    """
    if not found:
        raise InputError(
            f"{place} holds no model of nnU-Net v2: there is no fold_N/{_CHECKPOINTS[0]} below it. Give the folder "
            "TRAINER__PLANS__CONFIGURATION, a fold of it, or the archive that nnUNetv2_export_model_to_zip writes. "
            "(Models of nnU-Net v1 end in .model; they cannot be imported.)"
        )
    sets = sorted({str(one.model.parent) for one in found})
    if len(sets) > 1:
        raise InputError(f"{place} holds models of several data sets: {', '.join(sets)}. Give the folder of one.")
    wanted = [one for one in found if configuration in (None, one.configuration) and fold in (None, one.fold)]
    if not wanted:
        there = ", ".join(sorted({f"{one.configuration} fold {one.fold}" for one in found}))
        raise InputError(f"{place} has no such model. There are: {there}.")
    first = min(wanted, key=lambda one: one.preference)
    return [first, *(one for one in found if one != first)]


def _root(path: Path) -> tuple[Path, list[PurePosixPath]]:
    """The folder that names are below, and the checkpoints there."""
    if path.is_file():
        root = path.resolve().parent.parent
        return root, [PurePosixPath(path.resolve().relative_to(root))]
    if not path.is_dir():
        raise InputError(f"There is no file or folder {path}.{near(path)}")
    root = path.resolve()
    if root.name.startswith("fold_"):
        return root.parent, [PurePosixPath(root.name) / name for name in _CHECKPOINTS if (root / name).is_file()]
    patterns = ("*/" * depth + name for depth in range(1, _DEPTH) for name in _CHECKPOINTS)
    return root, [PurePosixPath(file.relative_to(root)) for pattern in patterns for file in sorted(root.glob(pattern))]


def _found_in(names: Sequence[PurePosixPath]) -> list[Found]:
    found = []
    for name in names:
        fold, model = name.parent.name, name.parent.parent
        if fold.startswith("fold_") and name.name in _CHECKPOINTS:
            found.append(Found(name, model, model.name.split("__")[-1], fold.removeprefix("fold_")))
    return found


def _others(found: Sequence[Found]) -> tuple[str, ...]:
    """The other folds and configurations."""
    first = found[0]
    others = {(one.configuration, one.fold) for one in found} - {(first.configuration, first.fold)}
    return tuple(f"{configuration} fold {fold}" for configuration, fold in sorted(others))


def _json(path: Path) -> Any:
    """The content of a JSON file, None where there is none."""
    if not path.is_file():
        return None
    if path.stat().st_size > _MOST_JSON:
        raise InputError(f"{path.name} is larger than any of nnU-Net's. Copy it again from the folder of its training.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise InputError(
            f"{path.name} of the model cannot be read ({problem}). Copy it again from the folder of its training."
        ) from problem

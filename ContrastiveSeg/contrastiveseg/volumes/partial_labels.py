"""Which of pooled volumes have labels to learn from: only those that the user names, however many lie beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import files
from ..errors import InputError
from .dataset import CaseFiles, case_of, find_cases


def with_named_labels(data_sets: Sequence[Sequence[CaseFiles]], labels: Sequence[Path]) -> list[list[CaseFiles]]:
    """``data_sets`` with the label maps that ``labels`` name, and without any other.

    Args:
        labels: any of: a ``dataset.json``, JSON list or the folder of a data set, whose labels go to the volumes it
            lists; a folder of label maps or a label map, which go to the volumes of their names in the one data set
            that has these names. Volumes without a label are unlabeled, labels without a volume are ignored.

    Raises:
        InputError: a path that does not exist or labels no volume, or names that several data sets have.
    """
    pooled = [[replace(case, labels=None) for case in cases] for cases in data_sets]
    for path in labels:
        if not path.exists():
            raise InputError(f"{path} does not exist.")
        named = _by_volume(pooled, path) if _lists_cases(path) else _by_name(pooled, path)
        if not named:
            raise InputError(
                f"{path} labels none of the volumes. Name each label map like its volume, or give the dataset.json "
                "that lists both."
            )
        pooled = [[replace(case, labels=named.get(case.images, case.labels)) for case in cases] for cases in pooled]
    return pooled


def _lists_cases(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".json"
    return (path / "dataset.json").is_file() and not _volumes(path)


def _by_volume(data_sets: Sequence[Sequence[CaseFiles]], path: Path) -> dict[tuple[Path, ...], Path]:
    """Labels by the volumes' files, as the list at ``path`` pairs them."""
    listed = {_resolved(case.images): case.labels for case in find_cases([path]) if case.labels}
    known = {case.images: listed.get(_resolved(case.images)) for cases in data_sets for case in cases}
    return {images: label for images, label in known.items() if label}


def _by_name(data_sets: Sequence[Sequence[CaseFiles]], path: Path) -> dict[tuple[Path, ...], Path]:
    """Labels by the volumes' files, paired by name within one data set; where one lies at ``path`` too, within that."""
    here = path.resolve()
    beside = [cases for cases in data_sets if any(here in f.parents for c in cases for f in _resolved(c.images))]
    data_sets = beside or data_sets
    images = {file for cases in data_sets for case in cases for file in _resolved(case.images)}
    maps = [file for file in (_volumes(path) if path.is_dir() else [path]) if file.resolve() not in images]
    found = []
    for cases in data_sets:
        by_name = {case.name: case for case in cases}
        named = {name: file for file in maps if (name := case_of(files.stem(file), by_name)) is not None}
        if named:
            found.append({by_name[name].images: file for name, file in named.items()})
    if len(found) > 1:
        raise InputError(
            f"{path} has labels with the names of volumes in {len(found)} of the data sets. Give the dataset.json (or "
            "a JSON list of image and label) of the data set they belong to instead."
        )
    return found[0] if found else {}


def _volumes(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and files.volume_suffix(f) and not f.name.startswith("."))


def _resolved(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(path.resolve() for path in paths)

"""Label maps for some of the volumes of pooled data sets: only those that the user names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files import check_there
from .dataset import CaseFiles, find_cases
from .declared_labels import DeclaredLabels, declared_labels
from .labeling import Labeling
from .pairing import labels_by_case, volume_files

#: By the files of a volume: its label map, and what that says.
_LabelsByVolume = dict[tuple[Path, ...], tuple[Path, Labeling]]


def with_named_labels(data_sets: Sequence[Sequence[CaseFiles]], labels: Sequence[Path]) -> list[list[CaseFiles]]:
    """``data_sets`` with the label maps that ``labels`` name, and without any other.

    Args:
        labels: any of: a ``dataset.json``, JSON list or the folder of a data set, whose labels go to the volumes it
            lists; a folder of label maps or a label map, which go to the volumes of their names in the one data set
            that has these names. Volumes without a label are unlabeled, labels without a volume are ignored.

    Raises:
        InputError: a path that does not exist or labels no volume, two label maps of one volume, or names that
            several data sets have.
    """
    pooled = [[replace(case, labels=None) for case in cases] for cases in data_sets]
    for path in labels:
        check_there(path)
        named = _by_volume(pooled, path) if _lists_cases(path) else _by_name(pooled, path)
        if not named:
            raise InputError(
                f"{path} labels none of the volumes. Name each label map like its volume, or give the dataset.json "
                "that lists both."
            )
        declared = declared_labels([path])
        pooled = [[_labeled(case, named, declared) for case in cases] for cases in pooled]
    return pooled


def _labeled(case: CaseFiles, named: _LabelsByVolume, declared: DeclaredLabels) -> CaseFiles:
    """``case`` with its label map of those ``named``, if there is one."""
    if case.images not in named:
        return case
    label, labeling = named[case.images]
    labeling = replace(labeling, ignore=declared.ignore, background=declared.background)
    return replace(case, labels=label, labeling=labeling, candidates=())


def _lists_cases(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".json"
    return (path / "dataset.json").is_file() and not volume_files(path)


def _by_volume(data_sets: Sequence[Sequence[CaseFiles]], path: Path) -> _LabelsByVolume:
    """Labels by the volumes' files, as the list at ``path`` pairs them."""
    listed = {_resolved(case.images): (case.labels, case.labeling) for case in find_cases([path]) if case.labels}
    known = {case.images: listed.get(_resolved(case.images)) for cases in data_sets for case in cases}
    return {images: label for images, label in known.items() if label}


def _by_name(data_sets: Sequence[Sequence[CaseFiles]], path: Path) -> _LabelsByVolume:
    """Labels by the volumes' files, paired by name within one data set: one with volumes below ``path`` if there is."""
    folder = Path(os.path.realpath(path))
    below = [cases for cases in data_sets if any(folder in f.parents for c in cases for f in _resolved(c.images))]
    data_sets = below or data_sets
    images = {file for cases in data_sets for case in cases for file in _resolved(case.images)}
    maps = [
        file for file in (volume_files(path) if path.is_dir() else [path]) if Path(os.path.realpath(file)) not in images
    ]
    matches = []
    for cases in data_sets:
        by_name = {case.name: case for case in cases}
        if labels := labels_by_case(maps, by_name):
            matches.append({by_name[name].images: (file, Labeling()) for name, file in labels.items()})
    if len(matches) > 1:
        raise InputError(
            f"{path} has labels with the names of volumes in {len(matches)} of the data sets. Give the dataset.json "
            "(or a JSON list of image and label) of the data set they belong to instead."
        )
    return matches[0] if matches else {}


def _resolved(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(Path(os.path.realpath(path)) for path in paths)

"""JSON files that list the cases of a data set or name its labels: Decathlon's and nnU-Net's, and plain lists."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError

ENTRY_KEYS = {"image", "label"}


def listed_files(path: Path) -> list[tuple[tuple[Path, ...], Path | None]] | None:
    """Image files (one a channel) and label file of each case that ``path`` lists, relative to its folder.

    None where it lists no cases, as a ``dataset.json`` of nnU-Net v2.

    Raises:
        InputError: not JSON, of another form (the message names the entry), or a file that does not exist.
    """
    data = _load(path)
    if isinstance(data, list):
        return [_entry(path, f"[{i}]", e) for i, e in enumerate(data)]
    data = _object(path, data)
    if "training" not in data:
        return None
    if not isinstance(data["training"], list):
        raise InputError(f"{path}: training: expected a list of image and label pairs.")
    return [_entry(path, f"training[{i}]", e) for i, e in enumerate(data["training"])]


def label_names(path: Path) -> dict[int, str]:
    """Label values and their names from a ``dataset.json`` of the Decathlon or nnU-Net v2 form, background included.

    Raises:
        InputError: not such a file.
    """
    table = _object(path, _load(path)).get("labels")
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path}: labels: expected an object with a name for every label.")
    names: dict[int, str] = {}
    for key, value in table.items():
        if key == "ignore":
            raise InputError(f"{path}: an 'ignore' label is not supported. Remove it there and from the label maps.")
        if isinstance(value, int) and not isinstance(value, bool):
            names[value] = key
        elif isinstance(value, str) and key.isdecimal():
            names[int(key)] = value
        else:
            raise InputError(f'{path}: labels.{key}: expected "NAME": NUMBER or "NUMBER": "NAME", found {value!r}.')
    if len(names) != len(table):
        raise InputError(f"{path}: labels: two names have the same number.")
    return dict(sorted(names.items()))


def declared_label_names(paths: Iterable[Path]) -> dict[int, str]:
    """:func:`label_names` of the first ``dataset.json`` among ``paths``, in one of them or beside one; {} without one.

    Raises:
        InputError: as :func:`label_names`.
    """
    for path in paths:
        for candidate in (path, path / "dataset.json", path.parent / "dataset.json"):
            if candidate.name == "dataset.json" and candidate.is_file():
                return label_names(candidate)
    return {}


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"Cannot read {path}: {problem.strerror}.") from problem
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise InputError(f"{path} is not a JSON file ({problem}).") from problem


def _object(path: Path, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object with named fields, found {type(data).__name__}.")
    return data


def _entry(path: Path, where: str, entry: Any) -> tuple[tuple[Path, ...], Path | None]:
    if not isinstance(entry, dict) or "image" not in entry or not set(entry) <= ENTRY_KEYS:
        raise InputError(f'{path}: {where}: expected {{"image": FILE, "label": FILE}}, found {str(entry)[:80]}.')
    names = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    label = entry.get("label")
    if not names or not all(isinstance(n, str) and n for n in names) or not (label is None or isinstance(label, str)):
        raise InputError(f"{path}: {where}: image and label must be file names, image may be a list of them.")
    images = tuple(path.parent / n for n in names)
    for file in (*images, *([path.parent / label] if label else [])):
        if not file.exists():
            raise InputError(f"{path}: {where}: {file} does not exist.")
    return images, path.parent / label if label else None

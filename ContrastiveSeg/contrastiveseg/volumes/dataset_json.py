"""JSON files that list the cases of a data set or name its labels: Decathlon's and nnU-Net's, and plain lists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from ..descriptions import LabeledPart
from ..errors import InputError
from ..files import check_fetched, stem, volume_suffix
from ..printable import quoted, shortened
from .labeling import Labeling

#: What the entry of a case may hold.
ENTRY_KEYS = {"image", "label", "name", "labeled_part", "structures"}
#: So many numbered files are looked for.
_MOST_CHANNELS = 100


@dataclass(frozen=True)
class ListedCase:
    """The image files of a case (one a channel), its label file, what that says, and the case's name if it has one."""

    images: tuple[Path, ...]
    label: Path | None
    labeling: Labeling
    name: str | None = None


def listed_cases(path: Path) -> list[ListedCase] | None:
    """The cases that ``path`` lists, with paths relative to its folder.

    They are its "training" (Decathlon) or its "dataset" (nnU-Net v2, by name); None where it has neither.

    Raises:
        InputError: not JSON, of another form (the message names the entry), or a file that does not exist.
    """
    data = read_json(path)
    if isinstance(data, list):
        return [_entry(path, f"[{i}]", e) for i, e in enumerate(data)]
    data = json_object(path, data)
    if "training" not in data:
        return _named_entries(path, data["dataset"]) if "dataset" in data else None
    if not isinstance(data["training"], list):
        raise InputError(f"{path}: training: expected a list of image and label pairs.")
    return [_entry(path, f"training[{i}]", e) for i, e in enumerate(data["training"])]


def is_number(key: str) -> bool:
    """Whether a key is the number of a label or channel; Python reads none of thousands of digits."""
    return key.isdecimal() and len(key) < 10


def declared_channels(paths: Iterable[Path]) -> tuple[str, ...]:
    """The names of the channels ("CT", "T2") that the ``dataset.json`` files of ``paths`` declare, in order.

    Decathlon's field is "modality", nnU-Net's "channel_names". () without any, or where two files differ.

    Raises:
        InputError: a field of another form.
    """
    declared = {_channels_in(path) for path in described_by(paths)} - {()}
    return declared.pop() if len(declared) == 1 else ()


def declared_counts(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """The ``dataset.json`` files of ``paths`` that tell a number of training cases ("numTraining"), and that number.

    Raises:
        InputError: a file that is no JSON object.
    """
    for path in dict.fromkeys(described_by(paths)):
        count = json_object(path, read_json(path)).get("numTraining")
        if isinstance(count, int) and not isinstance(count, bool):
            yield path, count


def _channels_in(path: Path) -> tuple[str, ...]:
    data = json_object(path, read_json(path))
    by_field = {field: _channels_of_field(path, data, field) for field in ("channel_names", "modality")}
    channels, older = by_field.values()
    if channels and older and [_is_ct(name) for name in channels] != [_is_ct(name) for name in older]:
        raise InputError(
            f"{path}: channel_names and modality contradict each other ({', '.join(channels)}; {', '.join(older)}): CT "
            "is scaled in another way. Correct one, or leave it out."
        )
    return channels or older


def _is_ct(name: str) -> bool:
    return name.strip().casefold() == "ct"


def _channels_of_field(path: Path, data: dict[str, Any], field: str) -> tuple[str, ...]:
    channels = data.get(field, {})
    if not isinstance(channels, dict) or not all(is_number(k) and isinstance(v, str) for k, v in channels.items()):
        raise InputError(f'{path}: {field}: expected {{"0": "CT", ...}}, the name of each channel.')
    return tuple(name for _, name in sorted(channels.items(), key=lambda channel: int(channel[0])))


def described_by(paths: Iterable[Path]) -> Iterator[Path]:
    """For each of ``paths``, the ``dataset.json`` that it is, that lies in it or beside it."""
    for path in paths:
        for candidate in (path, path / "dataset.json", path.parent / "dataset.json"):
            if candidate.name == "dataset.json" and candidate.is_file():
                yield candidate
                break


def read_json(path: Path, instead: str = "give the folders of images and label maps") -> Any:
    """The content of a JSON file that people write: in UTF-8 or 16, with or without a byte order mark.

    Args:
        instead: what else to do with a file that is none, as part of a sentence.

    Raises:
        InputError: it cannot be read, is none, or holds an object that names something twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for key, value in pairs:
            if key in named:  # Python's reader would take the last one without a word
                raise InputError(f"{path}: {shortened(key)} is named twice in one object. Leave one out.")
            named[key] = value
        return named

    try:
        content = path.read_bytes()
        check_fetched(path, content[:1024])
        return json.loads(content, object_pairs_hook=once)
    except OSError as problem:
        raise InputError(f"Cannot read {path}: {problem.strerror}.") from problem
    except (ValueError, RecursionError) as problem:  # the former also of numbers of thousands of digits
        raise InputError(f"{path} is not a JSON file ({problem}). Correct it there, or {instead}.") from problem


def json_object(path: Path, data: Any) -> dict[str, Any]:
    """``data``, the content of ``path`` or a part of it.

    Raises:
        InputError: it is no object.
    """
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object with named fields, found {type(data).__name__}.")
    return data


def _entry(path: Path, where: str, entry: Any) -> ListedCase:
    if not isinstance(entry, dict) or "image" not in entry or not set(entry) <= ENTRY_KEYS:
        raise InputError(
            f'{path}: {where}: expected {{"image": FILE, "label": FILE}}, and "labeled_part" or "structures" if need '
            f"be, found {str(entry)[:80]}."
        )
    names = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    label = entry.get("label")
    if not names or not all(isinstance(n, str) and n for n in names) or not (label is None or isinstance(label, str)):
        raise InputError(f"{path}: {where}: image and label must be file names, image may be a list of them.")
    name = entry.get("name")
    if name is not None and (not isinstance(name, str) or not name.strip(". ") or {*name} & {*"/\\\0"}):
        raise InputError(f"{path}: {where}: name must be a name for the case's files, not {str(name)[:80]!r}.")
    labels = _listed_file(path, where, label) if label else None
    if len(names) == 1 and (channels := _channels_of(path, names[0])):
        return ListedCase(
            channels, labels, _labeling(path, where, entry), name or stem(Path(names[0].replace("\\", "/")))
        )
    images = tuple(_listed_file(path, where, n) for n in names)
    return ListedCase(images, labels, _labeling(path, where, entry), name)


def _named_entries(path: Path, entries: Any) -> list[ListedCase]:
    """The cases of nnU-Net's field "dataset"."""
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError(f'{path}: dataset: expected an object of {{"images": [FILE, ...], "label": FILE}} by case.')
    return [
        _entry(
            path,
            f"dataset.{shortened(name)}",
            {"name": name, **{"image" if k == "images" else k: v for k, v in entry.items()}},
        )
        for name, entry in entries.items()
    ]


def _channels_of(path: Path, name: str) -> tuple[Path, ...]:
    """The files ``CASE_0000``, ``CASE_0001``, ... of an image that is listed as ``CASE``, as nnU-Net v1 has it; none
    where that is a file itself."""
    listed = path.parent / name.replace("\\", "/")
    ending = volume_suffix(listed)
    try:
        if not ending or listed.exists():
            return ()
        numbered = (listed.with_name(f"{listed.name[: -len(ending)]}_{n:04d}{ending}") for n in range(_MOST_CHANNELS))
        return tuple(takewhile(Path.is_file, numbered))
    except (OSError, ValueError):  # from names that no file can have
        return ()


def _listed_file(path: Path, where: str, name: str) -> Path:
    """The file ``name`` as the list at ``path`` names it; Windows' separators are read everywhere."""
    try:
        file = next(f for f in (path.parent / name, path.parent / name.replace("\\", "/")) if f.exists())
    except (StopIteration, OSError, ValueError) as problem:  # the latter two from names that no file can have
        raise InputError(f"{path}: {where}: {shortened(path.parent / name)} does not exist.") from problem
    return file


def _labeling(path: Path, where: str, entry: dict[str, Any]) -> Labeling:
    part, structures = entry.get("labeled_part"), entry.get("structures")
    if part is not None and part not in get_args(LabeledPart):
        raise InputError(
            f"{path}: {where}: labeled_part is one of {', '.join(get_args(LabeledPart))}, not {quoted(part)}."
        )
    if structures is None:
        return Labeling(part)
    if (
        not isinstance(structures, list)
        or not structures
        or not all(isinstance(s, (str, int)) and not isinstance(s, bool) for s in structures)
    ):
        raise InputError(
            f"{path}: {where}: structures lists the names or values of the structures that were looked for in the "
            f"case, not {str(structures)[:80]}."
        )
    return Labeling(part, tuple(str(s) for s in structures))

"""JSON files that list the cases of a data set or name its labels: Decathlon's and nnU-Net's, and plain lists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from ..descriptions import LabeledPart
from ..errors import InputError
from ..files import check_fetched, stem, volume_suffix
from ..printable import quoted, shortened
from .labeling import Labeling, folded

#: What the entry of a case may hold.
ENTRY_KEYS = {"image", "label", "name", "labeled_part", "structures"}
#: Names that are no structure's.
_SPECIAL = ("background", "ignore")
#: So many numbered files are looked for.
_MOST_CHANNELS = 100


@dataclass(frozen=True)
class ListedCase:
    """The image files of a case (one a channel), its label file, what that says, and the case's name if it has one."""

    images: tuple[Path, ...]
    label: Path | None
    labeling: Labeling
    name: str | None = None


@dataclass(frozen=True)
class DeclaredLabels:
    """Label values and their names, without ``ignore``, the value of voxels without a label.

    ``background`` is a value above 0 whose name is background.
    """

    names: dict[int, str] = field(default_factory=dict)
    ignore: int | None = None

    @property
    def background(self) -> int | None:
        return background_value(self.names)


def background_value(names: dict[int, str]) -> int | None:
    """The value above 0 that is named background, if there is one."""
    return next((value for value, name in names.items() if value and name.strip().casefold() == "background"), None)


def listed_cases(path: Path) -> list[ListedCase] | None:
    """The cases that ``path`` lists, with paths relative to its folder.

    They are its "training" (Decathlon) or its "dataset" (nnU-Net v2, by name); None where it has neither.

    Raises:
        InputError: not JSON, of another form (the message names the entry), or a file that does not exist.
    """
    data = read_json(path)
    if isinstance(data, list):
        return [_entry(path, f"[{i}]", e) for i, e in enumerate(data)]
    data = _object(path, data)
    if "training" not in data:
        return _named_entries(path, data["dataset"]) if "dataset" in data else None
    if not isinstance(data["training"], list):
        raise InputError(f"{path}: training: expected a list of image and label pairs.")
    return [_entry(path, f"training[{i}]", e) for i, e in enumerate(data["training"])]


def declared_in(path: Path) -> DeclaredLabels:
    """The labels of a ``dataset.json`` of the Decathlon or nnU-Net v2 form, background included.

    nnU-Net's label "ignore" marks voxels without a label.

    Raises:
        InputError: not such a file.
    """
    table = _object(path, read_json(path)).get("labels")
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path}: labels: expected an object with a name for every label.")
    names: dict[int, str] = {}
    for key, value in table.items():
        if isinstance(value, int) and not isinstance(value, bool):
            names[value] = key
        elif isinstance(value, str) and _is_number(key):
            names[int(key)] = value
        elif isinstance(value, list):
            raise InputError(
                f"{path}: labels.{shortened(key)} is a region of the labels {quoted(value)}, as nnU-Net learns them. "
                "Regions that overlap are not learned here: give each label a name of its own, and join them "
                "afterwards."
            )
        else:
            raise InputError(
                f'{path}: labels.{shortened(key)}: expected "NAME": NUMBER or "NUMBER": "NAME", found {quoted(value)}.'
            )
    if len(names) != len(table):
        raise InputError(f"{path}: labels: two names have the same number.")
    if impossible := [value for value in names if not 0 <= value < 2**16]:
        raise InputError(
            f"{path}: labels.{shortened(names[impossible[0]])} is {shortened(impossible[0])}. Labels are 0 for the "
            "background and 1 to 65535 for structures."
        )
    ignore = next((value for value, name in names.items() if name.strip().casefold() == "ignore"), None)
    if ignore == 0:
        raise InputError(f"{path}: labels.ignore is 0, which is the background. Give it the highest number.")
    background, zero = background_value(names), names.get(0, "background")
    if background is not None and zero.strip().casefold() != "background":
        raise InputError(
            f"{path}: labels: {shortened(zero)} is 0, and background {background}. 0 is always the background: give "
            "the structure another number."
        )
    structures = Counter(name.strip().casefold() for value, name in names.items() if value) - Counter(["background"])
    if twice := [name for name, count in structures.items() if count > 1]:
        raise InputError(
            f"{path}: labels: two are called {shortened(twice[0])}. Give each structure a name of its own."
        )
    if nameless := [value for value, name in names.items() if not name.strip()]:
        raise InputError(f"{path}: labels: {nameless[0]} has no name.")
    return DeclaredLabels({value: name for value, name in sorted(names.items()) if value != ignore}, ignore)


def _is_number(key: str) -> bool:
    """Whether a key is the number of a label or channel; Python reads none of thousands of digits."""
    return key.isdecimal() and len(key) < 10


def declared_labels(paths: Iterable[Path], renamed: bool = False) -> DeclaredLabels:
    """What the ``dataset.json`` files among ``paths``, in one of them or beside one declare together; or nothing.

    Args:
        renamed: the values get other names, so that those of two files may differ.

    Raises:
        InputError: as :func:`declared_in`, or a value is one structure in one file and another one in the other.
    """
    together, first = DeclaredLabels(), Path()
    for path in _described_by(paths):
        declared = declared_in(path)
        if not together.names:
            together, first = declared, path
        elif declared != together:
            together = _joined(together, declared, f"{first} and {path}", renamed)
    return together


def _joined(one: DeclaredLabels, other: DeclaredLabels, where: str, renamed: bool) -> DeclaredLabels:
    """The labels of both; of their names those of ``one``.

    Raises:
        InputError: a value of one is another structure in the other.
    """
    names = _with_ignore(one)
    values = {folded(name): value for value, name in names.items()}
    for value, name in _with_ignore(other).items():
        called, told = names.get(value, name), ""
        if (first := values.get(folded(name), value)) != value:
            told = f"{shortened(name)} is {first} and {value}"
        elif folded(called) != folded(name) and not (renamed and {folded(called), folded(name)}.isdisjoint(_SPECIAL)):
            told = f"{value} is {shortened(called)} and {shortened(name)}"
        if told:
            raise InputError(
                f"{where} contradict each other: {told}. In data sets that are used together a structure has one name "
                "and one value: correct one of them, and its label maps."
            )
    return DeclaredLabels(other.names | one.names, one.ignore if other.ignore is None else other.ignore)


def _with_ignore(labels: DeclaredLabels) -> dict[int, str]:
    return labels.names | ({} if labels.ignore is None else {labels.ignore: "ignore"})


def declared_channels(paths: Iterable[Path]) -> tuple[str, ...]:
    """The names of the channels ("CT", "T2") that the ``dataset.json`` files of ``paths`` declare, in order.

    Decathlon's field is "modality", nnU-Net's "channel_names". () without any, or where two files differ.

    Raises:
        InputError: a field of another form.
    """
    declared = {_channels_in(path) for path in _described_by(paths)} - {()}
    return declared.pop() if len(declared) == 1 else ()


def _channels_in(path: Path) -> tuple[str, ...]:
    data = _object(path, read_json(path))
    field = "channel_names" if "channel_names" in data else "modality"
    channels = data.get(field, {})
    if not isinstance(channels, dict) or not all(_is_number(k) and isinstance(v, str) for k, v in channels.items()):
        raise InputError(f'{path}: {field}: expected {{"0": "CT", ...}}, the name of each channel.')
    return tuple(name for _, name in sorted(channels.items(), key=lambda channel: int(channel[0])))


def _described_by(paths: Iterable[Path]) -> Iterator[Path]:
    """For each of ``paths``, the ``dataset.json`` that it is, that lies in it or beside it."""
    for path in paths:
        for candidate in (path, path / "dataset.json", path.parent / "dataset.json"):
            if candidate.name == "dataset.json" and candidate.is_file():
                yield candidate
                break


def read_json(path: Path) -> Any:
    """The content of a JSON file that people write: in UTF-8 or 16, with or without a byte order mark.

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
        raise InputError(
            f"{path} is not a JSON file ({problem}). Correct it there, or give the folders of images and label maps."
        ) from problem


def _object(path: Path, data: Any) -> dict[str, Any]:
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

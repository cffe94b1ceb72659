"""Files that are the channels of one case by their names: ``CASE_0000``, or as dataset.json names them, ``CASE_T2``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import files
from ..errors import InputError


def check_channel_order(images: Sequence[Path], names: Sequence[str]) -> None:
    """Refuse files of a case, one a channel, that by their names are the channels ``names`` in another order, or of
    which one is given twice.

    Raises:
        InputError: saying which.
    """
    places = [os.path.realpath(image) for image in images]
    if twice := next((image for image, place in zip(images, places, strict=True) if places.count(place) > 1), None):
        raise InputError(f"{twice} is given for two channels of one case. Give each channel its own file.")
    stems = [files.stem(image) for image in images]
    order = {name.casefold(): index for index, name in enumerate(names)}
    known = [_named_channel(stem, names) for stem in stems]
    by_name = [order[name.casefold()] for name in known if name]
    numbers = [match for stem in stems if (match := re.fullmatch(r"(.*)_([0-9]{4})", stem))]
    by_number = [int(match[2]) for match in numbers] if len({match[1] for match in numbers}) == 1 else []
    for said in (by_name, by_number):
        if len({*said}) == len(images) > 1 and said != sorted(said):
            raise InputError(
                f"By their names, {', '.join(image.name for image in images)} are not the channels {', '.join(names)} "
                "in this order. Give them in the order of the channels."
            )


def _named_channel(stem: str, names: Sequence[str]) -> str | None:
    """Which of ``names`` ends a file's name, or is it."""
    either = "|".join(re.escape(name) for name in names)
    match = re.fullmatch(rf"(?:.+[_\-. ])?({either})", stem, re.IGNORECASE) if names else None
    return match[1] if match else None


def by_channel_names(volumes: Sequence[Path], declared: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Case name -> its files in the order of the ``declared`` channels, where a case has exactly one of each.

    A file's name ends with the channel's, in capitals or small letters, or is it ("" is then the case's name).
    """
    if len(declared) < 2:
        return {}
    names = "|".join(re.escape(name) for name in declared)
    order = {name.casefold(): index for index, name in enumerate(declared)}
    found: dict[str, dict[int, list[Path]]] = {}
    for file in volumes:
        if match := re.fullmatch(rf"(?:(.+)[_\-. ])?({names})", files.stem(file), re.IGNORECASE):
            found.setdefault(match[1] or "", {}).setdefault(order[match[2].casefold()], []).append(file)
    return {
        case: tuple(own[index][0] for index in range(len(declared)))
        for case, own in found.items()
        if len(own) == len(declared) and all(len(same) == 1 for same in own.values())
    }


def case_name(path: Path) -> str:
    """The case name of a file or a DICOM folder; never empty, since outputs are named after it."""
    there = path if path.name.strip(".") else path.resolve()  # "." and ".." are no names
    return files.stem(there) or "volume"


def grouped_by_channel(volumes: Sequence[Path], declared: Sequence[str] = ()) -> dict[str, tuple[Path, ...]]:
    """Case name -> its files, one a channel. Files ``CASE_0000``, ``CASE_0001`` are one case when they begin at 0, as
    are those with the names of all ``declared`` channels; other names are a case each.

    Raises:
        InputError: two cases of one name, or cases that differ in their channels.
    """
    named = {name: images for name, images in by_channel_names(volumes, declared).items() if name}
    groups = {name: [*images] for name, images in named.items()}
    taken = {image for images in named.values() for image in images}
    stems = {files.stem(f) for f in volumes}
    for file in [f for f in volumes if f not in taken]:
        name = case_name(file)
        base, _, number = name.rpartition("_")
        if base and len(number) == 4 and number.isdecimal() and f"{base}_0000" in stems:
            groups.setdefault(base, []).append(file)
        elif name in groups:
            raise InputError(f"Two cases are named {name}: {groups[name][0]} and {file}. Rename or leave out one.")
        else:
            groups[name] = [file]
    usual = Counter(len(g) for g in groups.values()).most_common(1)[0][0] if groups else 0
    for name, group in groups.items():
        if len(group) != usual:
            raise InputError(
                f"Case {name} has {len(group)} channel file(s), the others {usual}. Complete it, or take it out of "
                f"{group[0].parent}."
            )
    # By the numbers: files that were named one by one may lie in folders of any order.
    numbered = {
        name: sorted(group, key=files.stem) for name, group in groups.items() if name not in named and len(group) > 1
    }
    _check_numbers(numbered)
    return {name: named.get(name) or tuple(numbered.get(name, group)) for name, group in groups.items()}


def _check_numbers(numbered: Mapping[str, Sequence[Path]]) -> None:
    """Refuse cases of which one has other channels than the others, or one channel twice."""
    numbers = {name: [files.stem(f).removeprefix(name) for f in group] for name, group in numbered.items()}
    for name, own in numbers.items():
        if "" in own or len({*own}) < len(own):
            first, second = (file.name for file in numbered[name][:2])
            raise InputError(f"Two files are one image of case {name}, such as {first} and {second}. Give one.")
        other, theirs = next(iter(numbers.items()))
        if own != theirs:
            raise InputError(
                f"Case {name} has the channels {_listed(own)}, and {other} {_listed(theirs)}. Give the same ones of "
                "each case."
            )


def _listed(numbers: Sequence[str]) -> str:
    return ", ".join(number.strip("_") for number in numbers)

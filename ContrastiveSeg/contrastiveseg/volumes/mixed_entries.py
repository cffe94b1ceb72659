"""Whether the files of an entry of a list are of one patient, as far as their names and folders say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .. import files
from ..errors import InputError
from .dataset_json import ListedCase
from .pairing import matching_case, without_label_words

#: The number of a channel behind a case's name.
_CHANNEL = re.compile(r"_[0-9]{4}$")


def check_entries(path: Path, listed: Sequence[ListedCase]) -> None:
    """Refuse a list of which an entry has files that by their names are of two cases.

    Args:
        path: the list.

    Raises:
        InputError: naming the two files.
    """
    _check_label_maps(path, listed)
    own = _own_words(listed)
    for column in zip(*(_padded(case, listed) for case in listed), strict=True):
        _check_column(path, listed, own, column)
        _check_numbers(path, listed, column)


def _check_label_maps(path: Path, listed: Sequence[ListedCase]) -> None:
    """Refuse a list that gives an image the label map that has the name of another of its images."""
    stems = [files.stem(case.images[0]).removesuffix("_0000") for case in listed]
    for case, own in zip(listed, stems, strict=True):
        other = matching_case(files.stem(case.label), set(stems)) if case.label else None
        if case.label and other not in (None, own):
            raise InputError(
                f"{path} gives {case.images[0].name} the label map {case.label.name}, which has the name of another of "
                "its images. Correct the list; if it is right, name that label map otherwise."
            )


def _padded(case: ListedCase, listed: Sequence[ListedCase]) -> list[Path | None]:
    """Its label map, and its images after the first, as many as there are in any entry."""
    most = max(len(other.images) for other in listed)
    return [case.label, *case.images[1:], *[None] * (most - len(case.images))]


def _own_words(listed: Sequence[ListedCase]) -> list[frozenset[str]]:
    """What tells each entry's first image from those of the others: the words of its path that not all have."""
    words = [_words(case.images[0]) for case in listed]
    common = frozenset.intersection(*words) if words else frozenset()
    return [own - common for own in words]


def _words(path: Path) -> frozenset[str]:
    """Words and numbers of a file's name and folders; 01 is 1."""
    text = str(path.parent / files.stem(path)).casefold()
    return frozenset(re.sub("[0-9]+", lambda n: n[0].lstrip("0") or "0", word) for word in re.findall(r"[^\W_]+", text))


def _check_column(
    path: Path, listed: Sequence[ListedCase], own: Sequence[frozenset[str]], column: Sequence[Path | None]
) -> None:
    """Refuse a file that has the words of another entry, or numbers of its own where the others have their entry's.

    Args:
        column: the label map, or the image of one channel, of each entry.
    """
    found = [_words(file) if file else frozenset() for file in column]
    fits = [bool(mine) and mine <= words for mine, words in zip(own, found, strict=True)]
    usual = 2 * sum(fits) >= sum(file is not None for file in column)
    for number, file in enumerate(column):
        if file is None or fits[number] or not own[number]:
            continue
        of_another = any(other and other <= found[number] for other in own)
        apart = _digits(own[number]) and _digits(found[number] - _common(found)) and not own[number] & found[number]
        if of_another or (any(fits) and usual and apart):
            raise _mixed(path, listed[number].images[0], file)


def _common(found: Sequence[frozenset[str]]) -> frozenset[str]:
    there = [words for words in found if words]
    return frozenset.intersection(*there)


def _digits(words: frozenset[str]) -> bool:
    return any(character.isdecimal() for word in words for character in word)


def _check_numbers(path: Path, listed: Sequence[ListedCase], column: Sequence[Path | None]) -> None:
    """Refuse a file whose name differs from that of its entry's image in the number of the case alone: ``la_003`` and
    ``la_007``.

    A number in which the files of most entries differ is that of a sequence or a version, as in ``sub-03_T1w`` and
    ``sub-03_T2w_seg``. In a list of one entry, numbers of one digit may be that.
    """
    apart = [_numbers_apart(case, file) for case, file in zip(listed, column, strict=True)]
    compared = [numbers for numbers in apart if numbers is not None]
    for case, file, numbers in zip(listed, column, apart, strict=True):
        for place, digits in (numbers or {}).items():
            usual = 2 * sum(place in others for others in compared) > len(compared)
            if file and (digits > 1 if len(compared) == 1 else not usual):
                raise _mixed(path, case.images[0], file)


def _numbers_apart(case: ListedCase, file: Path | None) -> dict[tuple[str, int], int] | None:
    """The numbers in which ``file`` and the entry's first image differ: where each is, and how many digits it has.

    None if they are not called alike but for numbers. Names tell where they have any, else the folders.
    """
    if file is None or file == case.images[0]:
        return None
    stems = [files.stem(one) for one in (case.images[0], file)]
    first, other = (_CHANNEL.sub("", without_label_words(stem)) for stem in stems)
    if not _digits(frozenset((first, other))):  # files are called alike in every patient's folder
        return _differences("folder", case.images[0].parent.name, file.parent.name)
    numbered = all(_CHANNEL.search(stem) for stem in stems)
    return _differences("name", first, other) if numbered or file == case.label else None


def _differences(where: str, first: str, other: str) -> dict[tuple[str, int], int] | None:
    if len({re.sub("[0-9]+", "#", name.casefold()) for name in (first, other)}) > 1:
        return None
    pairs = zip(*(re.findall("[0-9]+", name) for name in (first, other)), strict=True)
    return {(where, i): max(len(a), len(b)) for i, (a, b) in enumerate(pairs) if int(a) != int(b)}


def _mixed(path: Path, first: Path, other: Path) -> InputError:
    return InputError(
        f"{path} has {first} and {other} in one entry, which by their names are of two cases. Correct the list; if it "
        "is right, name one of them otherwise."
    )

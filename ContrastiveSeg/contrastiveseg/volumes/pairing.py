"""Which files belong together by their names: label maps and images, predictions and references."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import InputError

#: What label files carry behind or before the case name, as ``CASE_seg`` or ``mask-CASE``, in any case of letters.
_LABEL_WORDS = "(?:segmentations?|seg|labels?|labelmap|lbl|masks?|gt|annotations?)"
_LABEL_ENDING = re.compile(rf"[_\-. ]{_LABEL_WORDS}$", re.IGNORECASE)
_LABEL_BEGINNING = re.compile(rf"^{_LABEL_WORDS}[_\-. ]", re.IGNORECASE)


def volume_files(folder: Path) -> list[Path]:
    """The volume files of ``folder``, sorted, without hidden ones (other systems' ``._case.nii.gz``)."""
    return sorted(f for f in folder.iterdir() if not f.name.startswith(".") and _is_volume_file(f))


def _is_volume_file(file: Path) -> bool:
    """By its name. A link to what is gone is one, to be named when it is read; an .img is one beside its .hdr."""
    suffix = files.volume_suffix(file)
    if not suffix or not (file.is_file() or file.is_symlink()):
        return False
    return suffix != ".img" or file.with_suffix(".hdr").is_file()


def names_a_label_map(path: Path) -> bool:
    """Whether a file is a label map by its name alone: ``x.seg.nrrd``, ``segmentation``, ``CASE_mask``, ..."""
    name = files.stem(path)
    words = (_LABEL_ENDING.search(name), _LABEL_BEGINNING.search(name), re.fullmatch(_LABEL_WORDS, name, re.IGNORECASE))
    return files.volume_suffix(path) == ".seg.nrrd" or any(words)


def matching_case(name: str, cases: Container[str]) -> str | None:
    """Which of ``cases`` a file's ``name`` (without its file ending) is, with or without ``_seg``, ``_mask``, ..."""
    candidates = [name]
    for candidate in candidates:  # grows: CASE_seg-label is CASE, too
        shorter = (_LABEL_ENDING.sub("", candidate), _LABEL_BEGINNING.sub("", candidate))
        candidates += [case for case in shorter if case and case not in candidates]
    return next((case for case in candidates if case in cases), None)


def without_label_words(name: str) -> str:
    """A file's ``name`` without ``_seg``, ``mask-`` and the like."""
    return _LABEL_BEGINNING.sub("", _LABEL_ENDING.sub("", name))


def labels_by_case(labels: Iterable[Path], cases: Collection[str]) -> dict[str, Path]:
    """Case name -> label file; label files of none of the ``cases`` are left out.

    Raises:
        InputError: two label files for one case.
    """
    paired: dict[str, Path] = {}
    for file in labels:
        case = matching_case(files.stem(file), cases)
        if case in paired:
            raise InputError(f"Case {case} has two label files: {paired[case].name} and {file.name}. Give one.")
        if case is not None:
            paired[case] = file
    return paired


def labels_by_image(labels: Iterable[Path], images: Mapping[str, Path]) -> dict[str, Path]:
    """Case name -> label file, of those that have all of the name of the case's only image, as ``CASE_0000``."""
    by_name = {files.stem(label): label for label in labels}
    return {case: by_name[name] for case, image in images.items() if (name := files.stem(image)) in by_name}


def labels_in_order(labels: Sequence[Path], cases: Sequence[str]) -> dict[str, Path]:
    """Case name -> label file, for as many files named one by one as there are ``cases``, none of which is named alike.

    Names of cases within the files' names decide; without any, the order does.

    Raises:
        InputError: names or numbers in them speak against the order.
    """
    within = [[case for case in cases if _holds_word(files.stem(file), case)] for file in labels]
    if any(within):
        by_name = {own[0]: file for own, file in zip(within, labels, strict=True) if len(own) == 1}
        if len(by_name) == len(cases):
            return by_name
    for case, file in zip(cases, labels, strict=True):
        numbers, own = set(_numbers(case)), set(_numbers(files.stem(file)))
        if any(within) or (numbers and own and not numbers & own):
            raise InputError(
                f"Which label map belongs to which image? By its name, {file.name} may not be that of {case}. Name "
                'each label map like its image, or list the pairs in a JSON file ([{"image": ..., "label": ...}, ...]).'
            )
    return dict(zip(cases, labels, strict=True))


def _holds_word(text: str, word: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text, re.IGNORECASE) is not None


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall("[0-9]+", name)]


@dataclass(frozen=True)
class FolderPairs:
    """The volume files of two folders, paired by case name; ``only_first`` and ``only_second`` have no partner."""

    pairs: dict[str, tuple[Path, Path]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def paired_files(first: Mapping[str, Path], second: Mapping[str, Path]) -> FolderPairs:
    """Pair the files of two folders, by case. Either name may have ``_seg``, ``_mask`` and the like.

    Raises:
        InputError: two files of one side are for the same case.
    """
    second_files = _without_label_endings(second, first)
    first_files = _without_label_endings(first, second_files)
    return FolderPairs(
        {case: (first_files[case], second_files[case]) for case in second_files if case in first_files},
        tuple(case for case in first_files if case not in second_files),
        tuple(case for case in second_files if case not in first_files),
    )


def files_by_case(folder: Path) -> dict[str, Path]:
    """The volume files of ``folder`` by their names, whose endings may differ.

    Raises:
        InputError: two are for the same case.
    """
    cases: dict[str, Path] = {}
    for path in volume_files(folder):
        _add(cases, files.stem(path), path)
    return cases


def _without_label_endings(cases: Mapping[str, Path], others: Collection[str]) -> dict[str, Path]:
    """``cases`` with ``CASE_seg`` named ``CASE`` where only that has a partner in ``others``."""
    renamed: dict[str, Path] = {}
    for name, path in cases.items():
        case = matching_case(name, others)
        _add(renamed, name if case is None or case in cases else case, path)
    return renamed


def _add(cases: dict[str, Path], case: str, path: Path) -> None:
    if case in cases:
        raise InputError(f"{cases[case]} and {path.name} are two files for case {case}. Keep one of them.")
    cases[case] = path

"""Which files belong together by their names: label maps and images, predictions and references."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import InputError

#: What label files carry behind the case name, in some data sets.
LABEL_ENDINGS = ("_segmentation", "_label", "_seg", "_gt", "-label", "-seg")


def volume_files(folder: Path) -> list[Path]:
    """The volume files of ``folder``, sorted, without hidden ones (other systems' ``._case.nii.gz``)."""
    return sorted(f for f in folder.iterdir() if not f.name.startswith(".") and _is_volume_file(f))


def _is_volume_file(file: Path) -> bool:
    """By its name. A link to what is gone is one, to be named when it is read; an .img is one beside its .hdr."""
    suffix = files.volume_suffix(file)
    if not suffix or not (file.is_file() or file.is_symlink()):
        return False
    return suffix != ".img" or file.with_suffix(".hdr").is_file()


def matching_case(name: str, cases: Collection[str]) -> str | None:
    """Which of ``cases`` a file's ``name`` (without its file ending) is, with or without one of LABEL_ENDINGS."""
    candidates = (name.removesuffix(ending) for ending in ("", *LABEL_ENDINGS) if name.endswith(ending))
    return next((case for case in candidates if case in cases), None)


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


@dataclass(frozen=True)
class FolderPairs:
    """The volume files of two folders, paired by case name; ``only_first`` and ``only_second`` have no partner."""

    pairs: dict[str, tuple[Path, Path]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def pair_folders(first: Path, second: Path) -> FolderPairs:
    """Pair the files of two folders. File endings may differ, and either name may have one of LABEL_ENDINGS.

    Raises:
        InputError: two files of one folder are for the same case.
    """
    first_files = _by_stem(first)
    second_files = _without_label_endings(_by_stem(second), first_files)
    first_files = _without_label_endings(first_files, second_files)
    return FolderPairs(
        {case: (first_files[case], second_files[case]) for case in second_files if case in first_files},
        tuple(case for case in first_files if case not in second_files),
        tuple(case for case in second_files if case not in first_files),
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    cases: dict[str, Path] = {}
    for path in volume_files(folder):
        _add(cases, files.stem(path), path)
    return cases


def _without_label_endings(cases: dict[str, Path], others: Collection[str]) -> dict[str, Path]:
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

"""Labels by the names of their segments: a structure has one value in all cases, whatever number its files give it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import files
from ..errors import InputError, together
from ..events import Emit, warning
from .dataset import CaseFiles
from .labeling import folded
from .plausible_labels import check_no_image
from .reading import read_labels
from .segments import NamedLabel, Segment, segments_of
from .volume import Geometry, LabelMap, label_type

#: Names that Slicer gives unasked, and numbers: they name no structure.
_GENERIC = re.compile(r"(segment|segmentation|label|labels|mask|structure|region|untitled)?[ _-]*\d*")


def read_case_labels(case: CaseFiles, geometry: Geometry) -> LabelMap:
    """The label map of ``case`` on the grid of its image, as its labeling says; structures have their common values.

    Raises:
        InputError: as :func:`.reading.read_labels`, gray values of an image, or a segment without a name has the value
            of another structure.
    """
    assert case.labels is not None
    label_map = read_labels(case.labels, geometry)
    check_no_image(case.labels, label_map.array)
    return case.labeling.apply(_with_common_values(case, label_map))


def with_background_painted(case: CaseFiles) -> CaseFiles:
    """``case`` with the value of painted background left as it is."""
    return replace(case, labeling=replace(case.labeling, background=None))


def _with_common_values(case: CaseFiles, label_map: LabelMap) -> LabelMap:
    changed = {label.stored: label.value for label in case.named if label.stored != label.value}
    if not changed:
        return label_map
    known = {label.stored for label in case.named}
    stored = np.flatnonzero(np.bincount(label_map.array.ravel()))
    for value in stored:
        if value and value not in known and value in changed.values():
            raise InputError(
                f"{case.labels}: the value {value} has no name there and is {_named(case, int(value))!r} in other "
                "cases. Name its segment."
            )
    lookup = np.arange(int(stored.max()) + 1)
    for before, after in changed.items():
        lookup[before : before + 1] = after
    array = lookup[label_map.array].astype(label_type(int(lookup.max())))
    return replace(label_map, array=array)


def with_common_values(
    cases: Sequence[CaseFiles], declared: Mapping[int, str], where: str, emit: Emit
) -> list[CaseFiles]:
    """``cases``, whose label files name segments, with the value that each structure has in all of them.

    That is the one under which ``declared`` has its name; without declared names the most usual one. Values that are
    not the same in all files are warned of. Names in capitals and small letters are the same. Label files without names
    keep their values.

    Args:
        where: where the ``declared`` values and names are from, for messages.

    Raises:
        InputError: a segment has a value that is declared with another name, or values differ between the files with
            names so that those without are ambiguous.
    """
    named: list[tuple[Segment, ...]] = []
    refused: list[InputError] = []
    for case in cases:
        try:
            named.append(_named_segments(case))
        except InputError as problem:
            refused.append(problem)
    if refused:
        raise together(refused)
    if _only_case_names(named):
        named = [()] * len(cases)
    if declared:
        values = {folded(name): value for value, name in declared.items() if value}
        spelled = {folded(name): name for name in declared.values()}
        _check_declared(cases, named, values, declared, where)
    else:
        values = _usual_values(named)
        spelled = {folded(segment.name): segment.name for segments in reversed(named) for segment in segments}
        _check_unnamed(cases, named, values)
    changed = [
        replace(
            case,
            named=tuple(
                NamedLabel(spelled.get(key, segment.name), segment.value, values.get(key, segment.value))
                for segment in segments
                for key in [folded(segment.name)]
            ),
        )
        for case, segments in zip(cases, named, strict=True)
    ]
    _warn_of_other_numbers(changed, emit)
    return changed


def _check_declared(
    cases: Sequence[CaseFiles],
    named: Sequence[Sequence[Segment]],
    values: Mapping[str, int],
    declared: Mapping[int, str],
    where: str,
) -> None:
    """Refuse a segment that has another name in its file than its value is ``declared`` with."""
    for case, segments in zip(cases, named, strict=True):
        for segment in segments:
            if folded(segment.name) not in values and segment.value in declared:
                raise InputError(
                    f"{case.labels}: the value {segment.value} is {segment.name!r}, and in {where} it is "
                    f"{declared[segment.value]!r}. Give the structure the same name in both."
                )


def check_same_numbers(paths: Iterable[Path], others: Mapping[str, Mapping[int, str]] | None = None) -> None:
    """Refuse one name of a structure for different values: what goes by the value would be another structure's.

    Args:
        paths: label files, of which the segments have names.
        others: where else values have names, in words -> value -> name.

    Raises:
        InputError: naming the structure and where it has which value.
    """
    named = [(where, name, value) for where, names in (others or {}).items() for value, name in names.items()]
    for path in paths:
        with suppress(InputError, OSError):  # what is damaged is named where it is read
            named += [(str(path), segment.name, segment.value) for segment in segments_of(path)]
    known: dict[str, tuple[int, str]] = {}
    for where, name, value in named:
        # Background may be painted, besides 0.
        if _GENERIC.fullmatch(folded(name)) or folded(name) == "background":
            continue
        first, other = known.setdefault(folded(name), (value, where))
        if first != value:
            raise InputError(
                f"{name!r} has the value {first} in {other} and {value} in {where}: one would be taken for another "
                "structure. Give it the same value in both."
            )


def names_of(cases: Sequence[CaseFiles]) -> dict[int, str]:
    """Values and names of the named segments of ``cases``."""
    return {label.value: label.name for case in cases for label in case.named}


def _warn_of_other_numbers(cases: Sequence[CaseFiles], emit: Emit) -> None:
    moved = [case for case in cases if any(label.stored != label.value for label in case.named)]
    if moved:
        stored = ", ".join(f"{label.stored} {label.name}" for label in moved[0].named)
        learned = ", ".join(f"{value} {name}" for value, name in sorted(names_of(cases).items()))
        emit(
            warning(
                f"The numbers of the segments differ between the label files (in {moved[0].name}: {stored}). They are "
                f"learned by their names: {learned}."
            )
        )


def _named(case: CaseFiles, value: int) -> str:
    return next(label.name for label in case.named if label.value == value)


def _named_segments(case: CaseFiles) -> tuple[Segment, ...]:
    """The segments of ``case`` whose names say what they are: not "Segment_1", and not the name of the case."""
    if case.labels is None:
        return ()
    own = {folded(case.name), folded(files.stem(case.labels))}
    return tuple(
        segment
        for segment in segments_of(case.labels)
        if not _GENERIC.fullmatch(folded(segment.name))
        and not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", folded(segment.name)) for name in own)
    )


def _only_case_names(named: Sequence[Sequence[Segment]]) -> bool:
    """Whether the files hold one structure each with the same value, and no two name it alike: names of patients."""
    single = [segments[0] for segments in named if segments]
    names = {folded(segment.name) for segment in single}
    return (
        len(single) > 1
        and all(len(segments) <= 1 for segments in named)
        and len(names) == len(single)
        and len({segment.value for segment in single}) == 1
    )


def _usual_values(named: Sequence[Sequence[Segment]]) -> dict[str, int]:
    """A value for each name, the most usual that is free, the most usual names first."""
    uses: dict[str, Counter[int]] = {}
    for segments in named:
        for segment in segments:
            uses.setdefault(folded(segment.name), Counter())[segment.value] += 1
    values: dict[str, int] = {}
    used = {value for counts in uses.values() for value in counts}
    for name, counts in sorted(uses.items(), key=lambda item: -item[1].total()):
        free = [value for value, _ in counts.most_common() if value not in values.values()]
        values[name] = free[0] if free else max(used) + 1
        used.add(values[name])
    return values


def _check_unnamed(cases: Sequence[CaseFiles], named: Sequence[Sequence[Segment]], values: Mapping[str, int]) -> None:
    unnamed = [case for case, segments in zip(cases, named, strict=True) if case.labels and not segments]
    for case, segments in zip(cases, named, strict=True):
        for segment in segments:
            if unnamed and values[folded(segment.name)] != segment.value:
                raise InputError(
                    f"The label files give one structure different numbers ({segment.name!r} has {segment.value} in "
                    f"{case.name} and {values[folded(segment.name)]} in others), and {unnamed[0].name} has no names "
                    "to tell them apart. Name its segments, or give all files the same numbers."
                )

"""Structures that other cases have and one lacks: not drawn there, or absent from the patient."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import slicer

from ..mrml.segments import segments_of
from .cases import Case, Structure
from .corrections import taught_segments
from .labeled_parts import is_background
from .pairing import same_name

#: Attribute of a segmentation: the names (:func:`.pairing.same_name`) of structures that the user says are absent.
ABSENT = "ContrastiveSeg.Absent"
#: A structure is asked about if this share of the labeled cases and two of them have it, as the engine does.
_USUAL = 1 / 3


@dataclass(frozen=True)
class MissingStructure:
    """A structure to learn that a labeled case lacks although it is usual, or was begun and is not taught yet.

    Attributes:
        name: what it is learned as.
        absent: the user says that the patient has none. Otherwise it counts as not drawn: it may be anywhere in the
            background of this case.
    """

    case: Case
    name: str
    absent: bool


def missing_structures(
    cases: Sequence[Case], structures: Sequence[Structure], empty: Mapping[str, Collection[str]]
) -> list[MissingStructure]:
    """What is missing in which case, case by case.

    Args:
        empty: ID of a volume -> IDs of the segments of its segmentation that have no voxels.
    """
    drawn = _drawn(cases, structures, empty)
    count = {name: sum(name in there for there in drawn.values()) for name in set().union(*drawn.values())}
    usual = {name for name, cases_with in count.items() if cases_with >= max(2, _USUAL * len(drawn))}
    names = {same_name(s.learn_as): s.learn_as for s in reversed(structures)}
    return [
        MissingStructure(case, names[name], name in _absent(case.segmentation_id))
        for case in cases
        if case.volume_id in drawn
        for name in names
        if name in (usual | _begun(case, structures)) - drawn[case.volume_id]
    ]


def say_absent(missing: MissingStructure, absent: bool) -> None:
    """The user says whether the patient has none, or it was not drawn."""
    node = slicer.mrmlScene.GetNodeByID(missing.case.segmentation_id)
    if node is not None:
        said = _absent(missing.case.segmentation_id) - {same_name(missing.name)}
        said |= {same_name(missing.name)} if absent else set()
        node.SetAttribute(ABSENT, json.dumps(sorted(said)))


def _drawn(
    cases: Sequence[Case], structures: Sequence[Structure], empty: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """ID of the volume of a labeled case with something to learn -> names of the structures drawn in it."""
    found: dict[str, set[str]] = {}
    for case in cases:
        if case.labeled:
            segments = {
                segment: same_name(structure.learn_as)
                for structure in structures
                if structure.learn and not is_background(structure.learn_as)
                for segmentation, segment in structure.segments
                if segmentation == case.segmentation_id
            }
            if segments:
                nothing = empty.get(case.volume_id, ())
                found[case.volume_id] = {name for segment, name in segments.items() if segment not in nothing}
    return found


def _begun(case: Case, structures: Sequence[Structure]) -> set[str]:
    """Names of the structures whose segments in a corrected result are not completed, and so are not taught."""
    node = slicer.mrmlScene.GetNodeByID(case.segmentation_id)
    names = {structure.key: same_name(structure.learn_as) for structure in structures if structure.learn}
    taught = taught_segments(node)
    begun = [segment for segment in segments_of(node) if segment not in taught]
    return {names[same_name(segment.name)] for segment in begun if same_name(segment.name) in names}


def _absent(segmentation_id: str | None) -> set[str]:
    node = slicer.mrmlScene.GetNodeByID(segmentation_id) if segmentation_id else None
    try:
        names = json.loads((node and node.GetAttribute(ABSENT)) or "[]")
    except ValueError:
        names = []
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()

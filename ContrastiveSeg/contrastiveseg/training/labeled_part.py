"""What the labels of a fine-tuning leave open: parts of volumes without a label, structures that were not drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .. import events
from ..checkpoints.card import Label
from ..checkpoints.learned_cases import first_names
from ..data.cached_case import CachedCase
from ..descriptions import FinetuneJob
from ..errors import InputError
from ..volumes.dataset import CaseFiles

#: A structure is asked about where a case lacks it, if at least this share of the cases and two of them have it.
_USUAL = 1 / 3


def check_labeled_part(cases: Sequence[CachedCase], emit: events.Emit) -> None:
    """Say which part of the labeled ``cases`` is labeled, and warn of label maps that look as if slices were left out.

    Raises:
        InputError: no voxel at all is labeled as background.
    """
    if not any(case.background for case in cases):
        raise InputError(
            "No voxel is labeled as background: the network would find structures everywhere. Paint some background as "
            "a segment named background (in dataset.json or the label table, else --background-label), or label whole "
            "slices (--labeled-part slices)."
        )
    partly = [case for case in cases if case.labeled < 1]
    for case in partly:
        part = str(case.slices) if case.slices else "a part"
        emit(events.log(f"{case.name}: {part} labeled ({case.labeled:.1%} of the voxels); the rest is left out."))
    suspected = [case for case in cases if case.labeled == 1 and case.slices]
    if suspected:
        names, first = first_names([case.name for case in suspected]), suspected[0]
        emit(
            events.warning(
                f"{len(suspected)} of {len(cases)} label maps look like a few labeled slices ({names}; {first.slices} "
                f"of {first.name} are painted). What is not painted is learned as background. If the other slices are "
                "not labeled, say --labeled-part slices."
            )
        )


def with_structures(
    job: FinetuneJob,
    files: Sequence[CaseFiles],
    cases: Sequence[CachedCase],
    labels: Sequence[Label],
    emit: events.Emit,
) -> tuple[list[CaseFiles], list[CachedCase]]:
    """``files`` and ``cases``, each with the values of the structures that were looked for where not all were.

    Raises:
        InputError: a case names a structure that there is none of, or has one painted that it does not name.
    """
    told = [looked_for(job, case, cached.values or (), labels) for case, cached in zip(files, cases, strict=True)]
    for label in labels:
        _ask_about(label, cases, told, emit)
    listed = [
        dataclasses.replace(
            case, labeling=dataclasses.replace(case.labeling, structures=None if v is None else tuple(map(str, v)))
        )
        for case, v in zip(files, told, strict=True)
    ]
    return listed, [dataclasses.replace(case, structures=v) for case, v in zip(cases, told, strict=True)]


def looked_for(
    job: FinetuneJob, case: CaseFiles, painted: Sequence[int], labels: Sequence[Label]
) -> tuple[int, ...] | None:
    """The values that were looked for in a case, None for all; ``painted`` are those in its label map.

    Raises:
        InputError: it names a structure that there is none of, or has one painted that it does not name.
    """
    every = {label.value for label in labels}
    if case.labeling.structures is None:
        return tuple(painted) if job.missing_structures == "not-drawn" and set(painted) != every else None
    by_name = {str(label.value): label.value for label in labels} | {label.name: label.value for label in labels}
    unknown = [name for name in case.labeling.structures if name not in by_name]
    if unknown:
        known = ", ".join(f"{label.name} ({label.value})" for label in labels)
        raise InputError(
            f"Case {case.name} names the structure {unknown[0]!r}, which no label map has. There are: {known}."
        )
    values = tuple(sorted({by_name[name] for name in case.labeling.structures}))
    for label in labels:
        if label.value in painted and label.value not in values:
            raise InputError(
                f"Case {case.name} has {label.name} painted, but its structures do not name it. Add it there, or take "
                "it out of the label map."
            )
    return None if set(values) == every else values


def _ask_about(
    label: Label, cases: Sequence[CachedCase], told: Sequence[tuple[int, ...] | None], emit: events.Emit
) -> None:
    """Warn where a structure that other cases have is taught as absent, and nobody said whether it was looked for."""
    have = [case for case in cases if label.value in (case.values or ())]
    lack = [c.name for c, t in zip(cases, told, strict=True) if label.value not in (c.values or ()) and t is None]
    if lack and len(have) >= max(2, _USUAL * len(cases)):
        emit(
            events.warning(
                f"{label.name} is painted in {len(have)} of {len(cases)} cases and not in {first_names(lack)}, where "
                "it is learned as absent. If it is there but was not drawn, say --missing-structures not-drawn, or "
                'list the "structures" that were looked for in the entries of these cases.'
            )
        )

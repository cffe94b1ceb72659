"""What a fine-tuning is to learn: its cases, which of them are held out, and the labels with their names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import events
from ..checkpoints.card import Card, Label
from ..checkpoints.learned_cases import first_names, learned_cases
from ..data.cached_case import CachedCase
from ..data.cached_volumes import CachedVolumes
from ..descriptions import FinetuneJob
from ..errors import InputError
from ..methods.method import SegmentationMethod
from ..methods.registry import methods_of
from ..planning.plan import Plan
from ..printable import quoted
from ..serialization import from_json
from ..volumes.dataset import CaseFiles, check_labels_chosen
from ..volumes.dataset_json import read_json
from ..volumes.declared_labels import background_value, declared_labels
from ..volumes.left_out import tell_left_out
from ..volumes.named_labels import check_same_numbers, names_of, with_common_values
from .label_checks import (
    check_background_drawn,
    check_same_values,
    tell_unused_maps,
    warn_of_copies,
    warn_of_corners,
    warn_of_other_count,
    warn_of_rare_labels,
    warn_of_shared_maps,
    warn_of_void,
)
from .labeled_part import check_labeled_part, with_structures
from .run import Run
from .setup import cases_of, prepared


@dataclass(frozen=True)
class Task:
    """The data of a run: ``source`` holds the labeled cases, in the order of ``files``, then the unlabeled ones."""

    files: list[CaseFiles]
    source: CachedVolumes
    labels: tuple[Label, ...]


def labeled_cases(job: FinetuneJob, found: Sequence[CaseFiles], emit: events.Emit) -> list[CaseFiles]:
    """Those of the cases ``found`` for ``job`` that have a label map.

    They say what of each is labeled, and which values its named structures have.

    Raises:
        InputError: there are none, or one of several of a case, the names of the labels cannot be read, or those in the
            label files contradict them or one another.
    """
    check_labels_chosen(found)
    cases = [case for case in found if case.labels]
    if not cases:
        raise InputError(
            "None of the volumes has a label map. Give --labels, or a dataset.json that names them. Where each "
            "structure has a file of its own, put those of a case together into one label map first."
        )
    tell_unused_maps(job.images, found, emit)
    beside = [Path(path) / "labelsTr" for path in job.images]
    tell_left_out(dict.fromkeys([*map(Path, (*job.images, *job.unlabeled, *job.labels)), *beside]), emit)
    warn_of_other_count(map(Path, job.images), found, emit)
    names = named_labels(job)
    declared = {**names.names, **({} if names.ignore is None else {names.ignore: "ignore"})}
    cases = with_common_values(cases, declared, names.where, emit)
    named = names.background or background_value(names_of(cases))
    background = _background_label(job, declared, names.where, named) or named
    labelings = [
        dataclasses.replace(
            case.labeling, part=case.labeling.part or job.labeled_part, ignore=names.ignore, background=background
        )
        for case in cases
    ]
    return [dataclasses.replace(case, labeling=how) for case, how in zip(cases, labelings, strict=True)]


def _background_label(job: FinetuneJob, declared: Mapping[int, str], where: str, named: int | None) -> int | None:
    """The value that the job gives painted background, None where it names none; ``named`` is called so already."""
    value = job.background_label
    name = declared.get(value, "background") if value is not None else "background"
    if name.strip().casefold() != "background":
        raise InputError(f"--background-label {value}: {where} calls this label {name}. Give the value of background.")
    if value is not None and named not in (None, value):
        raise InputError(f"--background-label {value}: the label {named} is named background. Leave the option out.")
    return value


def unlabeled_cases(
    job: FinetuneJob, found: Sequence[CaseFiles], method: type[SegmentationMethod], emit: events.Emit
) -> list[CaseFiles]:
    """The cases of ``job.unlabeled``, without any labels beside them, and those ``found`` that have no label map.

    The latter are left out if the method learns from labels only, and logged in any case.

    Raises:
        InputError: the method learns from labels only, and ``job.unlabeled`` names volumes.
    """
    without = [case for case in found if not case.labels]
    if without:
        use = "learned from without labels" if method.uses_unlabeled else "left out"
        emit(
            events.log(
                f"{len(without)} of {len(found)} volumes have no label map by their name and are {use}: "
                f"{first_names([case.name for case in without])}."
            )
        )
    if method.advice and (without or job.unlabeled):
        emit(events.log(f"{job.method}: {method.advice}"))
    if not job.unlabeled:
        return without if method.uses_unlabeled else []
    if not method.uses_unlabeled:
        able = [name for name, other in methods_of("finetune").items() if getattr(other, "uses_unlabeled", False)]
        choice = f" or choose a --method that does ({', '.join(able)})" if able else ""
        raise InputError(
            f"{job.method} fine-tuning does not learn from volumes without labels. Leave out --unlabeled{choice}."
        )
    return [*without, *(dataclasses.replace(case, labels=None) for case in cases_of(job.unlabeled))]


def held_out(job: FinetuneJob, cases: Sequence[CaseFiles]) -> list[int]:
    """Indices of the labeled ``cases`` kept for validation: the named ones, or so many evenly spread over the list.

    Raises:
        InputError: no such case, or none would be left to train on.
    """
    names = [case.name for case in cases]
    number = job.validation.isdecimal() and len(job.validation) < 10  # Python reads none of thousands of digits
    if job.validation in ("none", "leave-one-out") or number:
        count = int(job.validation) if number else 0
        # A comparison needs scores.
        wanted = max(count, 1) if job.compares and job.validation != "leave-one-out" else count
        held = [round((i + 0.5) * len(cases) / wanted - 0.5) for i in range(wanted)] if wanted < len(cases) else []
    else:
        given = [name.strip() for name in job.validation.split(",") if name.strip()]
        unknown = [name for name in given if name not in names]
        if unknown or not given:
            raise InputError(
                "--validation takes a number of cases, names of labeled cases joined by commas, 'leave-one-out' or "
                f"'none'. There is no labeled case {quoted((unknown or [job.validation])[0])}; there are: "
                f"{first_names(names, 10)}."
            )
        held = sorted({names.index(name) for name in given})
        wanted = len(held)
    if wanted and wanted >= len(cases):
        raise InputError(
            f"{wanted} case(s) to hold out of {len(cases)} labeled leave none to train on. Label more cases or use "
            "--validation none."
        )
    return held


def check_unseen(base: Card | None, cases: Sequence[CachedCase], emit: events.Emit) -> None:
    """Refuse to score on ``cases`` whose labels went into the pre-training of ``base``; warn if ``base`` segments.

    A case of the same name in another file may be the same volume in another format, so that is warned of too.

    Raises:
        InputError: there is such a case and ``base`` is only pre-trained.
    """
    learned = learned_cases(base, [(case.name, case.digest) for case in cases])
    start = "The checkpoint has learned from the labels of"
    if learned.same_files:
        names = first_names(learned.same_files)
        if base and base.kind == "pretrained":
            raise InputError(f"{start} {names}: held out, they would prove nothing. Hold out other cases, or none.")
        emit(events.warning(f"{start} {names}: scores on them are better than on new cases."))
    if learned.same_name:
        names = first_names(learned.same_name)
        emit(events.warning(f"{start} other files named {names}. If they are the same volumes, scores prove nothing."))


def prepared_task(
    job: FinetuneJob,
    labeled: Sequence[CaseFiles],
    unlabeled: Sequence[CaseFiles],
    plan: Plan,
    base: Card | None,
    folder: Path,
    run: Run,
) -> Task:
    """All cases preprocessed into ``folder``, and the labels that occur in them.

    An unlabeled volume that is one of the labeled cases too is left out: there its label is used, and where it is
    held out nothing of it may be learned.

    Raises:
        InputError: as :func:`.setup.prepared`, or labels that cannot be learned.
    """
    cached = prepared([*labeled, *unlabeled], plan, folder, run)
    with_label, without = cached[: len(labeled)], cached[len(labeled) :]
    warn_of_copies(with_label, run.emit)
    warn_of_shared_maps(with_label, run.emit)
    check_background_drawn(job, any(case.painted for case in with_label), _values(with_label))
    check_labeled_part(with_label, run.emit)
    labels = _labels(job, labeled, with_label, base, run.emit)
    files, with_label = with_structures(job, labeled, with_label, labels, run.emit)
    known = {case.digest for case in with_label}
    fresh = [case for case in without if case.digest not in known]
    if len(fresh) < len(without):
        run.emit(events.log(f"{len(without) - len(fresh)} of the unlabeled volumes are labeled cases: left out there."))
    if without and not fresh:
        raise InputError("All volumes of --unlabeled are labeled cases too. Give others, or leave the option out.")
    return Task(files, CachedVolumes(folder, [*with_label, *fresh], [label.value for label in labels]), labels)


@dataclass(frozen=True)
class NamedLabels:
    """Label values and names, and where they are from; values of voxels without a label and of painted background.

    ``table`` are the labels of the label table, by value.
    """

    names: Mapping[int, str]
    where: str
    ignore: int | None
    background: int | None
    table: Mapping[int, Label]


def named_labels(job: FinetuneJob) -> NamedLabels:
    """From the label table, else dataset.json, of which the label "ignore" holds in any case.

    Raises:
        InputError: either cannot be read, or they contradict each other.
    """
    declared = declared_labels((Path(path) for path in (*job.images, *job.labels)), renamed=bool(job.label_table))
    if not job.label_table:
        return NamedLabels(declared.names, "dataset.json", declared.ignore, declared.background, {})
    table = {label.value: label for label in label_table(Path(job.label_table))}
    names = {value: label.name for value, label in table.items()}
    check_same_numbers((), {job.label_table: names, "dataset.json": declared.names})
    return NamedLabels(names, job.label_table, declared.ignore, background_value(names), table)


def _values(cases: Sequence[CachedCase]) -> list[int]:
    return sorted({value for case in cases for value in case.values or ()})


def _labels(
    job: FinetuneJob, files: Sequence[CaseFiles], cases: Sequence[CachedCase], base: Card | None, emit: events.Emit
) -> tuple[Label, ...]:
    """The label values of the cases, named by the label table, else dataset.json, else the segments, else the base.

    Raises:
        InputError: no label at all, more than class indices have room for, one that is not declared, or label maps
            that do not fit one another.
    """
    values = _values(cases)
    if not values:
        raise InputError("All label maps are empty. Label at least one structure in one case.")
    if len(values) > 255:
        raise InputError(f"The label maps hold {len(values)} different labels; at most 255 can be learned together.")
    named = named_labels(job)
    names, where = named.names or names_of(files), named.where
    known = named.table or {label.value: label for label in (base.labels if base else ())}
    if not names:
        check_same_values(cases, emit)
    for case in cases:
        undeclared = [str(v) for v in case.values or () if named.names and v not in named.names]
        if undeclared:
            raise InputError(
                f"Case {case.name} has the label(s) {', '.join(undeclared)}, which {where} does not declare. Name "
                "them there, or correct the label map."
            )
    # A base label of another name is another structure that happens to have the same number.
    kept = {v: label for v, label in known.items() if names.get(v, label.name) == label.name}
    labels = tuple(kept.get(v) or Label(v, names.get(v, f"label {v}")) for v in values)
    no_structure = named.background if named.names else background_value(names)
    declared = {value: name for value, name in names.items() if value != no_structure}
    where = where if named.names else "A segmentation"
    warn_of_rare_labels(cases, {label.value: label.name for label in labels}, declared, where, emit)
    warn_of_void(values, names, emit)
    warn_of_corners(cases, {label.value: label.name for label in labels}, emit)
    return labels


def label_table(path: Path) -> tuple[Label, ...]:
    """Labels from a JSON list of {"value", "name", "color": [r, g, b], "terminology"}; the last two may be missing.

    Raises:
        InputError: not such a file, a value of 0 or above 65535, or a value or a name that occurs twice.
    """
    data = read_json(path, 'write the labels as [{"value": 1, "name": "liver"}, ...]')
    if not isinstance(data, list) or not data:
        raise InputError(f'{path}: expected a list of {{"value": NUMBER, "name": NAME}}.')
    labels = tuple(from_json(Label, entry, f"{path}: [{i}]") for i, entry in enumerate(data))
    for label in labels:
        if not 0 < label.value < 2**16:
            raise InputError(f"{path}: label {quoted(label.name)} has the value {label.value}; it must be 1 to 65535.")
        if not all(0 <= part <= 255 for part in label.color or ()):
            raise InputError(f"{path}: the color of label {quoted(label.name)} must be three numbers from 0 to 255.")
    for what in ("value", "name"):
        ((most, count),) = Counter(getattr(label, what) for label in labels).most_common(1)
        if count > 1:
            raise InputError(f"{path}: two labels have the {what} {quoted(most)}.")
    return labels

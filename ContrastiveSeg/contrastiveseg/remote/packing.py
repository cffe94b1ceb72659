"""A job as another machine can do it: its files under names of their own, its paths relative to a folder there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checkpoints.starters import PREFIX
from ..descriptions import FinetuneJob, PretrainJob, SegmentJob
from ..errors import InputError
from ..files import check_outputs, near
from ..jobs.report import check_report
from ..segmentation.outputs import is_file_name, outputs_of
from ..serialization import to_json
from ..volumes.content import files_behind
from ..volumes.dataset import CaseFiles, check_labels_chosen, find_cases
from ..volumes.dataset_json import declared_channels
from ..volumes.declared_labels import declared_labels
from ..volumes.partial_labels import with_named_labels

RemoteJob = PretrainJob | FinetuneJob | SegmentJob
#: Options that mean nothing on another machine, and why.
_REFUSED = {
    "cache": "the preprocessed volumes lie on that machine, and are removed there",
    "tensorboard": "its curves would lie on that machine",
    "continue_": "the same command without it goes on with what runs or was interrupted there",
}
_OUTPUTS = ("output", "probabilities", "uncertainty", "timings", "report")
#: Options that decide how a job is begun, not what it is.
_NOT_SHAPING = ("resume", "overwrite")


@dataclass
class Packed:
    """What goes there.

    Attributes:
        job: as JSON with "kind", with the paths of ``files`` and ``texts``, and outputs below "out/OPTION".
        files: by path there, the files here. texts: by path there, the content of files that are made for it.
        outputs: by path there, the file or folder here; folders end in a slash.
    """

    job: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Path] = field(default_factory=dict)

    @property
    def shaping(self) -> dict[str, Any]:
        """The job without what decides how it is begun."""
        return {name: value for name, value in self.job.items() if name not in _NOT_SHAPING}


def pack(job: RemoteJob) -> Packed:
    """``job`` for another machine; its inputs and outputs are checked here.

    Raises:
        InputError: an option that has no meaning there, inputs that are not found, outputs that are there already.
    """
    for name, why in _REFUSED.items():
        if getattr(job, name, None):
            raise InputError(f"--{name.rstrip('_')} does not go with --host: {why}.")
    packed = Packed({"kind": job.kind, **to_json(job)})
    _check_outputs(job)
    _place_outputs(packed, job)
    if isinstance(job, SegmentJob):
        packed.job["input"] = [_listed(packed, "input", find_cases(_paths(job.input)))]
        _place(packed, "checkpoint", job.checkpoint)
    elif isinstance(job, FinetuneJob):
        _pack_finetuning(packed, job)
    else:
        _pack_pretraining(packed, job)
    return packed


def _pack_finetuning(packed: Packed, job: FinetuneJob) -> None:
    cases = find_cases(_paths(job.images), _paths(job.labels))
    packed.job |= {"images": [_listed(packed, "images", cases, [*job.images, *job.labels])], "labels": []}
    if job.unlabeled:
        packed.job["unlabeled"] = [_listed(packed, "unlabeled", _without_labels(find_cases(_paths(job.unlabeled))))]
    for start in (part.strip() for text in job.compare for part in text.split(",")):
        # A path would be looked for there, and another file may lie at it.
        if start and start not in ("scratch", "none") and not start.startswith(PREFIX):
            raise InputError("With --host, --compare takes starters and scratch. Give a file as --checkpoint.")
    for option in ("checkpoint", "label_table"):
        _place(packed, option, getattr(job, option))


def _pack_pretraining(packed: Packed, job: PretrainJob) -> None:
    """Every one of the images is a data set of its own."""
    data_sets = [find_cases(_paths([path])) for path in job.images]
    if job.labels:
        data_sets = with_named_labels(data_sets, _paths(job.labels))
    else:
        data_sets = [_without_labels(cases) for cases in data_sets]
    lists = [
        _listed(packed, f"images{number}", cases, [*job.labels, path])
        for number, (path, cases) in enumerate(zip(job.images, data_sets, strict=True))
    ]
    labeled = [path for path, cases in zip(lists, data_sets, strict=True) if any(case.labels for case in cases)]
    packed.job |= {"images": lists, "labels": labeled}


def _paths(given: Sequence[str]) -> list[Path]:
    return [Path(path) for path in given]


def _without_labels(cases: Iterable[CaseFiles]) -> list[CaseFiles]:
    return [replace(case, labels=None) for case in cases]


def _listed(packed: Packed, folder: str, cases: Sequence[CaseFiles], declared: Sequence[str] = ()) -> str:
    """Add the files of ``cases``, and a list of them with what is ``declared`` there; returns the list's path."""
    entries, here = [], f"in/{folder}/"
    for number, case in enumerate(cases):
        images = [_add(packed, f"{here}{number}/{channel}", path) for channel, path in enumerate(case.images)]
        entry: dict[str, Any] = {"name": case.name, "image": [path.removeprefix(here) for path in images]}
        if case.labels:
            entry["label"] = _add(packed, f"{here}{number}/label", case.labels).removeprefix(here)
        if case.labeling.part:
            entry["labeled_part"] = case.labeling.part
        if case.labeling.structures is not None:
            entry["structures"] = list(case.labeling.structures)
        entries.append(entry)
    labels, channels = declared_labels(_paths(declared)), declared_channels(_paths(declared))
    content: Any = entries
    name = "cases.json"
    if labels.names or labels.ignore is not None or channels:
        ignore = {} if labels.ignore is None else {str(labels.ignore): "ignore"}
        table = {str(value): name for value, name in labels.names.items()} | ignore
        content = {"training": entries, "channel_names": {str(n): one for n, one in enumerate(channels)}}
        content |= {"labels": table} if table else {}
        name = "dataset.json"
    packed.texts[here + name] = json.dumps(content)
    return here + name


def _add(packed: Packed, folder: str, path: Path) -> str:
    """Add the files of ``path``, a file with those that belong to it or a DICOM folder; returns its path there."""
    if path.is_dir():
        name = path.resolve().name or "series"
        for file in sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")):
            packed.files[f"{folder}/{name}/{file.name}"] = file
        return f"{folder}/{name}"
    for file in files_behind(path):
        # A header may name voxels in a folder below its own.
        packed.files[f"{folder}/{Path(os.path.relpath(file, path.parent)).as_posix()}"] = file
    return f"{folder}/{path.name}"


def check_job(job: RemoteJob) -> None:
    """Check what can be known of the files of ``job`` without reading volumes, before others are to do it.

    Raises:
        InputError: inputs that are not found, outputs that are there already.
    """
    _check_outputs(job)
    if isinstance(job, FinetuneJob):
        check_labels_chosen(find_cases(_paths(job.images), _paths(job.labels)))
        _is_file_given("label_table", job.label_table)
    elif isinstance(job, PretrainJob):
        for path in job.images:
            find_cases([Path(path)])
    if not isinstance(job, PretrainJob):
        _is_file_given("checkpoint", job.checkpoint)


def _check_outputs(job: RemoteJob) -> None:
    if isinstance(job, SegmentJob):
        outputs_of(job)
    else:
        inputs = [Path(path) for path in (*job.images, *job.labels)]
        check_outputs([Path(job.output)], inputs, job.overwrite or bool(job.resume))
    if job.report:
        check_report(job, Path(job.report))


def _is_file_given(option: str, given: str | None) -> bool:
    """Whether an option names a file; starters are there anyway.

    Raises:
        InputError: it names one that is not there.
    """
    if not given or given == "none" or given.startswith(PREFIX):
        return False
    if not Path(given).is_file():
        raise InputError(f"There is no {option.replace('_', ' ')} at {given}.{near(Path(given))}")
    return True


def _place(packed: Packed, option: str, given: str | None) -> None:
    """A file of its own."""
    if given and _is_file_given(option, given):
        packed.job[option] = _add(packed, f"in/{option}", Path(given))


def _place_outputs(packed: Packed, job: RemoteJob) -> None:
    for option in _OUTPUTS:
        given = getattr(job, option, None)
        if not given:
            continue
        path, there = Path(given), f"out/{option}/"
        if not isinstance(job, SegmentJob) or option in ("timings", "report") or is_file_name(given):
            there += path.name
        packed.outputs[there] = path
        packed.job[option] = there


def place_here(outputs: Mapping[str, Path], there: str) -> Path | None:
    """Where the file at ``there`` goes; None for one that belongs to no output, or would lie elsewhere.

    A training's curve and log lie beside its checkpoint.
    """
    parts = there.split("/")
    if len(parts) != 3 or parts[2] in ("", ".", "..") or "\\" in there or "\0" in there:
        return None
    for output, here in outputs.items():
        if output.endswith("/") and there.startswith(output):
            return here / parts[2]
        if there == output:
            return here
        if there.startswith(f"{output}."):
            return here.with_name(here.name + there.removeprefix(output))
    return None

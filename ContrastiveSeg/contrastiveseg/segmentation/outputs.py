"""Where a segment job's results go, checked before anything is computed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..descriptions import SegmentJob
from ..errors import InputError
from ..files import check_output, check_outputs, volume_suffix
from ..volumes.dataset import CaseFiles, find_cases
from ..volumes.writing import WRITTEN, check_writable_kind
from .dicom_seg import DICOM_SUFFIX, check_beside, check_highdicom

_HINT = " With --continue a batch goes on that was interrupted."


@dataclass(frozen=True)
class Output:
    """Where a case's results go."""

    case: CaseFiles
    labels: Path
    probabilities: Path | None
    uncertainty: Path | None

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.labels, self.probabilities, self.uncertainty) if path]


def as_dicom(job: SegmentJob) -> bool:
    """Whether DICOM SEG files are asked for."""
    return job.dicom_seg or job.output.lower().endswith(DICOM_SUFFIX)


def check_several(job: SegmentJob) -> None:
    """Refuse files of one process alone, where several share the batch.

    Raises:
        InputError: there is one.
    """
    if job.report or job.timings:
        option = "report" if job.report else "timings"
        raise InputError(
            f"--{option} tells of one process, and several share the volumes. Leave it out; with --shard each part "
            "has a file of its own."
        )


def is_file_name(given: str) -> bool:
    """Whether an output is called as the file of one case, and not as a folder."""
    return bool(volume_suffix(Path(given))) or given.lower().endswith(DICOM_SUFFIX)


def outputs_of(job: SegmentJob) -> list[Output]:
    """Every input with its output paths, all checked before anything is computed.

    Raises:
        InputError: there are no such inputs, an output cannot be written or would replace something, a DICOM SEG has no
            series to refer to, or ``--shard`` names no part of the batch.
    """
    cases = find_cases([Path(p) for p in job.input])
    dicom = as_dicom(job)
    if dicom:
        check_highdicom()
    outputs = []
    for case in cases:
        ending = volume_suffix(case.images[0]) or ".nii.gz"
        ending = ending if ending in (".nii.gz", ".nrrd", ".mha") else ".nii.gz"
        name, many = f"{case.name}{ending}", len(cases)
        labels = _target("--output", job.output, f"{case.name}{DICOM_SUFFIX}" if dicom else name, many, dicom)
        soft = _target("--probabilities", job.probabilities, name, many) if job.probabilities else None
        unsure = _target("--uncertainty", job.uncertainty, name, many) if job.uncertainty else None
        if dicom and not case.images[0].is_dir():
            raise InputError(
                f"A DICOM SEG refers to a DICOM series, and {case.images[0]} is a file. Give the series' folder, or "
                "write label maps."
            )
        if dicom:
            check_beside(labels, case.images[0])
        outputs.append(Output(case, labels, soft, unsure))
    outputs = _part(job.shard, outputs) if job.shard else outputs
    targets = [path for output in outputs for path in output.files]
    timings = [Path(job.timings)] if job.timings else []
    inputs = [Path(p) for p in (job.checkpoint, *job.input)] + [image for case in cases for image in case.images]
    inputs += [labels for case in cases for labels in (case.labels, *case.candidates) if labels]
    # What exists is looked at more closely where a batch goes on.
    check_outputs([*targets, *timings], inputs, job.overwrite or job.continue_, _HINT)
    for path in timings:
        check_output(path, job.overwrite)
    return outputs


def _part(shard: str, outputs: list[Output]) -> list[Output]:
    """The outputs of the part that ``shard`` names as "I/N", dealt out in turn."""
    given = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    part, parts = (int(number) for number in given.groups()) if given else (0, 0)
    if not 1 <= part <= parts:
        raise InputError(f"--shard {shard} is no part of a batch. Write 1/2 for the first of two, and 2/2 elsewhere.")
    if part > len(outputs):
        raise InputError(f"--shard {shard} has nothing to do: there are only {len(outputs)} volumes. Make fewer parts.")
    return outputs[part - 1 :: parts]


def _target(option: str, given: str, name: str, cases: int, dicom: bool = False) -> Path:
    """The file that ``given`` is or, being a folder, gets as ``name``; ``dicom`` files end in .dcm."""
    path = Path(given)
    if dicom and volume_suffix(path):
        raise InputError(f"--dicom-seg writes {DICOM_SUFFIX} files, and {option} is {given}. Give a folder, or a .dcm.")
    if is_file_name(given) and (dicom or volume_suffix(path)):
        if not dicom:
            check_writable_kind(path)
        if cases > 1:
            raise InputError(f"{cases} inputs cannot go into one file. Give a folder as {option}.")
        return path
    # A folder may have a dot in its name, but a.txt is a slip. With a slash behind it, or if it is there, it is one.
    if re.fullmatch(r"\.[A-Za-z]{1,5}", path.suffix) and not path.is_dir() and not given.endswith(("/", os.sep)):
        raise InputError(
            f"{option} {given} is no volume file that can be written ({', '.join(WRITTEN)}). If it is to be a new "
            "folder, write a / behind it."
        )
    return path / name

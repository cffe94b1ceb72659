"""What a job can be refused for before its libraries are loaded, which takes seconds.

The job checks it again, by the same functions: a warm worker begins there, and files may have changed meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from ..checkpoints.card import check_segments
from ..checkpoints.header import read_card
from ..descriptions import ExportJob, Job, SegmentJob, Training
from ..exports.folder import check_folder
from ..files import check_link, check_output, check_there, readable
from ..segmentation.outputs import outputs_of
from ..training.run import Budget

#: The fields of jobs that name files and folders to read.
_READ = (
    *("images", "image", "labels", "unlabeled", "label_table", "input", "labeled", "file", "segmentation", "series"),
    *("predictions", "references", "segmentations"),
)
#: Those that name files to write.
_WRITTEN = ("output", "csv", "html")


def check_early(job: Job) -> None:
    """Refuse ``job`` for what its options and the names of its files show.

    Raises:
        InputError: a file is not there, the checkpoint is none or cannot segment, an output exists, a budget is missing
            or doubled.
    """
    for name in _READ:
        given = getattr(job, name, None) or ()
        for path in map(Path, (given,) if isinstance(given, str) else given):
            with readable(path):
                check_link(path)
                check_there(path)
    checkpoint = getattr(job, "checkpoint", None)
    if checkpoint and checkpoint != "none":
        card = read_card(Path(checkpoint))
        if isinstance(job, SegmentJob) or (isinstance(job, ExportJob) and job.to != "dicom-seg"):
            check_segments(card, Path(checkpoint))
    if isinstance(job, Training):
        Budget(job.steps, job.minutes)
    if isinstance(job, SegmentJob):
        outputs_of(job)
    elif isinstance(job, ExportJob) and job.to != "dicom-seg":
        check_folder(job)
    elif not (isinstance(job, Training) and job.resume):
        for output in filter(None, (getattr(job, name, None) for name in _WRITTEN)):
            check_output(Path(output), job.overwrite)

"""Job descriptions: what terminal, panel and batch ask of the engine. Light to import, strict to read.

The command line is made from these fields, and the worker reads them as JSON; so a job is the same wherever it
comes from. Paths are strings as the user typed them.
"""

from __future__ import annotations

from typing import get_args

from .exchanging import ExportJob, ImportJob, ModelsJob
from .measuring import EvaluateJob, QualityJob, RankJob
from .options import ExportFormat, LabeledPart, Pieces, Precision, Resume, Roi, Size, SliceDirection
from .segmenting import PreviewJob, SegmentJob
from .training import FinetuneJob, PretrainJob, Training

__all__ = [
    "JOBS",
    "EvaluateJob",
    "ExportFormat",
    "ExportJob",
    "FinetuneJob",
    "ImportJob",
    "Job",
    "LabeledPart",
    "ModelsJob",
    "Pieces",
    "Precision",
    "PretrainJob",
    "PreviewJob",
    "QualityJob",
    "RankJob",
    "Resume",
    "Roi",
    "SegmentJob",
    "Size",
    "SliceDirection",
    "Training",
]

Job = (
    PretrainJob
    | FinetuneJob
    | SegmentJob
    | EvaluateJob
    | RankJob
    | QualityJob
    | PreviewJob
    | ImportJob
    | ExportJob
    | ModelsJob
)
#: By kind, in the order of the command line's help.
JOBS: dict[str, type[Job]] = {job.kind: job for job in get_args(Job)}

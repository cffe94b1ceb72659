"""What the jobs return: one dataclass a kind of job, whose fields are the keys of the "result" event's JSON."""

from __future__ import annotations

from typing import Any

from ..serialization import from_json
from .exchanging import CatalogModel, ExportResult, ImportResult, ModelsResult
from .measuring import EvaluateResult, QualityCase, QualityResult, RankedCase, RankResult, ScoreRow
from .segmenting import Failure, PreviewResult, SegmentResult
from .training import (
    ComparedStart,
    FinetuneResult,
    HeldOutCase,
    LeaveOneOut,
    PretrainResult,
    ScratchComparison,
    StartsComparison,
    TransferReport,
)

__all__ = [
    "RESULTS",
    "CatalogModel",
    "ComparedStart",
    "EvaluateResult",
    "ExportResult",
    "Failure",
    "FinetuneResult",
    "HeldOutCase",
    "ImportResult",
    "JobResult",
    "LeaveOneOut",
    "ModelsResult",
    "PretrainResult",
    "PreviewResult",
    "QualityCase",
    "QualityResult",
    "RankResult",
    "RankedCase",
    "ScoreRow",
    "ScratchComparison",
    "SegmentResult",
    "StartsComparison",
    "TransferReport",
    "result_from_json",
]

JobResult = (
    PretrainResult
    | FinetuneResult
    | SegmentResult
    | EvaluateResult
    | RankResult
    | QualityResult
    | PreviewResult
    | ImportResult
    | ExportResult
    | ModelsResult
)

#: Kind of job -> its result.
RESULTS: dict[str, type[JobResult]] = {
    "pretrain": PretrainResult,
    "finetune": FinetuneResult,
    "segment": SegmentResult,
    "evaluate": EvaluateResult,
    "rank": RankResult,
    "preview": PreviewResult,
    "quality": QualityResult,
    "import": ImportResult,
    "export": ExportResult,
    "models": ModelsResult,
}


def result_from_json(kind: str, data: Any) -> JobResult:
    """The result of a job of ``kind`` from the JSON of its "result" event.

    Raises:
        InputError: fields are missing, unknown or of the wrong type.
    """
    return from_json(RESULTS[kind], data, "result")

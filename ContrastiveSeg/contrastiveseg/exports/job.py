"""The export job: label maps, cases and models in the formats of other programs."""

from __future__ import annotations

from .. import events
from ..descriptions import ExportJob
from ..results import ExportResult


def export(
    job: ExportJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> ExportResult:
    """Run ``job``.

    Raises:
        InputError: an input or the output cannot be used, or does not fit the other.
        Cancelled: stopped; nothing is written.
    """
    if job.to == "nnunet":
        from .nnunet import export_cases  # with torch, of which a label map needs none

        export_cases(job, emit, cancelled)
    elif job.to == "onnx":
        from .onnx_model import export_onnx

        export_onnx(job, emit)
    elif job.to == "monai":
        from .monai_bundle import export_bundle

        export_bundle(job, emit)
    else:
        from .label_map import export_label_map

        export_label_map(job, emit)
    return ExportResult(job.output)

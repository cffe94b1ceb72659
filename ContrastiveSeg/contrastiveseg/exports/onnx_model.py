"""A model as ONNX, with a description of what goes before and behind the network."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .. import events
from ..checkpoints.licensing import tell_terms
from ..descriptions import ExportJob
from ..errors import InputError
from ..files import write_text
from .folder import check_folder, new_folder
from .model import open_model, processing

#: Understood by every runtime since 2022.
_OPSET = 18
#: The key of the description in the model's own metadata.
METADATA_KEY = "contrastiveseg"


def export_onnx(job: ExportJob, emit: events.Emit) -> None:
    """Write the network of ``job`` as ``model.onnx``, for tiles of its patch in batches of any size, and the rest as
    ``processing.json``, which the model holds as metadata too.

    Raises:
        InputError: onnx is not installed, the checkpoint segments nothing, its network cannot be expressed, or the
            folder is there already.
    """
    output = check_folder(job)
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch writes ONNX by it
    except ImportError as problem:
        raise InputError(
            'Writing ONNX needs onnx and onnxscript. Install them with: pip install "contrastiveseg[onnx]"'
        ) from problem
    emit(events.StageStarted(events.Stage.LOAD))
    model = open_model(Path(job.checkpoint or ""))
    tell_terms(model.card, emit)
    emit(events.StageStarted(events.Stage.EXPORT))
    text = json.dumps(processing(model), indent=1)
    with new_folder(output) as folder, _quietly():
        path = folder / "model.onnx"
        try:
            torch.onnx.export(
                model.network,
                (model.tile(batch=2),),
                str(path),
                dynamo=True,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=_OPSET,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as problem:
            reason = str(problem).splitlines()[0].rstrip(".")
            raise InputError(
                f"The network {model.card.network.name} cannot be written as ONNX: {reason}. Export it with --to monai."
            ) from problem
        written = onnx.load(str(path))
        written.metadata_props.add(key=METADATA_KEY, value=text)
        onnx.save(written, str(path))
        write_text(folder / "processing.json", text + "\n")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of libraries that are not there, and of its own future."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

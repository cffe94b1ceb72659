"""The models job: which checkpoints there are to start from, and downloading one of them."""

from __future__ import annotations

from pathlib import Path

from .. import events
from ..descriptions import ModelsJob
from ..errors import InputError
from ..results import ModelsResult
from .download import download
from .header import SUFFIX, check_name, read_card
from .licensing import tell_terms
from .model_catalog import catalog_models


def models(
    job: ModelsJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> ModelsResult:
    """Run ``job``; returns the models of the catalogs and the file downloaded.

    Raises:
        InputError: a catalog cannot be read, has no such model, or as :func:`.download.download`.
        Cancelled: stopped while downloading.
    """
    known = catalog_models(Path(path) for path in job.catalog)
    if job.download is None:
        if job.output is not None:
            raise InputError("--output is where to download to; name what with --download.")
        return ModelsResult(tuple(known))
    model = next((one for one in known if one.name == job.download), None)
    if model is None:
        raise InputError(f"No model is called {job.download!r}. There are: {', '.join(one.name for one in known)}.")
    output = Path(job.output or f"{model.name}{SUFFIX}")
    check_name(output)
    download(model, output, job.overwrite, emit, cancelled)
    tell_terms(read_card(output), emit, in_full=True)
    return ModelsResult(tuple(known), str(output))

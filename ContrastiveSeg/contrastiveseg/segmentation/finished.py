"""Going on with a batch: which of its cases an earlier run of the same command has finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..descriptions import SegmentJob
from ..errors import InputError
from ..files import readable
from ..volumes.content import content_digest
from ..volumes.dataset import CaseFiles
from ..volumes.origin import read_origin


def origin_of(case: CaseFiles, checkpoint: str, job: SegmentJob) -> str:
    """A hash of all that a label map follows from: the images' content, the ``checkpoint`` (its SHA-256), the options
    that shape it, and the version of this software."""
    # Label maps made before there were regions of interest count as finished.
    options = [job.mirror, job.pieces, job.precision, *([job.roi] if job.roi else [])]
    with readable(case.images[0]):
        parts = [__version__, checkpoint, content_digest(case.images), options]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def is_finished(files: Sequence[Path], origin: str, overwrite: bool) -> bool:
    """Whether all ``files`` of a case are there and were made from ``origin``.

    Raises:
        InputError: one was not, and may not be overwritten.
    """
    there = [path for path in files if path.exists()]
    others = [path for path in there if read_origin(path) != origin]
    if others and not overwrite:
        raise InputError(
            f"{others[0]} exists already and was not made from this input with this checkpoint and these options. "
            "Choose another output, or add --overwrite to replace it."
        )
    return not others and len(there) == len(files)

"""Files that hold several volumes (4D): channels of one scan where as many are expected, and refused else."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError


def check_series(path: Path, dimensions: int, volumes: int, channels: int) -> None:
    """Refuse the file ``path`` of several ``volumes``, unless they are the ``channels`` that are expected.

    Nothing in a file tells channels from phases of time for sure; a declaration, or the model that is used, does.

    Raises:
        InputError: saying what may be done.
    """
    if volumes == 1 or volumes == channels:
        return
    expected = f", where {channels} channels are expected" if channels > 1 else ""
    raise InputError(
        f"{path} is a series of {volumes} volumes ({dimensions}D), not one volume{expected}. Split it, and give the "
        "volumes one by one. If they are the channels of one scan, name all of them in the channel_names (or modality) "
        "of a dataset.json, or segment with a model of as many channels."
    )

"""Curves in TensorBoard, on request: metric events copied into its files."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..events import Emit, Event, Metric, warning


def tensorboard(emit: Emit, folder: Path) -> Emit:
    """``emit`` that also writes metric events to ``folder``; where that fails, the user is warned, once.

    Raises:
        InputError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as problem:
        raise InputError(
            'Curves for TensorBoard need it installed: pip install "contrastiveseg[tensorboard]"'
        ) from problem
    writer = SummaryWriter(str(folder))

    writes = True

    def both(event: Event) -> None:
        nonlocal writes
        if writes and isinstance(event, Metric):
            try:
                writer.add_scalar(event.name, event.value, event.step)
                writer.flush()
            except OSError as problem:
                writes = False
                emit(warning(f"The curves in {folder} end here: {problem.strerror or problem}. Training goes on."))
        emit(event)

    return both

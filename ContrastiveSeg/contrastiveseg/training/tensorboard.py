"""Curves in TensorBoard, on request: metric events copied into its files."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..events import Emit, Event, Metric


def tensorboard(emit: Emit, folder: Path) -> Emit:
    """``emit`` that also writes metric events to ``folder``.

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

    def both(event: Event) -> None:
        if isinstance(event, Metric):
            writer.add_scalar(event.name, event.value, event.step)
            writer.flush()
        emit(event)

    return both

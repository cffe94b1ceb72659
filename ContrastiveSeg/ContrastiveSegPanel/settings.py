"""What belongs to the user, whatever the scene: kept in Slicer's settings."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer

_GROUP = "ContrastiveSeg"


def text(key: str, default: str = "") -> str:
    """The setting ``key`` as text."""
    value = slicer.app.settings().value(f"{_GROUP}/{key}", default)
    return default if value is None else str(value)


def set_text(key: str, value: str) -> None:
    """Keep ``value`` in Slicer's settings, for :func:`text`."""
    slicer.app.settings().setValue(f"{_GROUP}/{key}", value)


def models_folder() -> Path:
    """Where the user's own checkpoints are kept: outside Slicer's installation, so that an update loses none."""
    chosen = text("ModelsFolder")
    if chosen:
        return Path(chosen)
    documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
    return Path(documents) / "ContrastiveSeg" / "Models"


def set_models_folder(folder: Path) -> None:
    """Keep the user's choice of :func:`models_folder`."""
    set_text("ModelsFolder", str(folder))

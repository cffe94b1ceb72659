"""Whether volumes can be segmented now, and what to say of them before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from . import compatibility
from .session import Session

#: More warnings than these would push the button out of sight.
_MOST_WARNINGS = 3


def obstacle(session: Session, channels: Sequence[Any], cases: Sequence[Sequence[Any]]) -> str:
    """Why nothing can be segmented now, in words for the user, or "".

    Args:
        channels: the volume, or None, chosen for each channel of a model with several; else [].
        cases: for each segmentation to make, its volumes, one a channel.
    """
    if general := checkpoint_obstacle(session):
        return general
    if None in channels:
        return _("Choose a volume for every channel of the model.")
    if len({node.GetID() for node in channels}) < len(channels):
        return _("Two channels cannot be the same volume.")
    if not cases:
        return _("Load a volume, and choose it.")
    empty = next((volume for case in cases for volume in case if volume.GetImageData() is None), None)
    if empty is not None:
        return _("{name} has no voxels.").format(name=empty.GetName())
    return ""


def checkpoint_obstacle(session: Session) -> str:
    """Why the chosen checkpoint can segment nothing now, in words for the user, or ""."""
    entry = session.checkpoint
    if session.obstacle:
        return session.obstacle
    if entry is None:
        return _("Choose a checkpoint first.")
    if entry.card is None:
        return _("The chosen checkpoint cannot be used.")
    if not entry.segments:
        return _("The chosen checkpoint was only pre-trained. Fine-tune it first.")
    return ""


def warnings(session: Session, cases: Sequence[Sequence[Any]]) -> list[str]:
    """What sets the volumes apart from those that the chosen checkpoint was trained on, as a few lines."""
    card = session.card
    if card is None:
        return []
    lines = [
        warning
        for case in cases
        for channel, volume in enumerate(case)
        for warning in compatibility.warnings(volume, card, channel)
    ]
    if len(lines) > _MOST_WARNINGS:
        more = _("… and {count} more").format(count=len(lines) - _MOST_WARNINGS)
        return [*lines[:_MOST_WARNINGS], more]
    return lines

"""Cases of several volumes: which volumes of the scene are the channels of one patient.

Which volumes belong together is read from their names: "P1 T1" and "P1 T2", or "P1_0000" and "P1_0001", are two
channels of one case. What the user decides instead is kept in node references of the case's first volume.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.errors import InputError

from ..mrml.grids import check_same_grid, grid_of

#: Node reference of a case's first volume to the volume of each channel, with its number behind.
CHANNEL = "ContrastiveSeg.Channel"
#: More channels than these were not meant.
_MOST = 16


def channel_names(card: Card | None, asked: str) -> tuple[str, ...]:
    """The channels of each case: those of the checkpoint, or what was asked for where it takes any.

    Args:
        asked: names with commas between them; "" stands for one channel.
    """
    if card is not None and not card.plan.generic:
        return tuple(channel.name for channel in card.plan.channels)
    return tuple(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))[:_MOST]


def grouped(volumes: Sequence[Any], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """``volumes`` as cases: for each, the volume of every channel, or None for a channel that is missing.

    A volume whose name says no channel is the first channel of a case of its own.
    """
    cases: dict[str, dict[int, Any]] = {}
    taken: set[str] = set()
    for volume in volumes:
        chosen = _chosen(volume, len(names))
        if chosen and volume.GetID() not in taken:
            cases[volume.GetID()] = chosen
            taken |= {volume.GetID(), *(node.GetID() for node in chosen.values())}
    by_base: dict[str, str] = {}
    for volume in volumes:
        if volume.GetID() in taken:
            continue
        base, channel = _read_name(volume.GetName(), names)
        known = by_base.get(base)
        if channel is None or known is None or channel in cases[known]:
            cases[volume.GetID()] = {channel or 0: volume}
            if channel is not None:
                by_base.setdefault(base, volume.GetID())
        else:
            cases[known][channel] = volume
    ordered = (cases[volume.GetID()] for volume in volumes if volume.GetID() in cases)
    return [tuple(channels.get(index) for index in range(len(names))) for channels in ordered]


def first_volume(channels: Sequence[Any]) -> Any:
    """The volume that stands for a case: that of the first channel it has."""
    return next(node for node in channels if node is not None)


def choose(channels: Sequence[Any]) -> None:
    """Remember which volumes are the channels of one case; None for one that is missing.

    Raises:
        InputError: all are missing.
    """
    present = [node for node in channels if node is not None]
    if not present:
        raise InputError(_("A case needs at least one volume."))
    for node in present:
        _remember(node, ())
    _remember(present[0], channels)


def _remember(volume: Any, channels: Sequence[Any]) -> None:
    was = volume.StartModify()
    for index in range(_MOST):
        node = channels[index] if index < len(channels) else None
        if node is not None or volume.GetNodeReferenceID(f"{CHANNEL}{index}"):
            volume.SetNodeReferenceID(f"{CHANNEL}{index}", node.GetID() if node is not None else None)
    volume.EndModify(was)


def problem(name: str, channels: Sequence[Any], names: Sequence[str]) -> str:
    """Why the volumes of the case called ``name`` cannot be its channels, in a sentence, or ""."""
    missing = [channel for channel, node in zip(names, channels, strict=True) if node is None]
    if missing:
        return _("{name} lacks {channels}.").format(name=name, channels=", ".join(missing))
    try:
        grid = grid_of(channels[0])
        for node in channels[1:]:
            check_same_grid(node, grid, node.GetName())
    except InputError as refusal:
        return f"{name}: {refusal}"
    return ""


def nodes(identifiers: Sequence[str | None]) -> list[Any]:
    """The volumes of IDs, None for those that are missing or gone."""
    return [slicer.mrmlScene.GetNodeByID(identifier) if identifier else None for identifier in identifiers]


def _chosen(volume: Any, count: int) -> dict[int, Any]:
    """The channels that the user has chosen for the case that begins with ``volume``."""
    found = {index: volume.GetNodeReference(f"{CHANNEL}{index}") for index in range(count)}
    return {index: node for index, node in found.items() if node is not None}


def _read_name(name: str, names: Sequence[str]) -> tuple[str, int | None]:
    """A volume's name without what says its channel, and the channel's number; None if nothing says it."""
    numbered = re.fullmatch(r"(.+)_(\d{4})", name)
    if numbered and int(numbered[2]) < len(names):
        return numbered[1].casefold(), int(numbered[2])
    # T1ce before T1, whose name it begins with.
    for index in sorted(range(len(names)), key=lambda index: -len(names[index])):
        said = re.search(rf"(?<![^\W_]){re.escape(names[index])}(?![^\W_])", name, re.IGNORECASE)
        if said:
            rest = name[: said.start()] + " " + name[said.end() :]
            return " ".join(re.split(r"[\s_.,:-]+", rest.strip(" _.,:-"))).casefold(), index
    return name.casefold(), None

"""What keeps something in the scene from being a case to learn from, in words for the user."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _

from ..first_few import first_few
from . import case_channels
from .cases import Case
from .conversion import to_convert


def label_maps_hint() -> str:
    """That label map volumes are not used, and how they are; "" where there are none."""
    names = [node.GetName() for node in to_convert()]
    if not names:
        return ""
    text = _("Not used: label map {names}. To learn from it, convert it to a segmentation.")
    return text.format(names=first_few(names))


def channel_problems(cases: Sequence[Case], channels: Sequence[str]) -> str:
    """Why cases of several volumes cannot be used, and what to do; "" where they can be."""
    several = [case for case in cases if case.channel_ids]
    problems = [case_channels.problem(c.name, case_channels.nodes(c.channel_ids), channels) for c in several]
    problems = [text for text in problems if text]
    if not problems:
        return ""
    todo = _("Click its row and choose its volumes below the table, or give it the role Ignore.")
    return first_few(problems, between=" ") + " " + todo

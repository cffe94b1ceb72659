"""Whether a result goes into the chosen segmentation: the user is asked where work could be lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

from ..workflows.segment_results import SegmentResults, made_on_another
from ..workflows.session import Session


class Declined(Exception):
    """Nothing is to be segmented: the segmentation cannot take the result, which was told, or the user said no."""


def agreed_output(
    session: Session, results: SegmentResults, segmentation: Any, volume: Any, labels: Sequence[Label]
) -> Any:
    """The segmentation to write the result of ``volume`` into, None for a new one.

    Raises:
        Declined: see there.
    """
    if made_on_another(segmentation, volume):
        question = _("{segmentation} was made on another volume. Put the result of {volume} into it all the same?")
        if not session.confirm(question.format(segmentation=segmentation.GetName(), volume=volume.GetName())):
            return None
    try:
        names = results.replaced_work(segmentation, volume, labels)
    except InputError as problem:
        session.report(problem)
        raise Declined from problem
    question = _(
        "{segmentation} has segments that the result replaces, with all corrections in them: {names}. Replace "
        "them? To keep them, choose New segmentation as output."
    )
    if names and not session.confirm(question.format(segmentation=segmentation.GetName(), names=", ".join(names))):
        raise Declined
    return segmentation

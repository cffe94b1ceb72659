"""Learning again from corrected results: from which checkpoint, and what of its training is no longer there."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.learned_cases import learned_from_others

from ..first_few import first_few
from .cases import TRAIN, Case, Structure
from .catalog import Entry
from .labeled_parts import is_background
from .pairing import same_name
from .session import Session
from .training_files import case_names

#: More names than these are only hinted at.
_MOST_NAMED = 5


def checkpoint_to_go_on_from(session: Session) -> Entry | None:
    """The chosen checkpoint if it segments, else the last one of the user's own that does, else the chosen one if it
    was pre-trained; None without any."""
    chosen = session.checkpoint
    if chosen is not None and chosen.segments:
        return chosen
    own = next((e for e in session.catalog.entries() if e.origin == "mine" and e.segments), None)
    return own or (chosen if chosen is not None and chosen.card is not None else None)


def what_is_missing(entry: Entry, cases: Sequence[Case], structures: Sequence[Structure]) -> list[str]:
    """Sentences on what the checkpoint has learned and would not be taught again.

    Args:
        structures: those to learn.
    """
    sentences: list[str] = []
    if entry.card is None or not entry.segments:
        return sentences
    taught = [case for case in cases if case.role == TRAIN]
    gone = learned_from_others(entry.card, case_names(taught).values())
    if gone:
        text = _("{name} has also learned from {cases}, which this scene does not teach; that may fade.")
        sentences.append(text.format(name=entry.name, cases=first_few(gone, _MOST_NAMED)))
    learned = {same_name(s.learn_as) for s in structures if s.learn and not is_background(s.learn_as)}
    lost = [label.name for label in entry.card.labels if same_name(label.name) not in learned]
    if lost:
        text = _("No case teaches {labels} any more: the new checkpoint will not know it.")
        sentences.append(text.format(labels=first_few(lost, _MOST_NAMED)))
    return sentences

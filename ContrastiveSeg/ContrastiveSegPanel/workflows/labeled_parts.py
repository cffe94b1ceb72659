"""Which part of each labeled volume is labeled: guessed from how its segments are painted, unless the user says it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import slicer
from slicer.i18n import tr as _

from contrastiveseg.descriptions import LabeledPart

from ..first_few import first_few
from ..mrml.painting import Painting, layer_state, painting_of
from ..mrml.segments import Segment, segments_of
from ..signal import Signal
from .cases import Case
from .pairing import PREDICTED
from .task import Step, Steps, do_all

PARTS: tuple[LabeledPart, ...] = get_args(LabeledPart)
#: Attribute of a segmentation: the part of its volume that is labeled, as the user says; a word of PARTS, or _REGION.
LABELED_PART = "ContrastiveSeg.LabeledPart"
#: Node reference of a segmentation to the Markups ROI in which its volume is labeled.
LABELED_REGION = "ContrastiveSeg.LabeledRegion"
_REGION = "region"


@dataclass(frozen=True)
class LabeledPartOfCase:
    """What is labeled of a case.

    Attributes:
        part: a word of ``FinetuneJob``.
        guessed: whether nobody said so. why: a sentence on what the guess is made from; "" for the whole volume.
        empty: IDs of its segments without voxels.
        region: ID of a Markups ROI outside of which nothing is labeled.
    """

    part: LabeledPart
    guessed: bool
    why: str = ""
    empty: frozenset[str] = frozenset()
    region: str | None = None

    @property
    def throughout(self) -> bool:
        """Whether the whole volume is labeled."""
        return self.part == "all" and self.region is None


class LabeledParts:
    """The labeled parts of the scene's cases.

    Segments are looked at one a turn of the event loop, and again when they were painted since; ``changed()`` is
    emitted when that has told something new.
    """

    def __init__(self) -> None:
        self.changed = Signal()
        self._steps = Steps()
        #: (segmentation, segment, volume) -> its state when it was looked at, and what was found.
        self._found: dict[tuple[str, str, str], tuple[tuple[int, int], Painting]] = {}

    def look(self, cases: Sequence[Case]) -> None:
        """Look at what was painted since in the labeled ones of ``cases``, a little later."""
        steps = self._to_look_at(cases)
        if steps:
            self._steps.start(steps, self._looked)

    def finish(self, cases: Sequence[Case]) -> None:
        """Look at once at what is still to be looked at."""
        self._steps.stop()
        do_all(self._to_look_at(cases))

    def stop(self) -> None:
        """Look no more, and forget: the scene closes, or the panel does."""
        self._steps.stop()
        self._found.clear()

    def of(self, case: Case) -> LabeledPartOfCase:
        """What is labeled of a labeled case, as far as it was looked at."""
        node = slicer.mrmlScene.GetNodeByID(case.segmentation_id)
        segments = segments_of(node)
        paintings = {s.id: self._found[key][1] for s in segments if (key := _key(case, s)) in self._found}
        empty = frozenset(identifier for identifier, painting in paintings.items() if painting.empty)
        said = node.GetAttribute(LABELED_PART)
        if said in PARTS:
            return LabeledPartOfCase(said, False, "", empty)
        if said == _REGION and (roi := node.GetNodeReference(LABELED_REGION)) is not None:
            return LabeledPartOfCase("all", False, "", empty, roi.GetID())
        if node.GetAttribute(PREDICTED):
            # Corrected throughout, also where it began as strokes.
            return LabeledPartOfCase("all", True, "", empty)
        if any(is_background(segment.name) and segment.id not in empty for segment in segments):
            return LabeledPartOfCase("painted", True, _("It has a segment named background."), empty)
        for segment in segments:
            slices = paintings[segment.id].slices if segment.id in paintings else None
            if slices is not None:
                why = _("{segment} is painted on {slices}.").format(segment=segment.name, slices=slices)
                return LabeledPartOfCase("slices", True, why, empty)
        return LabeledPartOfCase("all", True, "", empty)

    def say(self, case: Case, part: str) -> None:
        """The user says what is labeled: a word of ``PARTS``, or the ID of a Markups ROI."""
        node = slicer.mrmlScene.GetNodeByID(case.segmentation_id) if case.segmentation_id else None
        if node is not None:
            node.SetNodeReferenceID(LABELED_REGION, None if part in PARTS else part)
            node.SetAttribute(LABELED_PART, part if part in PARTS else _REGION)

    def _to_look_at(self, cases: Iterable[Case]) -> list[Step]:
        found: list[Step] = []
        for case in cases:
            node = slicer.mrmlScene.GetNodeByID(case.segmentation_id) if case.labeled else None
            for segment in segments_of(node) if node is not None else ():
                key = _key(case, segment)
                if key not in self._found or self._found[key][0] != layer_state(node, segment.id):
                    found.append(("", partial(self._look_at, *key)))
        return found

    def _looked(self, problem: Exception | None) -> None:
        if problem is not None:
            raise problem
        self.changed.emit()

    def _look_at(self, segmentation_id: str, segment_id: str, volume_id: str) -> None:
        node, volume = (slicer.mrmlScene.GetNodeByID(i) for i in (segmentation_id, volume_id))
        # Nodes may go between two turns.
        if node is None or volume is None or node.GetSegmentation().GetSegment(segment_id) is None:
            return
        found = layer_state(node, segment_id), painting_of(node, segment_id, volume)
        self._found[segmentation_id, segment_id, volume_id] = found


def is_background(name: str) -> bool:
    """Whether what is painted under this name is background."""
    return name.strip().casefold() == "background"


def guesses_hint(parts: Iterable[tuple[Case, LabeledPartOfCase]]) -> str:
    """That a part only is taken as labeled in some cases although nobody said so; "" where there are none."""
    guessed = [(case, labeled) for case, labeled in parts if labeled.guessed and labeled.part != "all"]
    if not guessed:
        return ""
    names = first_few([case.name for case, _labeled in guessed])
    text = _("Not all of {names} seems to be labeled ({why}) The rest is left out; the column Labeled changes that.")
    return text.format(names=names, why=guessed[0][1].why)


def _key(case: Case, segment: Segment) -> tuple[str, str, str]:
    return (case.segmentation_id or "", segment.id, case.volume_id)


def part_words(part: LabeledPart) -> tuple[str, str]:
    """A labeled part in a word or two, and what it means."""
    return {
        "all": (_("Whole"), _("The whole volume: what is not painted is background")),
        "slices": (_("Slices"), _("The painted slices, throughout; the other slices are left out")),
        "painted": (_("Voxels"), _("The painted voxels alone; background is what a segment named background holds")),
    }[part]

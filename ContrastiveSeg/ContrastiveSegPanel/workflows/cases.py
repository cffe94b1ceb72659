"""The scene's volumes as cases to learn from: their segmentations, their roles, and which structures to learn.

What the user decides about a volume is kept in the volume node itself (an attribute for the role, a node reference for
the segmentation), so that it survives renaming, saving and importing the scene, and goes when the volume goes. Nothing
here knows Qt; the table listens to :attr:`Cases.changed` and reads the cases again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

from ..mrml.segments import Segment
from ..signal import Signal
from .case_channels import first_volume, grouped
from .corrections import completed_segments, taught_segments
from .pairing import PREDICTED, ROLE, SEGMENTATION, pairs, same_name, scalar_volumes, segmentations

TRAIN, UNLABELED, VALIDATION, IGNORE = ROLES = ("train", "unlabeled", "validation", "ignore")
#: Class indices are stored in a byte, and 0 is background.
_MOST_LABELS = 255


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        note: says in a sentence why the role is what it is, where that is not obvious.
        channel_ids: where a case has several volumes, that of each channel, None for one that is missing; else ().
    """

    volume_id: str
    name: str
    segmentation_id: str | None
    role: str
    note: str = ""
    channel_ids: tuple[str | None, ...] = ()

    @property
    def labeled(self) -> bool:
        return self.role in (TRAIN, VALIDATION)


@dataclass(frozen=True)
class Structure:
    """A segment name that occurs in the labeled cases; names that differ only in case and spacing are one.

    Attributes:
        key: the name without case and spacing. name: as it occurs first.
        learn_as: the name of the label it becomes; two structures of one ``learn_as`` become one label.
        learn: whether it is learned at all; otherwise its voxels are background.
        cases: in how many cases it occurs.
        segments: (segmentation ID, segment ID) of each occurrence.
    """

    key: str
    name: str
    learn_as: str
    learn: bool
    cases: int
    color: tuple[int, int, int]
    terminology: str
    segments: tuple[tuple[str, str], ...]


class Cases:
    """The cases of the scene.

    Attributes:
        changed: signal at every change that may concern them, often many in a row.
        channels: names of the channels of each case; of more than one, a case has as many volumes.
    """

    def __init__(self) -> None:
        self.changed = Signal()
        self.channels: tuple[str, ...] = ()
        self._learn_as: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._observations: dict[Any, list[int]] = {}
        scene = slicer.vtkMRMLScene
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent)
        self._observe(slicer.mrmlScene, events)

    def cleanup(self) -> None:
        for node in list(self._observations):
            self._let_go(node)

    def rows(self) -> list[Case]:
        """A case a volume with voxels, or several, in the scene's order. Label maps and color volumes are none."""
        volumes = scalar_volumes()
        self._follow([*volumes, *segmentations()])
        filled = [v for v in volumes if v.GetImageData()]
        paired = pairs(filled, segmentations())
        if len(self.channels) < 2:
            return [_case(volume, segmentation) for volume, segmentation in paired]
        drawn = {volume.GetID(): segmentation for volume, segmentation in paired}
        return [_case_of_several(channels, drawn) for channels in grouped(filled, self.channels)]

    def set_role(self, volume_id: str, role: str) -> None:
        """Remember the user's choice; it holds as soon as, and as long as, the volume has what the role needs."""
        volume = slicer.mrmlScene.GetNodeByID(volume_id)
        if volume is not None:
            volume.SetAttribute(ROLE, role)

    def set_segmentation(self, volume_id: str, segmentation_id: str) -> None:
        """Pair by hand what pairs not by itself."""
        volume = slicer.mrmlScene.GetNodeByID(volume_id)
        if volume is not None:
            volume.SetNodeReferenceID(SEGMENTATION, segmentation_id)

    def structures(self) -> list[Structure]:
        """What the labeled cases hold, in the order of occurrence, with what the user decided about it."""
        return [
            replace(s, learn_as=self._learn_as.get(s.key, s.name), learn=s.key not in self._left_out)
            for s in structures_of(self.rows())
        ]

    def set_learn_as(self, key: str, name: str) -> None:
        """Learn a structure under another name; an empty one gives it its own back."""
        if name.strip():
            self._learn_as[key] = " ".join(name.split())
        else:
            self._learn_as.pop(key, None)
        self.changed.emit()

    def set_learn(self, key: str, learn: bool) -> None:
        (self._left_out.discard if learn else self._left_out.add)(key)
        self.changed.emit()

    def choices(self) -> str:
        """The choices about structures as text, for the parameter node."""
        return json.dumps({"learn_as": self._learn_as, "left_out": sorted(self._left_out)})

    def restore(self, text: str) -> None:
        """Take up ``choices`` of a saved scene; what was not written by them stands for none made."""
        self._learn_as, self._left_out = _choices(text)
        self.changed.emit()

    def _follow(self, nodes: Sequence[Any]) -> None:
        """Follow renaming, references and segments of ``nodes``; painting in a segment is no change here."""
        # What is observed is kept alive, with all its voxels.
        for node in [n for n in self._observations if n is not slicer.mrmlScene and n not in nodes]:
            self._let_go(node)
        segments = slicer.vtkSegmentation
        for node in nodes:
            if node not in self._observations:
                events = [vtk.vtkCommand.ModifiedEvent]
                if node.IsA("vtkMRMLSegmentationNode"):
                    events += [segments.SegmentAdded, segments.SegmentRemoved, segments.SegmentModified]
                self._observe(node, events)

    def _observe(self, node: Any, events: Sequence[int]) -> None:
        self._observations[node] = [node.AddObserver(event, self._on_change) for event in events]

    def _let_go(self, node: Any) -> None:
        for observation in self._observations.pop(node):
            node.RemoveObserver(observation)

    def _on_change(self, caller: Any, event: str) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            self.changed.emit()


def _case_of_several(channels: Sequence[Any], drawn: Mapping[str, Any]) -> Case:
    """``drawn``: volume ID -> its segmentation or None."""
    identifiers = tuple(node.GetID() if node is not None else None for node in channels)
    segmentation = next((drawn[i] for i in identifiers if i is not None and drawn.get(i) is not None), None)
    return replace(_case(first_volume(channels), segmentation), channel_ids=identifiers)


def structures_of(cases: Iterable[Case]) -> list[Structure]:
    """What the labeled ones of ``cases`` hold, in the order of occurrence, each to be learned under its own name."""
    by_name: dict[str, list[tuple[str, Segment]]] = {}
    for case in cases:
        if case.labeled and case.segmentation_id is not None:
            for segment in taught_segments(slicer.mrmlScene.GetNodeByID(case.segmentation_id)):
                by_name.setdefault(same_name(segment.name), []).append((case.segmentation_id, segment))
    return [_structure(key, occurrences) for key, occurrences in by_name.items()]


def labels_to_learn(structures: Sequence[Structure], known: Sequence[Label] = ()) -> list[Label]:
    """One label a name to learn, by value.

    A label of the checkpoint (``known``) with the same name is taken as it is, value, color and codes: the head that
    predicts it can then be trained further. The others get the next free values.

    Raises:
        InputError: more labels than class indices have room for.
    """
    by_name = {same_name(label.name): label for label in known}
    wanted = {same_name(s.learn_as): s for s in structures if s.learn}
    if len(wanted) > _MOST_LABELS:
        raise InputError(
            _("{count} structures are to be learned; at most {most} can be. Leave some out.").format(
                count=len(wanted), most=_MOST_LABELS
            )
        )
    labels = {name: by_name[name] for name in wanted if name in by_name}
    taken = {label.value for label in labels.values()}
    free = (value for value in range(1, 2 * _MOST_LABELS) if value not in taken)
    for name, structure in wanted.items():
        if name not in labels:
            labels[name] = Label(next(free), structure.learn_as, structure.color, structure.terminology or None)
    return sorted(labels.values(), key=lambda label: label.value)


def segment_values(
    structures: Sequence[Structure], labels: Sequence[Label], segmentation_id: str | None
) -> dict[str, int]:
    """Segment ID -> value in the label map, for one segmentation."""
    values = {same_name(label.name): label.value for label in labels}
    return {
        segment: values[same_name(structure.learn_as)]
        for structure in structures
        if structure.learn
        for segmentation, segment in structure.segments
        if segmentation == segmentation_id
    }


def _choices(text: str) -> tuple[dict[str, str], set[str]]:
    """Names to learn as, and structures left out."""
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    learn_as, left_out = (data.get("learn_as"), data.get("left_out")) if isinstance(data, dict) else (None, None)
    names = learn_as.items() if isinstance(learn_as, dict) else ()
    keys = left_out if isinstance(left_out, list) else ()
    return (
        {key: name for key, name in names if isinstance(name, str) and name.strip()},
        {key for key in keys if isinstance(key, str)},
    )


def _structure(key: str, occurrences: Sequence[tuple[str, Segment]]) -> Structure:
    first = occurrences[0][1]
    return Structure(
        key=key,
        name=first.name,
        learn_as=first.name,
        learn=True,
        cases=len({segmentation for segmentation, segment in occurrences}),
        color=first.color,
        terminology=first.terminology,
        segments=tuple((segmentation, segment.id) for segmentation, segment in occurrences),
    )


def _case(volume: Any, segmentation: Any) -> Case:
    chosen = volume.GetAttribute(ROLE)
    note = ""
    if segmentation is None or not segmentation.GetSegmentation().GetNumberOfSegments():
        role = IGNORE if chosen == IGNORE else UNLABELED
        if chosen in (TRAIN, VALIDATION):
            note = _("This role needs a segmentation with segments.")
    elif chosen in ROLES:
        role = chosen
    elif not segmentation.GetAttribute(PREDICTED):
        role = TRAIN
    elif completed_segments(segmentation):
        role, note = TRAIN, _("A checkpoint made this segmentation. Its segments with the status Completed are taught.")
    else:
        note = _(
            "A checkpoint made this segmentation. Correct it, then set its status to Completed, or choose its role."
        )
        role = UNLABELED
    return Case(volume.GetID(), volume.GetName(), segmentation.GetID() if segmentation else None, role, note)

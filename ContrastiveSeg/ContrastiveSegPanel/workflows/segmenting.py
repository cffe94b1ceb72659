"""Segmenting volumes of the scene: what goes to the engine and what comes back, for the panel and the logic alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.checkpoints.licensing import terms
from contrastiveseg.descriptions import Pieces, QualityJob, Roi, SegmentJob
from contrastiveseg.errors import InputError

from ..mrml import scene
from ..mrml.region import region_in
from ..mrml.undo import State, states
from .cases import IGNORE, TRAIN, VALIDATION
from .display import hide_elsewhere
from .pairing import MAP_OF, PREDICTED, ROLE, TERMS, filled_volumes, segmentation_of
from .scene_changes import SceneChanges
from .task import Step


@dataclass(frozen=True)
class Options:
    """How to segment; the words of ``SegmentJob``. ``uncertainty``: also make an uncertainty map. ``roi``: a Markups
    ROI, the only part of the volumes to segment."""

    mirror: bool = False
    pieces: Pieces = "auto"
    uncertainty: bool = False
    device: str = "auto"
    roi: Any = None


class Made(NamedTuple):
    """A result as it came into the scene: the ID of its volume (of several channels the first), and its segments."""

    volume_id: str
    segments: State


@dataclass(frozen=True)
class _Case:
    name: str
    volume_ids: tuple[str, ...]


class Segmenting:
    """Some volumes on their way through the engine and back: write, run the job, take.

    Only IDs of nodes are kept: they may be gone when the engine has done its part.

    Args:
        cases: for each segmentation to make, its volumes, one a channel of the model.
        segmentation: the node to write into, for one case; None makes a new one for every case.
        within: a folder to make this work's own folder in; it holds images of patients until :meth:`close`.

    Raises:
        InputError: as :func:`region_of`.
    """

    def __init__(
        self,
        checkpoint: Path,
        card: Card,
        cases: Sequence[Sequence[Any]],
        options: Options,
        segmentation: Any,
        within: Path,
    ) -> None:
        self._roi = region_of(options.roi, [volumes[0] for volumes in cases])
        names = scene.safe_names([volumes[0] for volumes in cases])
        self._cases = [_Case(names[v[0].GetID()], tuple(volume.GetID() for volume in v)) for v in cases]
        self._segmentation_id = segmentation.GetID() if segmentation is not None else None
        self._checkpoint, self._card, self._options = checkpoint, card, options
        #: Segments that the result replaces, as they are now: the user has agreed to that.
        self._known = self._replaced_in(segmentation) if segmentation is not None else {}
        self._folder = Path(tempfile.mkdtemp(prefix="segment-", dir=within))
        self._taken: set[str] = set()
        #: What was changed in the scene.
        self.changes = SceneChanges()
        #: IDs of the segmentations made or written into, in the order of the cases.
        self.segmentation_ids: list[str] = []
        #: ID of a segmentation -> what was made in it.
        self.as_made: dict[str, Made] = {}
        #: Sentences on results that were put into a new segmentation instead of the one to write into.
        self.diverted: list[str] = []
        #: Names of cases whose nodes were gone when their result came.
        self.dropped: list[str] = []

    def steps(self) -> list[Step]:
        """What has to be done before the job, one file a step, with a text for the user."""
        return [
            (_("Handing over {name}").format(name=case.name), partial(self._write, case, i))
            for case in self._cases
            for i in range(len(case.volume_ids))
        ]

    def job(self) -> SegmentJob:
        """The job for the engine."""
        files = [str(self._input(case, i)) for case in self._cases for i in range(len(case.volume_ids))]
        return SegmentJob(
            checkpoint=str(self._checkpoint),
            input=tuple(files),
            output=str(self._folder / "labels"),
            mirror=self._options.mirror,
            pieces=self._options.pieces,
            uncertainty=str(self._folder / "uncertainty") if self._maps_wanted else None,
            device=self._options.device,
            roi=self._roi,
            uncompressed=True,
        )

    def quality_job(self, pictures: Path) -> QualityJob:
        """What says which of the results of a batch to look at first; to be done before :meth:`close`.

        Args:
            pictures: folder for a picture of each.
        """
        return QualityJob(
            input=self.job().input,
            segmentations=str(self._folder / "labels"),
            uncertainty=str(self._folder / "uncertainty"),
            checkpoint=str(self._checkpoint),
            pictures=str(pictures),
        )

    @property
    def is_batch(self) -> bool:
        """Whether there are several results to compare with one another."""
        return len(self._cases) > 1

    @property
    def has_region(self) -> bool:
        """Whether only a region of interest is segmented."""
        return self._roi is not None

    @property
    def volume_ids(self) -> dict[str, str]:
        """Name of a case in files and results -> ID of its volume, of several channels the first."""
        return {case.name: case.volume_ids[0] for case in self._cases}

    @property
    def volume_names(self) -> dict[str, str]:
        """Name of a case in files and results -> what the user calls its volume, of those that are there."""
        nodes = {name: slicer.mrmlScene.GetNodeByID(identifier) for name, identifier in self.volume_ids.items()}
        return {name: node.GetName() for name, node in nodes.items() if node is not None}

    def worded(self, problem: Exception | str) -> Exception | str:
        """The engine's text with the names of volumes in place of their files, which the user never sees."""
        if isinstance(problem, Exception):
            return problem
        for case in self._cases:
            for index, node in enumerate(map(slicer.mrmlScene.GetNodeByID, case.volume_ids)):
                problem = problem.replace(str(self._input(case, index)), node.GetName() if node else case.name)
        return problem

    @property
    def _maps_wanted(self) -> bool:
        # Those of a batch say which results to look at first.
        return self._options.uncertainty or self.is_batch

    def finished(self) -> list[Step]:
        """What puts the results that the engine has finished, and that are not there yet, into the scene: one a step,
        since several at once would stop Slicer for seconds; nothing for volumes that are gone. A step raises InputError
        as :func:`.scene.read_labels_into`."""
        text, names = _("Showing the result of {name}"), self.volume_names
        return [
            (text.format(name=names.get(case.name, case.name)), partial(self._take, case))
            for case in self._cases
            if case.name not in self._taken and self._is_finished(case)
        ]

    def _is_finished(self, case: _Case) -> bool:
        kinds = ("labels", "uncertainty") if self._maps_wanted else ("labels",)
        return all(self._output(kind, case).exists() for kind in kinds)

    def misplaced(self) -> list[str]:
        """Sentences on results that are not where they were to be."""
        gone = _("{name} is gone from the scene; its segmentation was dropped.")
        return [*self.diverted, *(gone.format(name=name) for name in self.dropped)]

    def close(self) -> None:
        """Remove the files, and take nothing more; what is in the scene stays, and can still be undone."""
        self._taken.update(case.name for case in self._cases)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _take(self, case: _Case) -> None:
        self._taken.add(case.name)
        labels, uncertainty = self._output("labels", case), self._output("uncertainty", case)
        volume = slicer.mrmlScene.GetNodeByID(case.volume_ids[0])
        segmentation = slicer.mrmlScene.GetNodeByID(self._segmentation_id) if self._segmentation_id else None
        if volume is None or (self._segmentation_id and segmentation is None):
            self.dropped.append(case.name)
            return
        why_not = self._why_not_into(segmentation, volume) if segmentation is not None else ""
        if why_not:
            segmentation = None
        shown = segmentation_of(volume)
        name = _free_name(_("{name} segmentation").format(name=volume.GetName()))
        node, undo = scene.read_labels_into(labels, self._card.labels, volume, segmentation, name)
        if segmentation is None and self.is_batch:
            # Until the last has come, all would lie over one volume.
            hide_elsewhere(node, volume)
        if why_not:
            text = _("{why} The result is in a new segmentation, {name}.")
            self.diverted.append(text.format(why=why_not, name=node.GetName()))
        self.changes.add(undo)
        self.changes.set_attribute(node, TERMS, terms(self._card) or None)
        if undo.written.issuperset(node.GetSegmentation().GetSegmentIDs()):
            self._mark_as_predicted(node, volume, learned=shown in (None, node))
        self.segmentation_ids.append(node.GetID())
        self.as_made[node.GetID()] = Made(volume.GetID(), undo.as_written)
        if self._options.uncertainty:
            name = _free_name(_("{name} uncertainty").format(name=volume.GetName()))
            node = scene.load_volume(uncertainty, volume, name)
            # A map of a volume is no volume to learn from, nor to segment with all the others.
            node.SetAttribute(ROLE, IGNORE)
            node.SetNodeReferenceID(MAP_OF, volume.GetID())
            self.changes.add_volume(node)

    def _why_not_into(self, segmentation: Any, volume: Any) -> str:
        """Why the volume's result should not go into the segmentation that was to be written into, or ""."""
        try:
            scene.check_takes_labels(segmentation, volume)
        except InputError as problem:
            return str(problem)
        if any(self._known.get(identifier) != now for identifier, now in self._replaced_in(segmentation).items()):
            return _("{name} was changed while the result was being computed.").format(name=segmentation.GetName())
        return ""

    def _replaced_in(self, segmentation: Any) -> State:
        """The segments that a result replaces there, as they are now."""
        replaced = scene.replaced_by_name(segmentation, self._card.labels).values()
        return states(segmentation.GetSegmentation(), replaced)

    def _mark_as_predicted(self, segmentation: Any, volume: Any, learned: bool) -> None:
        """All of it is a prediction now: it is learned from only if the user chooses so.

        Args:
            learned: the volume's role goes for this segmentation, not for another one that the user has worked on.
        """
        learned = learned and volume.GetAttribute(ROLE) in (TRAIN, VALIDATION)
        changes = [(segmentation, PREDICTED, self._checkpoint.name), *([(volume, ROLE, None)] if learned else [])]
        for node, attribute, value in changes:
            self.changes.set_attribute(node, attribute, value)

    def _write(self, case: _Case, index: int) -> None:
        volume = slicer.mrmlScene.GetNodeByID(case.volume_ids[index])
        if volume is None:  # the work may have waited in the queue
            raise InputError(_("{name} is no longer in the scene.").format(name=case.name))
        scene.write_volume(volume, self._input(case, index))

    def _input(self, case: _Case, index: int) -> Path:
        channel = f"_{index:04d}" if len(case.volume_ids) > 1 else ""
        return self._folder / f"{case.name}{channel}{scene.FILE_ENDING}"

    def _output(self, kind: str, case: _Case) -> Path:
        return self._folder / kind / f"{case.name}{scene.FILE_ENDING}"


def region_of(roi: Any, volumes: Sequence[Any]) -> Roi | None:
    """The box of a Markups ROI (None: no region) in the volumes' own coordinates.

    Raises:
        InputError: it is not placed yet, or is another box in one of the volumes, under another transform.
    """
    if roi is None:
        return None
    boxes = {tuple(round(mm, 3) for mm in region_in(roi, volume)) for volume in volumes}
    if len(boxes) > 1:
        raise InputError(_("The volumes lie under different transforms: with a region, segment them one by one."))
    return region_in(roi, volumes[0])


def volumes_in_scene() -> list[Any]:
    """The scalar volumes that may be segmented: no label maps, colors or uncertainty maps, none without voxels."""
    # A map whose volume is gone is known by its role.
    return [volume for volume in filled_volumes() if volume.GetAttribute(ROLE) != IGNORE]


def _free_name(name: str) -> str:
    # GenerateUniqueName numbers also names that no node has any longer.
    taken = slicer.mrmlScene.GetFirstNodeByName(name) is not None
    return slicer.mrmlScene.GenerateUniqueName(name) if taken else name

"""After a batch: which of its segmentations to look at first, and showing the place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.quality_tables import Picture, to_csv, to_html, without_names
from contrastiveseg.files import write_text
from contrastiveseg.results import QualityCase, QualityResult

from ..mrml import scene
from ..mrml.slice_views import show_place
from .display import show_case
from .pairing import PREDICTED
from .segmenting import Segmenting
from .session import Session
from .task import Task


@dataclass(frozen=True)
class Looked:
    """A batch by doubt.

    Attributes:
        title: which batch, for the user. cases: the most doubtful first.
        volume: gives the volume node of a case with its segmentation, loading what is not in the scene.
        pictures: folder of the pictures, which are removed with the session's files.
        names: of cases whose files have other names than the user's volumes -> that of the volume.
    """

    title: str
    cases: tuple[QualityCase, ...]
    volume: Callable[[QualityCase], Any]
    pictures: Path
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> tuple[QualityCase, ...]:
        """The cases by the names that the user knows."""
        return tuple(replace(case, name=self.names.get(case.name, case.name)) for case in self.cases)

    def show(self, case: QualityCase) -> None:
        """Show the case at the place to look at first.

        Raises:
            InputError: its volume is gone, or cannot be loaded.
        """
        volume = self.volume(case)
        show_case(volume)
        show_place(volume, case.world)

    def export(self, path: Path, names: bool) -> None:
        """Write the table to ``path``: a page with pictures if it ends in .html, else CSV.

        Args:
            names: write the names of the cases, which may identify patients.

        Raises:
            InputError: it cannot be written.
            OSError: a picture is gone.
        """
        shown: Sequence[QualityCase] = self.named if names else without_names(self.cases)
        if path.suffix.lower() not in (".html", ".htm"):
            write_text(path, to_csv(shown))
            return
        files = [Path(case.picture) if case.picture else None for case in self.cases]
        page = [Picture(case, file.read_bytes() if file else b"") for case, file in zip(shown, files, strict=True)]
        write_text(path, to_html(page))


class SceneQuality:
    """Looks at the results of a batch of the scene's volumes, on the session's worker.

    Args:
        on_looked: called with what was found.
    """

    def __init__(self, session: Session, on_looked: Callable[[Looked], None]) -> None:
        self._session, self._on_looked = session, on_looked
        self._work: Segmenting | None = None
        self.task = Task(session.worker)

    def start(self, work: Segmenting) -> None:
        """Look at what ``work`` has made; its files are removed afterwards."""
        self.cancel()
        self._work, self._volume_ids = work, work.volume_ids
        self._pictures = pictures_folder(self._session)
        self.task.start([], work.quality_job(self._pictures), self._done, self._failed)

    def cancel(self) -> None:
        """The scene closes, or another batch has ended."""
        work, self._work = self._work, None
        if work is not None:
            work.close()
            self.task.cancel()

    def _done(self, result: QualityResult) -> None:
        if self._work is None:
            return
        names = self._work.volume_names
        self._work.close()
        self._work = None
        title = _("{count} volumes of the scene").format(count=len(result.cases))
        self._on_looked(Looked(title, result.cases, in_scene(self._volume_ids), self._pictures, names))

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        if self._work is not None:
            self._work.close()
            self._work = None
            self._session.log(str(problem))


def pictures_folder(session: Session) -> Path:
    """A new folder for the pictures of a batch, which goes with the session's files."""
    return Path(tempfile.mkdtemp(prefix="pictures-", dir=session.folder()))


def forget(looked: Looked | None) -> None:
    """Remove the pictures of a batch that is shown no longer."""
    if looked is not None:
        shutil.rmtree(looked.pictures, ignore_errors=True)


def in_scene(volume_ids: Mapping[str, str]) -> Callable[[QualityCase], Any]:
    """What gives the volume node of a case, by its ID; an InputError where that has left the scene."""

    def volume(case: QualityCase) -> Any:
        node = slicer.mrmlScene.GetNodeByID(volume_ids[case.name])
        if node is None:
            raise InputError(_("{name} is no longer in the scene.").format(name=case.name))
        return node

    return volume


def from_files(card: Card, checkpoint: str) -> Callable[[QualityCase], Any]:
    """What gives the volume node of a case of a folder, loaded with its segmentation when it is first wanted.

    Args:
        card: of the checkpoint that made the segmentations, a file called ``checkpoint``.
    """
    loaded: dict[str, str] = {}

    def volume(case: QualityCase) -> Any:
        node = slicer.mrmlScene.GetNodeByID(loaded.get(case.name, ""))
        if node is None:
            node = _load(case, card, checkpoint)
            loaded[case.name] = node.GetID()
        return node

    return volume


def _load(case: QualityCase, card: Card, checkpoint: str) -> Any:
    if Path(case.image).is_dir():
        raise InputError(_("{path} is a DICOM folder. Load it by the module DICOM.").format(path=case.image))
    try:
        node = slicer.util.loadVolume(case.image, {"name": case.name})
    except RuntimeError as problem:
        raise InputError(_("{path} cannot be loaded.").format(path=case.image)) from problem
    name = _("{name} segmentation").format(name=case.name)
    segmentation, _undo = scene.read_labels_into(case.segmentation, card.labels, node, None, name)
    # What a checkpoint made is not learned from by itself.
    segmentation.SetAttribute(PREDICTED, checkpoint)
    return node

"""How a checkpoint did on corrected results before it learned from them, and how the new one does."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.descriptions import EvaluateJob, Job, SegmentJob
from contrastiveseg.results import EvaluateResult

from ..mrml import scene
from .cases import Case, Structure, segment_values
from .pairing import same_name
from .session import Session
from .task import Step, Task
from .training_files import case_names, labels_step, write_volumes


@dataclass(frozen=True)
class CorrectedCase:
    """Mean Dice of a corrected volume over the structures that were learned from it; None where undefined."""

    volume_id: str
    before: float | None
    after: float | None


class CorrectionScores:
    """Segments the corrected volumes with both checkpoints, one job after the other, and compares with the corrections.

    Attributes:
        task: its progress.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.task = Task(session.worker)
        self._jobs: list[Job] = []
        self._results: list[EvaluateResult] = []
        self._folder = Path()

    def start(
        self,
        cases: Sequence[Case],
        structures: Sequence[Structure],
        checkpoints: tuple[Path, Path],
        card: Card,
        device: str,
        on_done: Callable[[list[CorrectedCase]], None],
    ) -> None:
        """Score ``cases``; ``on_done`` gets a score each, or [] where it failed, which the log explains.

        Args:
            cases: labeled throughout: elsewhere nobody has said what is right.
            structures: what they teach, as the training had it.
            checkpoints: files of the one before and the one after. card: of the one after.
        """
        self._on_done = on_done
        self._names = {name: identifier for identifier, name in case_names(cases).items()}
        self._folder = self._session.new_folder("corrections-")
        steps, files = write_volumes(cases, self._folder / "images")
        names, references = case_names(cases), self._folder / "references"
        references.mkdir()
        # A structure of which no voxel was painted is no label of the checkpoint.
        known = {same_name(label.name) for label in card.labels}
        learned = [structure for structure in structures if same_name(structure.learn_as) in known]
        self._taught: dict[str, set[int]] = {}
        for case in cases:
            values = segment_values(learned, card.labels, case.segmentation_id)
            self._taught[case.volume_id] = set(values.values())
            path = references / (names[case.volume_id] + scene.FILE_ENDING)
            steps.append(labels_step(case, values, path))
        given = tuple(file for case in cases for file in files[case.volume_id])
        self._jobs, self._results = [], []
        for number, checkpoint in enumerate(checkpoints):
            made, scores = str(self._folder / f"labels-{number}"), str(self._folder / f"scores-{number}.json")
            self._jobs.append(
                SegmentJob(checkpoint=str(checkpoint), input=given, output=made, device=device, uncompressed=True)
            )
            self._jobs.append(EvaluateJob(predictions=made, references=str(references), output=scores))
        self._next(steps)

    def cancel(self) -> None:
        """The scene closes, or the panel does: nothing comes of it."""
        self._jobs = []
        self.task.cancel()

    def _next(self, steps: Sequence[Step] = ()) -> None:
        self.task.start(steps, self._jobs.pop(0), self._done, self._failed)

    def _done(self, result: Any) -> None:
        if isinstance(result, EvaluateResult):
            self._results.append(result)
        if self._jobs:
            self._next()
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        if len(self._results) == 2:
            before, after = (_dice(result, self._names, self._taught) for result in self._results)
            self._on_done([CorrectedCase(i, before.get(i), after.get(i)) for i in self._names.values()])

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        # A job that had only just begun may still write a label map; it goes with the session's folder.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._jobs = []
        if not cancelled:
            self._session.log(_("The corrected volumes were not scored: {problem}").format(problem=problem))
            self._on_done([])


def _dice(result: EvaluateResult, names: Mapping[str, str], taught: Mapping[str, set[int]]) -> dict[str, float]:
    """Volume ID -> mean Dice over the labels that are in ``taught`` for it."""
    found: dict[str, list[float]] = {}
    for row in result.rows:
        identifier = names[row.case]
        if row.dice is not None and row.label in taught[identifier]:
            found.setdefault(identifier, []).append(row.dice)
    return {identifier: statistics.fmean(values) for identifier, values in found.items()}

"""What the panel does, as functions that return when it is done: for the module's logic, scripts and self tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import ContrastiveSegError, InputError
from contrastiveseg.events import Event
from contrastiveseg.results import ScoreRow
from contrastiveseg.serialization import to_json

from ..engine.blocking import run_blocking
from ..engine.requirements import how_to_install
from ..mrml import scene
from .cases import TRAIN, UNLABELED, VALIDATION, Case, structures_of
from .comparison import compare
from .pairing import volume_of
from .segmenting import Options, Segmenting
from .session import Session
from .task import do_all
from .training_files import training_files

OnEvent = Callable[[Event], None]


def segment(
    session: Session,
    volumes: Sequence[Any],
    checkpoint: Path,
    segmentation: Any,
    options: Options,
    on_event: OnEvent | None,
) -> Any:
    """See ``ContrastiveSegLogic.segment``."""
    _check_packages(session)
    if segmentation is not None:
        scene.check_takes_labels(segmentation, volumes[0])
    work = Segmenting(checkpoint, read_card(checkpoint), [volumes], options, segmentation, session.folder())
    try:
        do_all(work.steps())
        run_blocking(session.worker, work.job(), on_event)
        do_all(work.finished())
    finally:
        work.close()
    for text in work.diverted:
        session.log(text)
    if not work.segmentation_ids:
        raise InputError(_("The volume or the segmentation was removed from the scene meanwhile."))
    return slicer.mrmlScene.GetNodeByID(work.segmentation_ids[0])


def fine_tune(
    session: Session,
    cases: Sequence[tuple[Any, Any]],
    checkpoint: Path | None,
    output: Path,
    validation: Sequence[tuple[Any, Any]],
    unlabeled: Sequence[Any],
    on_event: OnEvent | None,
    fields: dict[str, Any],
) -> dict[str, Any]:
    """See ``ContrastiveSegLogic.fine_tune``."""
    _check_packages(session)
    given = [_case(volume, segmentation, TRAIN) for volume, segmentation in cases]
    given += [_case(volume, segmentation, VALIDATION) for volume, segmentation in validation]
    given += [_case(volume, None, UNLABELED) for volume in unlabeled]
    known = read_card(checkpoint).labels if checkpoint is not None else ()
    with _folder(session) as folder:
        files = training_files(given, structures_of(given), known, folder, bool(unlabeled), session.log)
        job = FinetuneJob(
            checkpoint=str(checkpoint) if checkpoint is not None else "none",
            output=str(output),
            **{**files.fields, **fields},
        )
        do_all(files.steps)
        return to_json(run_blocking(session.worker, job, on_event))


def evaluate(session: Session, segmentation: Any, reference: Any, volume: Any) -> dict[str, dict[str, float | None]]:
    """See ``ContrastiveSegLogic.evaluate``."""
    _check_packages(session)
    volume = volume or volume_of(reference) or volume_of(segmentation)
    if volume is None:
        raise InputError(_("Neither segmentation says which volume it was made on. Name the volume to compare on."))
    with _folder(session) as folder:
        comparison = compare(segmentation, reference, volume, folder)
        do_all(comparison.steps)
        result = run_blocking(session.worker, comparison.job)
    return {comparison.names[row.label]: _scores(row) for row in result.rows}


def _scores(row: ScoreRow) -> dict[str, float | None]:
    return {key: value for key, value in to_json(row).items() if key not in ("case", "label")}


def _check_packages(session: Session) -> None:
    if session.missing:
        raise ContrastiveSegError(how_to_install())


def _case(volume: Any, segmentation: Any, role: str) -> Case:
    """``volume``: or several, one a channel."""
    channels = list(volume) if isinstance(volume, (list, tuple)) else []
    first = channels[0] if channels else volume
    identifiers = tuple(node.GetID() for node in channels) if len(channels) > 1 else ()
    drawn = segmentation.GetID() if segmentation is not None else None
    return Case(first.GetID(), first.GetName(), drawn, role, channel_ids=identifiers)


@contextmanager
def _folder(session: Session) -> Iterator[Path]:
    folder = session.new_folder("script-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

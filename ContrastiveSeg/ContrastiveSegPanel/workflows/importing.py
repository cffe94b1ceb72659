"""Models of nnU-Net and bundles of MONAI as checkpoints in the catalog: the engine imports them, the user says what
their files do not."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.bundle_files import holds_bundle
from contrastiveseg.checkpoints.header import SUFFIX
from contrastiveseg.checkpoints.licensing import note_license
from contrastiveseg.checkpoints.nnunet_files import holds_model
from contrastiveseg.descriptions import ImportJob
from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.events import Error, Event, Result

from ..engine.client import EngineClient


class Asker(Protocol):
    """What an import needs of the session."""

    def log(self, text: str) -> None: ...
    def log_event(self, event: Event) -> None: ...
    def report(self, problem: Exception | str) -> None: ...
    def ask(self, question: str) -> str: ...
    def refresh_catalog(self, select: Path | None = None) -> None: ...


def is_model(path: Path) -> bool:
    """Whether the file or folder can be taken into the catalog, by its name and those of what is in it."""
    return path.suffix == SUFFIX or holds_model(path) or holds_bundle(path)


def model_name(path: Path) -> str:
    """What a model is called: one of nnU-Net by its data set, where its folders name one."""
    folders = [path.stem, *(parent.name for parent in path.parents)]
    return next((name for name in folders[:5] if name.startswith("Dataset")), folders[0])


def import_model(path: Path, target: Path, worker: EngineClient, session: Asker) -> None:
    """Ask the engine to write the model at ``path`` as the checkpoint ``target``; it is chosen when it is there.

    A license that the files do not say is asked for, once.
    """

    def on_event(event: Event) -> None:
        session.log_event(event)
        if isinstance(event, Error):
            session.report(event.what)
        elif isinstance(event, Result):
            if not event.value.license:
                _note_license(target, session)
            session.refresh_catalog(select=target)

    session.log(_("Importing {path}").format(path=path))
    target.parent.mkdir(parents=True, exist_ok=True)
    source = "monai" if holds_bundle(path) else "nnunet"
    worker.submit(ImportJob(file=str(path), source=source, output=str(target)), on_event)


def _note_license(target: Path, session: Asker) -> None:
    question = _("Under which license are the weights of {name}, as CC-BY-NC-4.0? Leave it empty if it is not known.")
    license = session.ask(question.format(name=target.stem))
    try:
        if license:
            note_license(target, license)
    except (ContrastiveSegError, OSError) as problem:
        session.report(problem)

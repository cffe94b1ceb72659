"""Checkpoints that catalogs list and that are not there yet: downloaded by the second process when the user asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.header import SUFFIX
from contrastiveseg.checkpoints.model_catalog import ENDING, read_catalog
from contrastiveseg.descriptions import ModelsJob
from contrastiveseg.errors import InputError
from contrastiveseg.results import CatalogModel, ModelsResult

from .queue import Entry
from .session import Session
from .task import Task


@dataclass(frozen=True)
class Offer:
    """A model that can be downloaded, and the catalog that lists it."""

    model: CatalogModel
    catalog: Path


def offers(session: Session) -> list[Offer]:
    """What the catalogs in the folder of the user's checkpoints offer that is not there yet, by its name.

    A catalog that cannot be read is named in the log.
    """
    there = {entry.name for entry in session.catalog.entries()}
    folder = session.catalog.models
    found: list[Offer] = []
    for path in sorted(folder.glob(f"*{ENDING}")) if folder.is_dir() else []:
        try:
            listed = [Offer(model, path) for model in read_catalog(path) if model.address]
        except InputError as problem:
            session.log(str(problem))
            continue
        found += [offer for offer in listed if offer.model.name not in there]
    return found


def question(model: CatalogModel) -> str:
    """What is asked before anything is downloaded."""
    return _(
        "Download {name} ({size:.1f} MB) from {address}?\n\nIt is for {purpose}. Images: {modality}.\n"
        "License: {license}\nCite: {citation}"
    ).format(
        name=model.name,
        size=model.size / 10**6,
        address=model.address,
        purpose=model.purpose,
        modality=model.modality,
        license=model.license or _("not known"),
        citation=model.citation,
    )


def download(session: Session, offer: Offer) -> None:
    """Put the download into the queue of the second process; the checkpoint is chosen when it is there."""
    model = offer.model
    target = session.catalog.models / f"{model.name}{SUFFIX}"
    if any(entry.output == target for entry in session.queue.entries if entry.state in ("waiting", "running")):
        session.report(_("{name} is in the queue already: see the section Jobs.").format(name=model.name))
        return
    job = ModelsJob(download=model.name, catalog=(str(offer.catalog),), output=str(target))
    task = Task(session.trainer)
    entry = Entry(_("Download {name}").format(name=model.name), cancel=task.cancel, output=target)

    def end(state: str) -> None:
        session.queue.end(entry, state)
        session.trainer.stop(session.training_changed.emit)

    def done(result: ModelsResult) -> None:
        session.refresh_catalog(select=target)
        end("done")

    def failed(problem: Exception | str, cancelled: bool) -> None:
        end("cancelled" if cancelled else "failed")
        if cancelled:
            session.log(str(problem))
        else:
            session.report(problem)

    task.status.connect(session.log)
    entry.begin = partial(task.start, [], job, done, failed, session.log_event)
    session.queue.add(entry)

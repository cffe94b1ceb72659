"""The button Save as DICOM SEG of the section Segment, for volumes that were loaded from DICOM."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.errors import InputError
from contrastiveseg.results import ExportResult

from .. import settings
from ..workflows.dicom_export import export, made_by, series_files
from ..workflows.session import Session
from ..workflows.task import Task
from .save_dialog import file_to_write

_FOLDER = "LastDicomFolder"


class DicomButton:
    """Writes the displayed result to a file that the user chooses.

    Args:
        to_save: the segmentation and the volume that it was made on, or None.
    """

    def __init__(self, session: Session, button: Any, to_save: Callable[[], tuple[Any, Any] | None]) -> None:
        self._session, self._button, self._to_save = session, button, to_save
        self.task = Task(session.worker)
        self.task.changed.connect(self.show_state)
        self._files = Path()
        button.connect("clicked()", self._save)

    def show_state(self) -> None:
        """Show the button where the result's volume is from DICOM."""
        chosen = self._to_save()
        self._button.setVisible(chosen is not None and bool(series_files(chosen[1])))
        self._button.setEnabled(not self.task.busy and not self._session.obstacle)

    def _save(self) -> None:
        chosen = self._to_save()
        if chosen is None or self.task.busy:
            return
        segmentation, volume = chosen
        proposed = Path(settings.text(_FOLDER, str(Path.home()))) / f"{segmentation.GetName()}.dcm"
        output = file_to_write(self._session, _("Save as DICOM SEG"), proposed, _("DICOM SEG") + " (*.dcm)")
        if output is None:
            return
        settings.set_text(_FOLDER, str(output.parent))
        self._files = self._session.new_folder("dicom-")
        try:
            # Whoever reads the folder would take a segmentation among a series' files for one of its images.
            if any(file.parent.resolve() == output.parent.resolve() for file in series_files(volume)):
                text = _("{path} would lie among the images of its series. Choose another folder.")
                raise InputError(text.format(path=output))
            checkpoint = made_by(segmentation, self._session)
            work = export(segmentation, volume, checkpoint, output, self._files)
        except InputError as problem:
            self._failed(problem, False)
            return
        self.task.start(work.steps, work.job, self._done, self._failed, self._session.log_event)

    def cancel(self) -> None:
        """The scene or the panel closes."""
        self.task.cancel()

    def _done(self, result: ExportResult) -> None:
        self._remove_files()
        text = _("Written: {path}").format(path=result.output)
        self.task.status.emit(text)
        self._session.log(text)

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        self._remove_files()
        if not cancelled:
            self._session.report(problem)

    def _remove_files(self) -> None:
        shutil.rmtree(self._files, ignore_errors=True)

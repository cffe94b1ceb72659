"""Section Jobs: what runs and waits on the second process, and interrupted trainings that can go on."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from ..plain_text import plain_tip
from ..workflows.interrupted import Interrupted, interrupted, remove_files, title
from ..workflows.queue import Entry
from ..workflows.session import Session
from .section import Section
from .silent import silent

_JOB, _STATE = range(2)


class JobsSection(Section):
    """A table of jobs; the buttons below it act on the selected one."""

    def __init__(self, session: Session, ui: Any) -> None:
        super().__init__(session, ui)
        self._shown: list[Entry | Interrupted] = []
        header = ui.jobsTable.horizontalHeader()
        header.setSectionResizeMode(_JOB, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_STATE, qt.QHeaderView.ResizeToContents)
        ui.jobsTable.connect("itemSelectionChanged()", self._show_buttons)
        ui.jobUpButton.connect("clicked()", self._up)
        ui.jobDownButton.connect("clicked()", self._down)
        ui.jobCancelButton.connect("clicked()", self._cancel)
        ui.jobGoOnButton.connect("clicked()", self._go_on)
        ui.jobDiscardButton.connect("clicked()", self._discard)
        for signal in (session.training_changed, session.catalog_changed, session.missing_changed):
            self.listen(signal, self.show)
        self.show()

    def show(self) -> None:
        """Show the jobs as they are now; the selected one stays selected."""
        selected, table = self._selected, self.ui.jobsTable
        queue = self.session.queue
        alive = [e.output for e in queue.entries if e.state in ("waiting", "running") and e.output is not None]
        stopped = interrupted(self.session.catalog.models, alive)
        ended = [entry for entry in queue.entries if entry.state not in ("waiting", "running")]
        going = [entry for entry in queue.entries if entry not in ended]
        self._shown = [*going, *stopped, *reversed(ended)]
        with silent(table):
            table.setRowCount(len(self._shown))
            for row, job in enumerate(self._shown):
                for column, text in ((_JOB, _title(job)), (_STATE, _state(job))):
                    item = qt.QTableWidgetItem(text)
                    item.setToolTip(plain_tip(text))
                    table.setItem(row, column, item)
            if selected in self._shown:
                table.selectRow(self._shown.index(selected))
            else:
                table.clearSelection()
        table.setVisible(bool(self._shown))
        self.ui.jobsHint.setVisible(not self._shown)
        self._show_buttons()
        elsewhere = sum(training.computer is not None for training in stopped)
        notes = [
            words.format(count=count)
            for words, count in (
                (_("{count} waiting"), len(queue.waiting)),
                (_("{count} not watched"), elsewhere),
                (_("{count} interrupted"), len(stopped) - elsewhere),
            )
            if count
        ]
        text = _("Jobs ({notes})").format(notes=", ".join(notes)) if notes else _("Jobs")
        self.session.section_titled.emit("jobs", text)

    @property
    def _selected(self) -> Entry | Interrupted | None:
        rows = {index.row() for index in self.ui.jobsTable.selectedIndexes()}
        row = rows.pop() if len(rows) == 1 else -1
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _show_buttons(self) -> None:
        job, ui, waiting = self._selected, self.ui, self.session.queue.waiting
        place = waiting.index(job) if isinstance(job, Entry) and job in waiting else -1
        ui.jobUpButton.setEnabled(place > 0)
        ui.jobDownButton.setEnabled(0 <= place < len(waiting) - 1)
        ui.jobCancelButton.setEnabled(isinstance(job, Entry) and job.state in ("waiting", "running"))
        stopped = isinstance(job, Interrupted)
        watched = isinstance(job, Interrupted) and job.computer is not None
        ui.jobGoOnButton.setText(_("Resume watching") if watched else _("Go on"))
        ui.jobGoOnButton.setEnabled(stopped and not self.session.obstacle)
        ui.jobDiscardButton.setEnabled(stopped)

    def _up(self) -> None:
        self._move(-1)

    def _down(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        job = self._selected
        if isinstance(job, Entry):
            self.session.queue.move(job, by)

    def _cancel(self) -> None:
        job = self._selected
        if isinstance(job, Entry):
            self.session.queue.cancel(job)

    def _go_on(self) -> None:
        job = self._selected
        if isinstance(job, Interrupted):
            self.session.going_on.emit(job)

    def _discard(self) -> None:
        job = self._selected
        if not isinstance(job, Interrupted):
            return
        question = _("Discard what {name} needs to go on? A checkpoint that it has written stays.")
        if job.computer is not None:
            question += " " + _("On {computer} it goes on, if it has not ended.").format(computer=job.computer.name)
        if self.session.confirm(question.format(name=job.output.stem)):
            remove_files(job.output, job.folder)
            self.show()


def _title(job: Entry | Interrupted) -> str:
    return title(job.job, job.output, job.computer) if isinstance(job, Interrupted) else job.title


def _state(job: Entry | Interrupted) -> str:
    if isinstance(job, Interrupted) and job.computer is not None:
        return _("Not watched")
    if isinstance(job, Interrupted):
        return _("Interrupted") if job.learned else _("Not begun")
    return {
        "waiting": _("Waiting"),
        "running": _("Running"),
        "done": _("Done"),
        "failed": _("Failed"),
        "cancelled": _("Cancelled"),
    }[job.state]

"""The channels of the Fine-tune section's cases: their names, and the volumes of the case chosen in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.errors import InputError

from ..mrml.parameters import Parameters
from ..workflows import case_channels
from ..workflows.cases import Case, Cases
from ..workflows.session import Session
from .channels import Channels

#: Row of the form in which the first volume is chosen: below the names, and the name of the case.
_FIRST_ROW = 2


class CaseChannels:
    """Asks for the names where the checkpoint takes any, and for volumes where names do not say which belong together.

    Args:
        on_names: called when the user has given other names.
    """

    def __init__(self, session: Session, ui: Any, cases: Cases, on_names: Callable[[], None]) -> None:
        self._session, self._ui, self._cases = session, ui, cases
        self._rows: Sequence[Case] = ()
        self._selectors = Channels(ui.channelsFormLayout, _FIRST_ROW, self._show_again, self._on_choice)
        ui.channelsLineEdit.connect("editingFinished()", on_names)
        ui.casesTable.connect("itemSelectionChanged()", self._show_case)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels of every case."""
        return case_channels.channel_names(self._session.card, self._ui.channelsLineEdit.text)

    def load(self, parameters: Parameters) -> None:
        """Show what the scene remembers."""
        self._ui.channelsLineEdit.setText(parameters.fine_tune_channels)

    def store(self, parameters: Parameters) -> None:
        """Remember the names with the scene; which volumes belong together is kept in them."""
        parameters.fine_tune_channels = self._ui.channelsLineEdit.text

    def show(self, rows: Sequence[Case]) -> None:
        """``rows``: the cases in the table."""
        asked = self._session.card is None or self._session.card.plan.generic
        for widget in (self._ui.channelsLabel, self._ui.channelsLineEdit):
            widget.setVisible(asked)
        self._rows = rows
        self._show_case()

    def _show_case(self) -> None:
        case = self._chosen_case()
        several = len(self._cases.channels) > 1
        self._selectors.show(self._cases.channels if several and case is not None else [])
        self._ui.caseChannelsLabel.setVisible(len(self._selectors) > 0)
        if len(self._selectors) and case is not None:
            self._ui.caseChannelsLabel.setText(_("Volumes of {name}:").format(name=case.name))
            self._selectors.set_nodes(case_channels.nodes(case.channel_ids))

    def _chosen_case(self) -> Case | None:
        """That of the selected row, else the first that lacks a channel."""
        row = self._ui.casesTable.currentRow()
        if 0 <= row < len(self._rows) and self._rows[row].channel_ids:
            return self._rows[row]
        return next((case for case in self._rows if None in case.channel_ids), None)

    def _show_again(self) -> None:
        """Selectors also change by themselves, which says nothing of what the user wants: they show what holds."""
        self._cases.changed.emit()

    def _on_choice(self, node: Any) -> None:
        try:
            case_channels.choose(self._selectors.nodes())
        except InputError as problem:
            self._session.report(problem)
        self._cases.changed.emit()

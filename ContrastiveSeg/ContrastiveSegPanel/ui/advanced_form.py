"""Advanced: all parameters of the chosen method, as the engine lists them, to search, change and reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from contrastiveseg.parameters import Parameter
from contrastiveseg.serialization import from_json

from ..plain_text import plain_label
from ..workflows.session import Session
from .methods_box import MethodsBox
from .parameter_editors import refusal
from .parameter_row import ParameterRow

_HEIGHT = 260


class AdvancedForm:
    """Fills ``frame``. Each method keeps its own changes; what is as by default is not kept.

    Rows are made when the box is opened for the first time, since most users never do.
    """

    def __init__(self, session: Session, frame: Any, stage: str, methods: MethodsBox, on_edit: Callable[[], None]):
        self._session, self._stage, self._methods, self._on_edit = session, stage, methods, on_edit
        self._changes: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, ParameterRow] = {}
        self._headers: list[tuple[Any, str]] = []
        #: The method and the parameters that the rows are of.
        self._shown: tuple[str, list[Parameter]] = ("", [])
        self._box = ctk.ctkCollapsibleGroupBox()
        self._box.objectName = f"{stage}AdvancedGroupBox"
        self._search = qt.QLineEdit()
        self._search.setClearButtonEnabled(True)
        self._search.setPlaceholderText(_("Search"))
        self._search.setToolTip(_("Show the parameters whose name or meaning has these words"))
        self._reset = qt.QPushButton(_("Reset all"))
        self._reset.setToolTip(_("All parameters of this method as they are by default"))
        self._area = qt.QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setMinimumHeight(_HEIGHT)
        body = qt.QWidget()
        above = qt.QHBoxLayout()
        above.addWidget(self._search)
        above.addWidget(self._reset)
        layout = qt.QVBoxLayout(body)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(above)
        layout.addWidget(self._area)
        qt.QVBoxLayout(self._box).addWidget(body)
        frame.layout().addWidget(self._box)
        # The title first: a box that is folded without one has no room for it.
        self._show_count()
        self._box.collapsed = True
        self._box.connect("toggled(bool)", self.fill)
        self._search.connect("textChanged(QString)", self._filter)
        self._reset.connect("clicked()", self._reset_all)

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """What is changed of every method, for the scene: method -> name of the parameter -> value."""
        return {method: dict(changed) for method, changed in self._changes.items() if changed}

    def show(self, changes: Mapping[str, Any]) -> None:
        """Show what :attr:`changes` was; a scene may hold anything."""
        kept = {method: changed for method, changed in changes.items() if isinstance(changed, dict)}
        self._changes = {method: dict(changed) for method, changed in kept.items()}
        self._shown = ("", [])
        self.fill()

    @property
    def settings(self) -> dict[str, Any]:
        """The field of a training job: what is changed of the chosen method."""
        changed = self._changes.get(self._methods.current, {})
        known = {p.name: p for p in self._parameters()}
        # Before the engine has answered nothing can be checked here; it checks the job.
        return {k: v for k, v in changed.items() if not known or (k in known and not refusal(known[k], v))}

    @property
    def obstacle(self) -> str:
        """Why what was typed cannot be used, or ""."""
        return next((row.problem for row in self._rows.values() if row.problem), "")

    def fill(self) -> None:
        """Show the parameters of the method that is chosen now."""
        wanted = (self._methods.current, self._parameters())
        if not self._box.collapsed and wanted != self._shown:
            self._shown = wanted
            self._make_rows()
            self._filter()
        elif self._box.collapsed and wanted[0] != self._shown[0]:
            self._shown, self._rows = ("", []), {}
        self._show_count()

    def _parameters(self) -> list[Parameter]:
        described = next((m for m in self._session.methods[self._stage] if m["name"] == self._methods.current), {})
        return [from_json(Parameter, data) for data in described.get("parameters", ())]

    def _make_rows(self) -> None:
        self._rows, self._headers = {}, []
        page = qt.QWidget()
        grid = qt.QGridLayout(page)
        grid.setColumnStretch(1, 1)
        part, settings = "", self.settings
        for parameter in self._shown[1]:
            first, dot, _rest = parameter.name.partition(".")
            if dot and first != part:
                part = first
                header = plain_label(first.replace("_", " ").capitalize())
                font = header.font
                font.setBold(True)
                header.setFont(font)
                grid.addWidget(header, grid.rowCount(), 0, 1, 3)
                self._headers.append((header, f"{first}."))
            row = self._row(parameter)
            row.show(settings.get(parameter.name, parameter.default))
            number = grid.rowCount()
            for column, widget in enumerate(row.widgets):
                grid.addWidget(widget, number, column)
            self._rows[parameter.name] = row
        grid.setRowStretch(grid.rowCount(), 1)
        # It deletes the former page.
        self._area.setWidget(page)

    def _row(self, parameter: Parameter) -> ParameterRow:
        # Functions without arguments: a partial would get those of the signal.
        return ParameterRow(parameter, lambda: self._edited(parameter.name), lambda: self._reset_one(parameter.name))

    def _filter(self) -> None:
        words = self._search.text.lower().split()
        for row in self._rows.values():
            row.set_visible(all(word in row.text for word in words))
        for header, start in self._headers:
            header.setVisible(any(row.visible for name, row in self._rows.items() if name.startswith(start)))

    def _edited(self, name: str) -> None:
        row, changed = self._rows[name], self._changes.setdefault(self._shown[0], {})
        value = row.read()
        if row.problem or value == row.parameter.default:
            changed.pop(name, None)
        else:
            changed[name] = value
        self._show_count()
        self._on_edit()

    def _reset_one(self, name: str) -> None:
        self._rows[name].show(self._rows[name].parameter.default)
        self._changes.get(self._shown[0], {}).pop(name, None)
        self._show_count()
        self._on_edit()

    def _reset_all(self) -> None:
        for row in self._rows.values():
            row.show(row.parameter.default)
        self._changes.pop(self._methods.current, None)
        self._show_count()
        self._on_edit()

    def _show_count(self) -> None:
        count = len(self.settings)
        self._box.setTitle(_("Advanced ({count} changed)").format(count=count) if count else _("Advanced"))
        self._reset.setEnabled(bool(count or self.obstacle))

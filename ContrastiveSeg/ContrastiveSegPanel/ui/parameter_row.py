"""A row of the form Advanced: one parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from contrastiveseg.parameters import Parameter

from ..plain_text import plain_label, plain_tip
from .parameter_editors import Editor, editor_of, not_allowed, refusal


class ParameterRow:
    """The name, the editor and the reset button of ``parameter``.

    Attributes:
        widgets: the three, from left to right.
        problem: why the value that was typed cannot be used, or "".
        text: what a search looks in, in small letters.
        visible: whether the row is shown.
    """

    def __init__(self, parameter: Parameter, on_edit: Callable[[], None], on_reset: Callable[[], None]) -> None:
        self.parameter = parameter
        self.problem = ""
        self.visible = True
        self.text = f"{parameter.name} {_words(parameter.name)} {parameter.help}".lower()
        self._label = plain_label(_words(parameter.name.partition(".")[2] or parameter.name))
        self._editor: Editor = editor_of(parameter, on_edit)
        self._reset = qt.QToolButton()
        self._reset.setText(_("Reset"))
        self._reset.connect("clicked()", on_reset)
        self.widgets = (self._label, self._editor.widget, self._reset)
        self._editor.widget.objectName = parameter.name
        for widget in self.widgets[:2]:
            widget.setToolTip(plain_tip(_tool_tip(parameter)))
        self._reset.setToolTip(plain_tip(_("Back to {default}").format(default=_written(parameter.default))))

    def show(self, value: Any) -> None:
        self._editor.show(value)
        self.problem = ""
        self._mark(value != self.parameter.default)

    def read(self) -> Any:
        """The value; :attr:`problem` says why it cannot be used."""
        try:
            value = self._editor.read()
        except ValueError:
            value, self.problem = None, not_allowed(self.parameter)
        else:
            self.problem = refusal(self.parameter, value)
        self._mark(bool(self.problem) or value != self.parameter.default)
        return value

    def set_visible(self, visible: bool) -> None:
        self.visible = visible
        for widget in self.widgets:
            widget.setVisible(visible)

    def _mark(self, changed: bool) -> None:
        font = self._label.font
        font.setBold(changed)
        self._label.setFont(font)
        self._reset.setEnabled(changed)
        self._editor.widget.setStyleSheet("color: #c00000" if self.problem else "")


def _words(name: str) -> str:
    return name.replace(".", " ").replace("_", " ")


def _written(value: Any) -> str:
    if value is None:
        return _("automatic")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tool_tip(parameter: Parameter) -> str:
    lines = [f"{parameter.help}.", f"{_('Allowed')}: {parameter.allowed}." if parameter.allowed else ""]
    lines.append(f"{_('Default')}: {_written(parameter.default)}.")
    lines += [f"{_('Source')}: {parameter.source}." if parameter.source else "", parameter.name]
    return "\n".join(line for line in lines if line)

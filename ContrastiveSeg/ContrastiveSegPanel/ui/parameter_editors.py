"""One widget a kind of parameter: it shows a value, and gives the value that the user has chosen or typed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from contrastiveseg.parameters import Parameter

from .followed_box import show_entry
from .silent import silent

#: What a spin box can hold.
_LARGEST = 2**31 - 1
_TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "text": (str,)}


def refusal(parameter: Parameter, value: Any) -> str:
    """Why ``parameter`` cannot be ``value`` (as in JSON), or ""."""
    is_default = type(value) is type(parameter.default) and value == parameter.default
    if is_default or (value is None and parameter.optional):
        return ""
    if parameter.kind == "choice":
        fits = value in parameter.choices
    elif parameter.kind == "interval":
        fits = isinstance(value, list) and len(value) == 2 and all(type(part) in (int, float) for part in value)
        fits = fits and value[0] <= value[1] and all(map(parameter.bounds.allow, value))
    else:
        fits = type(value) in _TYPES.get(parameter.kind, (type(value),))
        fits = fits and (type(value) not in (int, float) or parameter.bounds.allow(value))
    return "" if fits else not_allowed(parameter)


def not_allowed(parameter: Parameter) -> str:
    """What to say of a value that ``parameter`` cannot have."""
    kinds = {"int": _("a whole number"), "float": _("a number"), "interval": _("two numbers, the smaller first")}
    allowed = ", ".join(words for words in (kinds.get(parameter.kind, ""), parameter.allowed) if words)
    return _("{name} can be: {allowed}.").format(name=parameter.name, allowed=allowed or parameter.kind)


class Editor:
    """A parameter's widget.

    Attributes:
        widget: what is shown.
    """

    def __init__(self, widget: Any) -> None:
        self.widget = widget

    def show(self, value: Any) -> None:
        """Show ``value`` without a call of ``on_edit``."""
        raise NotImplementedError

    def read(self) -> Any:
        """The value as in JSON. Raises ValueError where what was typed is none of the parameter's kind."""
        raise NotImplementedError


def editor_of(parameter: Parameter, on_edit: Callable[[], None]) -> Editor:
    """The editor for ``parameter``; ``on_edit`` is called after each change but those of :meth:`Editor.show`."""
    if parameter.kind == "choice" or (parameter.kind == "bool" and parameter.optional):
        return _Choice(parameter, on_edit)
    if parameter.kind == "bool":
        return _Check(on_edit)
    if parameter.kind == "int" and not parameter.optional:
        return _Number(parameter, on_edit)
    return _Text(parameter, on_edit)


class _SpinBox(qt.QSpinBox):
    def wheelEvent(self, event: Any) -> None:
        # Else scrolling through the form would change what lies under the pointer.
        event.ignore()


class _ComboBox(qt.QComboBox):
    def wheelEvent(self, event: Any) -> None:
        event.ignore()


class _Check(Editor):
    def __init__(self, on_edit: Callable[[], None]) -> None:
        super().__init__(qt.QCheckBox())
        self.widget.connect("toggled(bool)", on_edit)

    def show(self, value: Any) -> None:
        with silent(self.widget):
            self.widget.setChecked(bool(value))

    def read(self) -> Any:
        return self.widget.checked


class _Number(Editor):
    def __init__(self, parameter: Parameter, on_edit: Callable[[], None]) -> None:
        super().__init__(_SpinBox())
        low, high = parameter.bounds.at_least, parameter.bounds.at_most
        self.widget.setRange(-_LARGEST if low is None else math.ceil(low), _LARGEST if high is None else int(high))
        self.widget.connect("valueChanged(int)", on_edit)

    def show(self, value: Any) -> None:
        with silent(self.widget):
            self.widget.setValue(value)

    def read(self) -> Any:
        return self.widget.value


class _Choice(Editor):
    def __init__(self, parameter: Parameter, on_edit: Callable[[], None]) -> None:
        super().__init__(_ComboBox())
        self._values = [False, True] if parameter.kind == "bool" else list(parameter.choices)
        names = [_("no"), _("yes")] if parameter.kind == "bool" else [str(value) for value in self._values]
        if parameter.optional:
            self._values, names = [None, *self._values], [_("automatic"), *names]
        self.widget.addItems(names)
        self.widget.connect("currentIndexChanged(int)", on_edit)

    def show(self, value: Any) -> None:
        show_entry(self.widget, self._values.index(value))

    def read(self) -> Any:
        return self._values[self.widget.currentIndex]


class _Text(Editor):
    """Numbers as they are written, 1e-05 too; two numbers with a comma between them; nothing for automatic."""

    def __init__(self, parameter: Parameter, on_edit: Callable[[], None]) -> None:
        super().__init__(qt.QLineEdit())
        self._parameter = parameter
        if parameter.optional:
            self.widget.setPlaceholderText(_("automatic"))
        self.widget.connect("textChanged(QString)", on_edit)

    def show(self, value: Any) -> None:
        if value is None:
            text = ""
        elif self._parameter.kind == "interval":
            text = ", ".join(json.dumps(part) for part in value)
        else:
            text = value if self._parameter.kind == "text" else json.dumps(value)
        if self.widget.text != text:
            with silent(self.widget):
                self.widget.setText(text)

    def read(self) -> Any:
        text = self.widget.text.strip()
        if self._parameter.kind == "text":
            return text
        if not text and self._parameter.optional:
            return None
        return json.loads(f"[{text}]" if self._parameter.kind == "interval" else text)

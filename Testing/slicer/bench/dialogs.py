"""Dialogs without a user: what was shown is kept, what was asked is answered as the test says.

A message that can only be acknowledged is kept and acknowledged. A question without an answer fails the test, and so
does an error message that the test did not look at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtWidgets

_read = QtWidgets.QDialog.__getattribute__


@dataclass(frozen=True)
class Shown:
    """One dialog; ``kind`` is information, warning, critical, question, file, input, menu or dialog."""

    kind: str
    text: str
    title: str = ""
    detail: str = ""


@dataclass
class Dialogs:
    """What a test sees of the dialogs; the fixture ``dialogs`` hands it out, emptied."""

    shown: list[Shown] = field(default_factory=list)
    _answers: list[Any] = field(default_factory=list)
    _seen: int = 0

    def answer(self, *answers: Any) -> None:
        """Queues answers: True or False for a question, a button, a path or paths (None: cancelled) for a file dialog,
        or a function that is given the dialog, may use its widgets, and returns whether it was accepted."""
        self._answers += answers

    def errors(self) -> list[str]:
        """The texts of the error messages so far; what is looked at here no longer fails the test."""
        self._seen = len(self.shown)
        return [s.text for s in self.shown if s.kind == "critical"]

    def texts(self) -> list[str]:
        """The texts of everything shown so far, error messages too."""
        self._seen = len(self.shown)
        return [s.text for s in self.shown]

    def unseen(self) -> list[str]:
        """Error messages that no test looked at, and answers that nothing asked for."""
        return [f"error message: {s.text}" for s in self.shown[self._seen :] if s.kind == "critical"] + [
            f"answer never asked for: {a!r}" for a in self._answers
        ]

    def clear(self) -> None:
        self.shown.clear()
        self._answers.clear()
        self._seen = 0

    def take(self, shown: Shown) -> Any:
        """Keeps the dialog and returns the next answer."""
        self.shown.append(shown)
        if not self._answers:
            raise AssertionError(f"nobody answers this {shown.kind} dialog: {shown.title} {shown.text!r}")
        return self._answers.pop(0)


seam = Dialogs()

_KINDS = {
    QtWidgets.QMessageBox.Icon.Information: "information",
    QtWidgets.QMessageBox.Icon.Warning: "warning",
    QtWidgets.QMessageBox.Icon.Critical: "critical",
}


def run(dialog: QtWidgets.QWidget) -> Any:
    """In place of a dialog's or menu's own event loop."""
    if isinstance(dialog, QtWidgets.QMessageBox):
        return _run_message_box(dialog)
    if isinstance(dialog, QtWidgets.QMenu):
        answer = seam.take(Shown("menu", ", ".join(_read(a, "text")() for a in _read(dialog, "actions")())))
        chosen = (
            answer(dialog)
            if callable(answer)
            else next(a for a in _read(dialog, "actions")() if _read(a, "text")() == answer)
        )
        _read(chosen, "trigger")()
        return chosen
    if isinstance(dialog, QtWidgets.QFileDialog):
        raise AssertionError("bench: use QFileDialog's static functions, as Slicer does")
    answer = seam.take(Shown("dialog", "", _read(dialog, "windowTitle")()))
    accepted = answer(dialog) if callable(answer) else answer
    _read(dialog, "setResult")(int(accepted))
    return int(accepted)


def _run_message_box(box: QtWidgets.QMessageBox) -> Any:
    buttons = _read(box, "standardButtons")()
    Button = QtWidgets.QMessageBox.StandardButton
    shown = Shown(
        _KINDS.get(_read(box, "icon")(), "question"),
        _read(box, "text")(),
        _read(box, "windowTitle")().strip(),
        _read(box, "detailedText")() or _read(box, "informativeText")(),
    )
    choices = [b for b in _read(box, "buttons")() if not _read(b, "text")().startswith("Show Details")]
    if len(choices) <= 1:
        seam.shown.append(shown)
        return buttons if buttons != Button.NoButton else Button.Ok
    answer = seam.take(shown)
    if callable(answer) and not isinstance(answer, Button):
        answer = answer(box)
    if isinstance(answer, bool):
        yes, no = (Button.Ok, Button.Yes, Button.Retry), (Button.Cancel, Button.No, Button.Close)
        answer = next(b for b in (yes if answer else no) if b in buttons)
    if isinstance(answer, str):  # a button added by the panel, by its text
        return _click(box, answer)
    if answer not in buttons:
        raise AssertionError(f"{answer!r} is no button of {shown}")
    return answer


def _click(box: QtWidgets.QMessageBox, text: str) -> int:
    for index, button in enumerate(_read(box, "buttons")()):
        if _read(button, "text")().replace("&", "") == text:
            _read(button, "click")()
            return index
    raise AssertionError(f"no button {text!r}")


def _file_dialog(name: str, many: bool) -> Callable[..., Any]:
    def ask(parent: Any = None, caption: str = "", directory: str = "", filters: str = "", *options: Any) -> Any:
        if not all(isinstance(t, str) for t in (caption, directory, filters)):
            raise TypeError(f"QFileDialog.{name} takes texts: {caption!r}, {directory!r}, {filters!r}")
        answer = seam.take(Shown("file", caption, name, filters))
        if many:
            return [str(p) for p in answer or []]
        return "" if answer is None else str(answer)  # PythonQt gives the path alone, PySide6 the filter too

    return ask


def lay_over() -> None:
    """Puts the seam in place of Qt's static dialog functions."""
    for name, many in (
        ("getOpenFileName", False),
        ("getOpenFileNames", True),
        ("getSaveFileName", False),
        ("getExistingDirectory", False),
    ):
        setattr(QtWidgets.QFileDialog, name, staticmethod(_file_dialog(name, many)))

    def message(kind: str) -> Callable[..., Any]:
        def show(
            parent: Any, title: str, text: str, buttons: Any = QtWidgets.QMessageBox.StandardButton.Ok, *rest: Any
        ) -> Any:
            box = QtWidgets.QMessageBox(parent)
            for name, value in (("setWindowTitle", title), ("setText", text), ("setStandardButtons", buttons)):
                _read(box, name)(value)
            _read(box, "setIcon")(getattr(QtWidgets.QMessageBox.Icon, kind.capitalize()))
            return _run_message_box(box)

        return show

    for kind in ("information", "warning", "critical", "question"):
        setattr(QtWidgets.QMessageBox, kind, staticmethod(message(kind)))

    def text_input(parent: Any, title: str, label: str, *rest: Any) -> str:
        if any(len(line) > 120 for line in label.splitlines()):
            raise AssertionError(f"Qt does not wrap this, and shows it wider than the screen: {label}")
        return seam.take(Shown("input", label, title)) or ""

    QtWidgets.QInputDialog.getText = staticmethod(text_input)  # type: ignore[method-assign,assignment]

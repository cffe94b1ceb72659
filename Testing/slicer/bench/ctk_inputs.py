"""CTK's inputs: paths, numbers, choices; and its message box."""

from __future__ import annotations

import enum
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import dialogs
from .pythonqt import check, stands_in
from .stand_in import Declared, emit

_read = QtCore.QObject.__getattribute__


def _parent_of(args: tuple[Any, ...]) -> QtWidgets.QWidget | None:
    return next((a for a in args if isinstance(a, QtWidgets.QWidget)), None)


def _row(owner: QtWidgets.QWidget, *widgets: QtWidgets.QWidget) -> None:
    row = QtWidgets.QHBoxLayout(owner)
    _read(row, "setContentsMargins")(0, 0, 0, 0)
    for widget in widgets:
        _read(row, "addWidget")(widget)


class _Filter(enum.IntFlag):
    Dirs = 0x001
    Files = 0x002
    Drives = 0x004
    NoSymLinks = 0x008
    Readable = 0x010
    Writable = 0x020
    Executable = 0x040
    PermissionMask = 0x070
    Hidden = 0x100
    System = 0x200
    NoDot = 0x2000
    NoDotDot = 0x4000


@stands_in
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that can be typed or browsed for."""

    signals = ("currentPathChanged(QString)", "validInputChanged(bool)")
    Dirs, Files, Readable, Writable, Executable = (
        _Filter.Dirs,
        _Filter.Files,
        _Filter.Readable,
        _Filter.Writable,
        _Filter.Executable,
    )
    Drives, Hidden, NoDot, NoDotDot = _Filter.Drives, _Filter.Hidden, _Filter.NoDot, _Filter.NoDotDot

    label = Declared.of("label", "QString", "")
    filters = Declared.of("filters", "Filters", _Filter.Files | _Filter.Dirs)
    nameFilters = Declared.of("nameFilters", "QStringList", [])
    settingKey = Declared.of("settingKey", "QString", "")
    showBrowseButton = Declared.of("showBrowseButton", "bool", True)
    showHistoryButton = Declared.of("showHistoryButton", "bool", True)

    def __init__(self, *args: Any) -> None:
        super().__init__(_parent_of(args))
        self._combo = QtWidgets.QComboBox()
        _read(self._combo, "setEditable")(True)
        policy = QtWidgets.QSizePolicy.Policy
        _read(self._combo, "setSizePolicy")(policy.Expanding, policy.Fixed)
        self._browse = QtWidgets.QToolButton()
        _read(self._browse, "setText")("...")
        self._browse.connect("clicked()", self.browse)
        _row(self, self._combo, self._browse)
        self._combo.connect("editTextChanged(QString)", lambda path: emit(self, "currentPathChanged(QString)", path))

    def _refresh(self) -> None:
        _read(self._browse, "setVisible")(self.showBrowseButton)

    @property
    def currentPath(self) -> str:
        return self._combo.currentText

    @currentPath.setter
    def currentPath(self, value: str) -> None:
        check(value, "QString", "ctkPathLineEdit.currentPath")
        _read(self._combo, "setEditText")(value)

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._combo

    def browse(self) -> None:
        folders_only = bool(self.filters & _Filter.Dirs) and not self.filters & _Filter.Files
        ask = (
            "getExistingDirectory"
            if folders_only
            else ("getSaveFileName" if self.filters & _Filter.Writable else "getOpenFileName")
        )
        chosen = getattr(QtWidgets.QFileDialog, ask)(self, self.label, self.currentPath, ";;".join(self.nameFilters))
        if chosen:
            self.currentPath = chosen

    def addCurrentPathToHistory(self) -> None:
        if self.settingKey and self.currentPath:
            settings = QtCore.QSettings()
            known = settings.value(self.settingKey) or []
            known = [known] if isinstance(known, str) else list(known)
            settings.setValue(self.settingKey, [self.currentPath, *(p for p in known if p != self.currentPath)])

    def retrieveHistory(self) -> None:
        known = QtCore.QSettings().value(self.settingKey) if self.settingKey else None
        for path in [known] if isinstance(known, str) else known or []:
            _read(self._combo, "addItem")(path)


@stands_in
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another."""

    signals = ("directoryChanged(QString)", "directorySelected(QString)")
    caption = Declared.of("caption", "QString", "")

    def __init__(self, *args: Any) -> None:
        super().__init__(_parent_of(args))
        self._folder = args[0] if args and isinstance(args[0], str) else "."
        self._button = QtWidgets.QPushButton(self._folder)
        self._button.connect("clicked()", self.browse)
        _row(self, self._button)

    @property
    def directory(self) -> str:
        return QtCore.QDir(self._folder).absolutePath()

    @directory.setter
    def directory(self, value: str) -> None:
        check(value, "QString", "ctkDirectoryButton.directory")
        if QtCore.QDir(value) != QtCore.QDir(self._folder):
            self._folder = value
            _read(self._button, "setText")(self.directory)
            emit(self, "directoryChanged(QString)", self.directory)

    def browse(self) -> None:
        chosen = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if chosen:
            self.directory = chosen
            emit(self, "directorySelected(QString)", chosen)


@stands_in
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box for one number."""

    signals = ("valueChanged(double)", "valueIsChanging(double)", "decimalsChanged(int)")
    _STEPS = 1000
    tracking = Declared.of("tracking", "bool", True)

    def __init__(self, *args: Any) -> None:
        super().__init__(_parent_of(args))
        self._spin = QtWidgets.QDoubleSpinBox()
        _read(self._spin, "setRange")(0.0, 99.0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        _read(self._slider, "setRange")(0, self._STEPS)
        _row(self, self._slider, self._spin)
        self._spin.connect("valueChanged(double)", self._on_value)
        self._slider.connect("sliderMoved(int)", self._on_slider)

    def _on_value(self, value: float) -> None:
        span = self.maximum - self.minimum
        _read(self._slider, "setValue")(round((value - self.minimum) / span * self._STEPS) if span else 0)
        emit(self, "valueIsChanging(double)", value)
        emit(self, "valueChanged(double)", value)

    def _on_slider(self, step: int) -> None:
        self.value = self.minimum + (self.maximum - self.minimum) * step / self._STEPS

    def setValue(self, value: float) -> None:
        self.value = value


def _through(name: str, type_name: str) -> property:
    """A property of the inner spin box."""

    def write(self: Any, value: Any) -> None:
        check(value, type_name, f"{type(self).__name__}.{name}")
        setattr(self._spin, name, value)

    return property(lambda self: getattr(self._spin, name), write)


_OF_A_SPIN_BOX = {
    "value": "double",
    "minimum": "double",
    "maximum": "double",
    "singleStep": "double",
    "decimals": "int",
    "prefix": "QString",
    "suffix": "QString",
}
for _name, _type in _OF_A_SPIN_BOX.items():
    setattr(ctkSliderWidget, _name, _through(_name, _type))


@stands_in
class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box that can tell why its value changed; here it is Qt's."""

    signals = ("valueChanged(double)", "editingFinished()")

    def __init__(self, *args: Any) -> None:
        super().__init__(_parent_of(args))
        self._spin = QtWidgets.QDoubleSpinBox()
        _row(self, self._spin)
        self._spin.connect("valueChanged(double)", lambda value: emit(self, "valueChanged(double)", value))
        self._spin.connect("editingFinished()", lambda: emit(self, "editingFinished()"))

    def setValue(self, value: float) -> None:
        self.value = value


for _name, _type in {**_OF_A_SPIN_BOX, "readOnly": "bool"}.items():
    setattr(ctkDoubleSpinBox, _name, _through(_name, _type))


@stands_in
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    defaultText = Declared.of("defaultText", "QString", "")

    def _refresh(self) -> None:
        _read(self, "setPlaceholderText")(self.defaultText)


@stands_in
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that can be told not to show again; it then answers with what was answered last."""

    dontShowAgainSettingsKey = Declared.of("dontShowAgainSettingsKey", "QString", "")
    dontShowAgainVisible = Declared.of("dontShowAgainVisible", "bool", False)
    dontShowAgain = Declared.of("dontShowAgain", "bool", False)

    def exec_(self) -> Any:
        key = self.dontShowAgainSettingsKey
        remembered = QtCore.QSettings().value(key) if key else None
        if remembered is not None:
            return QtWidgets.QMessageBox.StandardButton(int(remembered))
        result = dialogs.run(self)
        if key and self.dontShowAgain:
            QtCore.QSettings().setValue(key, int(result))
        return result


@stands_in
class ctkCheckBox(QtWidgets.QCheckBox):
    """CTK's check box."""


@stands_in
class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit with a magnifying glass."""

    showSearchIcon = Declared.of("showSearchIcon", "bool", False)


@stands_in
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu at its side."""

"""CTK's collapsible button and group box."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import check, stands_in
from .stand_in import emit

_read = QtCore.QObject.__getattribute__
_HEADER = 24


class _Contents:
    """Hides and shows the direct children, except those the panel itself has hidden (ctk's ``visibilityToParent``)."""

    def __init__(self, owner: QtWidgets.QWidget) -> None:
        self._owner = owner
        self._hidden: set[QtWidgets.QWidget] = set()

    def show(self, visible: bool) -> None:
        for child in _read(self._owner, "children")():
            if isinstance(child, QtWidgets.QWidget) and not _read(child, "isWindow")():
                if visible and child in self._hidden:
                    self._hidden.discard(child)
                    _read(child, "setVisible")(True)
                elif not visible and not _read(child, "isHidden")():
                    self._hidden.add(child)
                    _read(child, "setVisible")(False)


@stands_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A heading that hides and shows what is below it; a checkable button that is checked while open."""

    signals = ("contentsCollapsed(bool)",)

    def __init__(self, *args: Any) -> None:
        text = args[0] if args and isinstance(args[0], str) else ""
        parent = next((a for a in args if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._collapsed = False
        self._contents = _Contents(self)
        self._maximum = 16777215
        _read(self, "setText")(text)
        _read(self, "setCheckable")(True)
        _read(self, "setChecked")(True)
        _read(self, "setContentsMargins")(0, _HEADER, 0, 0)
        policy = QtWidgets.QSizePolicy.Policy
        _read(self, "setSizePolicy")(policy.Minimum, policy.Preferred)
        self.connect("toggled(bool)", lambda checked: self._collapse(not checked))

    @property
    def collapsed(self) -> bool:
        return self._collapsed

    @collapsed.setter
    def collapsed(self, value: bool) -> None:
        check(value, "bool", "ctkCollapsibleButton.collapsed")
        _read(self, "setChecked")(not value)

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._contents.show(not collapsed)
        if collapsed:
            self._maximum = self.maximumHeight
            _read(self, "setMaximumHeight")(_HEADER)
        else:
            _read(self, "setMaximumHeight")(self._maximum)
        _read(self, "updateGeometry")()
        emit(self, "contentsCollapsed(bool)", collapsed)

    def sizeHint(self) -> QtCore.QSize:
        layout = _read(self, "layout")()
        inner = _read(layout, "sizeHint")() if layout is not None and not self._collapsed else QtCore.QSize(80, 0)
        return QtCore.QSize(inner.width(), inner.height() if not self._collapsed and layout is not None else _HEADER)

    def minimumSizeHint(self) -> QtCore.QSize:
        layout = _read(self, "layout")()
        if layout is None or self._collapsed:
            return QtCore.QSize(80, _HEADER)
        return _read(layout, "minimumSize")()

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < _HEADER

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, _HEADER)
        State = QtWidgets.QStyle.StateFlag
        option.state |= State.State_Sunken if self.down else State.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (_HEADER - 10) // 2, 10, 10)
        Arrow = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(Arrow.PE_IndicatorArrowRight if self._collapsed else Arrow.PE_IndicatorArrowDown, arrow)
        left = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter
        area = QtCore.QRect(22, 0, self.width - 26, _HEADER)
        painter.drawItemText(
            area, int(left), self.palette, self.enabled, self.text, QtGui.QPalette.ColorRole.ButtonText
        )
        painter.end()


@stands_in
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check mark opens it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._contents = _Contents(self)
        _read(self, "setCheckable")(True)
        _read(self, "setChecked")(True)
        self.connect("toggled(bool)", self._contents.show)

    @property
    def collapsed(self) -> bool:
        return not self.checked

    @collapsed.setter
    def collapsed(self, value: bool) -> None:
        check(value, "bool", "ctkCollapsibleGroupBox.collapsed")
        if value and not self.title:
            raise ValueError("ctkCollapsibleGroupBox: folded before it has a title, which would have no room in Slicer")
        _read(self, "setChecked")(not value)

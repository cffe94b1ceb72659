"""A combo box of the engine's methods of one stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..plain_text import plain_tip
from ..workflows.session import Session
from .silent import silent


class MethodsBox:
    """Offers the methods with their descriptions as tool tips; ``on_change`` is called when the user chooses one."""

    def __init__(self, session: Session, combo: Any, stage: str, on_change: Callable[[], None]) -> None:
        self._session, self._combo, self._stage, self._on_change = session, combo, stage, on_change
        self._wanted = ""
        self.fill()
        combo.connect("currentIndexChanged(int)", self._changed)

    @property
    def current(self) -> str:
        """The method's name."""
        return self._combo.currentText

    @property
    def uses_labels(self) -> bool:
        return self._has("uses_labels")

    @property
    def uses_unlabeled(self) -> bool:
        return self._has("uses_unlabeled")

    @property
    def advice(self) -> str:
        """What to know before the method is chosen."""
        return next((m.get("advice", "") for m in self._methods if m["name"] == self.current), "")

    def _has(self, flag: str) -> bool:
        return any(m["name"] == self.current and m.get(flag) for m in self._methods)

    def show(self, name: str) -> None:
        """Choose a method; one that the engine has not listed yet is chosen when it has."""
        self._wanted = name
        self._combo.setCurrentIndex(max(0, self._combo.findText(name)))

    def fill(self) -> None:
        """Offer the methods the session knows now."""
        wanted = self._wanted or self.current
        with silent(self._combo):
            self._combo.clear()
            for number, method in enumerate(self._methods):
                self._combo.addItem(method["name"])
                self._combo.setItemData(number, plain_tip(method["description"]), qt.Qt.ToolTipRole)
            self._combo.setCurrentIndex(max(0, self._combo.findText(wanted)))
        self._show_description()

    @property
    def _methods(self) -> list[dict[str, Any]]:
        return self._session.methods[self._stage]

    def _changed(self) -> None:
        self._wanted = self.current
        self._show_description()
        self._on_change()

    def _show_description(self) -> None:
        described = (m["description"] for m in self._methods if m["name"] == self.current)
        self._combo.setToolTip(plain_tip(next(described, "")))

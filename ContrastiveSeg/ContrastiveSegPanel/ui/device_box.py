"""What computes: a choice that belongs to this machine, not to the scene."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .. import settings
from ..workflows.session import Session


def chosen_device(session: Session) -> str:
    """As jobs take it: the user's choice, or "auto" where this machine does not have that device any more."""
    chosen = settings.text("Device", "auto")
    return chosen if any(device["name"] == chosen for device in session.devices) else "auto"


class DeviceBox:
    """A combo box of the engine's devices, filled when the engine has listed them."""

    def __init__(self, combo: Any, session: Session) -> None:
        self._combo, self._session = combo, session
        self._names: list[str] = []
        combo.connect("activated(int)", self._on_activated)
        self.fill()

    @property
    def current(self) -> str:
        """The device's name, as jobs take it."""
        return self._names[self._combo.currentIndex]

    def fill(self) -> None:
        devices = self._session.devices
        self._names = ["auto", *(str(device["name"]) for device in devices)]
        self._combo.clear()
        for label in (_("Automatic"), *(device["label"] for device in devices)):
            self._combo.addItem(label)
        self._combo.setCurrentIndex(self._names.index(chosen_device(self._session)))

    def _on_activated(self, index: int) -> None:
        settings.set_text("Device", self._names[index])

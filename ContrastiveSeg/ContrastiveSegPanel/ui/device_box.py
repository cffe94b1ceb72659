"""What computes: a choice that belongs to this machine, not to the scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from .. import settings
from ..timer import single_shot
from ..workflows import computers
from ..workflows.session import Session
from .silent import silent


def chosen_device(session: Session) -> str:
    """As jobs take it: the user's choice, or "auto" where this machine does not have that device any more, or another
    computer is chosen."""
    chosen = settings.text("Device", "auto")
    here = computers.chosen() is None and any(device["name"] == chosen for device in session.devices)
    return chosen if here else "auto"


class DeviceBox:
    """A combo box of the engine's devices, filled when the engine has listed them, and of other computers."""

    def __init__(self, combo: Any, session: Session) -> None:
        self._combo, self._session = combo, session
        self._names: list[str] = []
        #: What the items behind the devices do: the first choose computers, the last are no choices.
        self._others: list[Callable[[], None]] = []
        self._choices = 0
        self._timer = single_shot(self.fill)
        combo.connect("activated(int)", self._on_activated)
        combo.connect("currentIndexChanged(int)", self._on_index)
        self.fill()

    def fill(self) -> None:
        """Show what there is, and what is chosen."""
        devices, known, chosen = self._session.devices, computers.known(), computers.chosen()
        self._names = ["auto", *(str(device["name"]) for device in devices)]
        others = [(computer.title, partial(computers.choose, computer)) for computer in known]
        others.append((_("Another computer…"), partial(computers.add, self._session, self.fill)))
        if chosen is not None:
            others.append((_("Forget {computer}").format(computer=chosen.title), partial(computers.forget, chosen)))
        self._others, self._choices = [do for _text, do in others], len(self._names) + len(known)
        with silent(self._combo):
            self._combo.clear()
            for label in (_("Automatic"), *(device["label"] for device in devices), *(text for text, _do in others)):
                self._combo.addItem(label)
            if chosen is not None:
                self._combo.setCurrentIndex(len(self._names) + known.index(chosen))
            else:
                self._combo.setCurrentIndex(self._names.index(chosen_device(self._session)))

    def _on_index(self, index: int) -> None:
        """Another entry is shown, by the user or by a script."""
        if 0 <= index < self._choices:
            self._do(index)
        # Later: should the user have chosen it, Qt goes on to say which entry was activated.
        self._timer.start(0)

    def _on_activated(self, index: int) -> None:
        if index >= self._choices:
            self._do(index)
        self.fill()

    def _do(self, index: int) -> None:
        if index < len(self._names):
            computers.choose(None)
            settings.set_text("Device", self._names[index])
        else:
            self._others[index - len(self._names)]()

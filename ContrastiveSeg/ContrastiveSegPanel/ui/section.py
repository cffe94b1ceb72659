"""The panel's sections, one file each; each is made with the session and the widgets of its own .ui file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..mrml.parameters import Parameters
from ..signal import Signal
from ..workflows.session import Session


class Section:
    """A section of the panel.

    ``ui`` holds the named widgets of the section's .ui file as attributes; ``ui.<top widget's name>`` is a
    qMRMLWidget whose scene is set already.
    """

    def __init__(self, session: Session, ui: Any) -> None:
        self.session, self.ui = session, ui
        self._parameters: Parameters | None = None
        self._listening: list[tuple[Signal, Callable[..., Any]]] = []

    def listen(self, signal: Signal, listener: Callable[..., Any]) -> None:
        """Connect ``listener`` until :meth:`cleanup`."""
        signal.connect(listener)
        self._listening.append((signal, listener))

    def set_parameters(self, parameters: Parameters) -> None:
        """Show what the scene remembers: called when the panel opens and after a scene was closed or read."""
        self._parameters = parameters

    def forget_parameters(self) -> None:
        """Write no more into them until :meth:`set_parameters`: called before a scene is closed or read, when selectors
        change by themselves what the user has chosen."""
        self._parameters = None

    def cancel(self) -> None:
        """Stop what needs the scene, and bring nothing of it into the next one: the scene closes, or the panel does."""

    def cleanup(self) -> None:
        """Release everything; called once, after :meth:`cancel`."""
        for signal, listener in self._listening:
            signal.disconnect(listener)
        self._listening.clear()

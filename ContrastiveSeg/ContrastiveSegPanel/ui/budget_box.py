"""How long to train, as a combo box of minutes with a spin box for steps at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Budget:
    """``minutes`` are what the combo box's entries stand for, but the last, which stands for a number of steps."""

    def __init__(self, combo: Any, spin: Any, minutes: Sequence[int], on_change: Callable[[], None]) -> None:
        self._combo, self._spin, self._minutes = combo, spin, minutes
        self._on_change = on_change
        combo.connect("currentIndexChanged(int)", self._changed)
        spin.connect("valueChanged(int)", self._changed)
        spin.setVisible(self._in_steps)

    def _changed(self) -> None:
        self._spin.setVisible(self._in_steps)
        self._on_change()

    @property
    def _in_steps(self) -> bool:
        return self._combo.currentIndex == len(self._minutes)

    @property
    def fields(self) -> dict[str, Any]:
        """The field of a training job."""
        if self._in_steps:
            return {"steps": self._spin.value}
        return {"minutes": float(self._minutes[self._combo.currentIndex])}

    @property
    def text(self) -> str:
        """For the parameter node: "10 min" or "200 steps"."""
        if self._in_steps:
            return f"{self._spin.value} steps"
        return f"{self._minutes[self._combo.currentIndex]} min"

    def show(self, text: str) -> None:
        """Show what :attr:`text` was; anything else changes nothing."""
        written, unit = (*text.split(), "", "")[:2]
        # A saved scene may say anything; with ten digits a spin box's numbers come to their end.
        number = int(written) if written.isdecimal() and len(written) < 10 else 0
        if unit == "steps" and number:
            self._spin.setValue(number)
            self._combo.setCurrentIndex(len(self._minutes))
        elif unit == "min" and number in self._minutes:
            self._combo.setCurrentIndex(self._minutes.index(number))

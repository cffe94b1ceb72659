"""How the section Segment computes: pieces, mirroring, uncertainty, a region and the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from contrastiveseg.descriptions import Pieces

from ..mrml.parameters import Parameters
from ..workflows.segmenting import Options
from ..workflows.session import Session
from .device_box import DeviceBox, chosen_device
from .followed_box import index_of

#: The words of ``SegmentJob``, in the order of the box.
PIECES: tuple[Pieces, ...] = get_args(Pieces)


class SegmentOptions:
    """The widgets in which options are chosen; ``on_change`` is called for those that the scene remembers."""

    def __init__(self, session: Session, ui: Any, on_change: Callable[[], None]) -> None:
        self._session, self._ui = session, ui
        self.device = DeviceBox(ui.deviceComboBox, session)
        ui.piecesComboBox.connect("currentIndexChanged(int)", on_change)
        for box in (ui.mirrorCheckBox, ui.uncertaintyCheckBox):
            box.connect("toggled(bool)", on_change)
        ui.roiSelector.connect("currentNodeChanged(vtkMRMLNode*)", on_change)

    @property
    def current(self) -> Options:
        """What is chosen now."""
        return Options(
            mirror=self._ui.mirrorCheckBox.checked,
            pieces=PIECES[self._ui.piecesComboBox.currentIndex],
            uncertainty=self._ui.uncertaintyCheckBox.checked,
            device=chosen_device(self._session),
            roi=self._ui.roiSelector.currentNode(),
        )

    def load(self, parameters: Parameters) -> None:
        """Show what the scene remembers."""
        self._ui.mirrorCheckBox.checked = parameters.mirror
        self._ui.piecesComboBox.setCurrentIndex(index_of(PIECES, parameters.pieces))
        self._ui.uncertaintyCheckBox.checked = parameters.uncertainty
        self._ui.roiSelector.setCurrentNode(parameters.roi)

    def store(self, parameters: Parameters) -> None:
        """Remember with the scene what is chosen."""
        parameters.mirror = self._ui.mirrorCheckBox.checked
        parameters.pieces = PIECES[self._ui.piecesComboBox.currentIndex]
        parameters.uncertainty = self._ui.uncertaintyCheckBox.checked
        parameters.roi = self._ui.roiSelector.currentNode()

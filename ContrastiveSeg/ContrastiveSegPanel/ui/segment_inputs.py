"""Which volumes the section Segment takes: one, several, all, or one for each channel of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt

from ..mrml.parameters import Parameters
from ..mrml.slice_views import displayed_volumes
from ..workflows.display import show_case
from ..workflows.segmenting import volumes_in_scene
from ..workflows.session import Session
from .channels import Channels
from .followed_box import index_of

_KINDS = ("one", "several", "all")
#: Row of the form in which the volume is chosen.
_VOLUME_ROW = 1


class SegmentInputs:
    """The widgets in which volumes are chosen.

    Args:
        on_kind: called when the user takes another number of volumes, or other volumes of several.
        on_volume: called when the user chooses another single volume, or one of a channel.
    """

    def __init__(self, ui: Any, on_kind: Callable[[], None], on_volume: Callable[[], None]) -> None:
        self._ui = ui
        self._channels = Channels(ui.segmentFormLayout, _VOLUME_ROW, on_volume, _show)
        ui.inputsComboBox.connect("currentIndexChanged(int)", on_kind)
        ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", on_volume)
        # The user's choice only: the selector also changes by itself, when nodes come and go.
        ui.inputSelector.connect("nodeActivated(vtkMRMLNode*)", _show)
        ui.severalSelector.connect("checkedNodesChanged()", on_kind)

    @property
    def kind(self) -> str:
        """ "one", "several", "all" or "channels"."""
        return "channels" if self._channels else _KINDS[self._ui.inputsComboBox.currentIndex]

    @property
    def single(self) -> bool:
        """Whether there is one result, for which an output can be chosen."""
        return self.kind in ("one", "channels")

    @property
    def volume(self) -> Any:
        """The volume on whose grid a single result will lie: of several channels the first."""
        return self._channels.nodes()[0] if self._channels else self._ui.inputSelector.currentNode()

    @property
    def channels(self) -> list[Any]:
        """The volume, or None, for each channel of a model with several; else []."""
        return self._channels.nodes() if self._channels else []

    def cases(self) -> list[list[Any]]:
        """The volumes to segment now: a list for each case, with a volume for each channel."""
        if self._channels:
            chosen = self._channels.nodes()
            return [chosen] if None not in chosen else []
        if self.kind == "one":
            node = self._ui.inputSelector.currentNode()
            return [[node]] if node is not None else []
        several = self._ui.severalSelector.checkedNodes() if self.kind == "several" else volumes_in_scene()
        return [[node] for node in several]

    def follow(self, displayed: Sequence[Any]) -> None:
        """The slice views show these volumes: choose one of them, unless the chosen one is among them."""
        candidates = [node for node in displayed if node in volumes_in_scene()]
        if self.kind == "one" and candidates and self._ui.inputSelector.currentNode() not in candidates:
            self._ui.inputSelector.setCurrentNode(candidates[0])

    def show_channels(self, session: Session) -> bool:
        """Offer a selector for each channel of the chosen checkpoint, where it has several; whether they are new."""
        channels = session.card.plan.channels if session.card is not None else ()
        return self._channels.show([channel.name for channel in channels] if len(channels) > 1 else [])

    def show_widgets(self) -> None:
        """Show those that belong to the kind of input."""
        ui, kind = self._ui, self.kind
        for widgets, shown in (
            ((ui.inputsLabel, ui.inputsComboBox), kind != "channels"),
            ((ui.inputLabel, ui.inputSelector), kind == "one"),
            ((ui.severalLabel, ui.severalSelector), kind == "several"),
        ):
            for widget in widgets:
                widget.setVisible(shown)

    def load(self, parameters: Parameters) -> None:
        """Show what the scene remembers."""
        ui = self._ui
        ui.inputsComboBox.setCurrentIndex(index_of(_KINDS, parameters.inputs))
        if parameters.input is not None:
            ui.inputSelector.setCurrentNode(parameters.input)
        else:
            self.follow(displayed_volumes())
        several = parameters.several
        for node in volumes_in_scene():
            ui.severalSelector.setCheckState(node, qt.Qt.Checked if node in several else qt.Qt.Unchecked)
        self._channels.set_nodes(parameters.channels)

    def store(self, parameters: Parameters) -> None:
        """Remember with the scene what is chosen."""
        ui = self._ui
        parameters.inputs = _KINDS[ui.inputsComboBox.currentIndex]
        parameters.input = ui.inputSelector.currentNode()
        parameters.several = list(ui.severalSelector.checkedNodes())
        if self._channels:
            parameters.channels = self._channels.nodes()


def _show(node: Any) -> None:
    if node is not None and node.GetImageData() is not None:
        show_case(node)

"""The panel: its sections, put together and kept in step with the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

from ..engine import early
from ..mrml.parameters import Parameters
from ..mrml.slice_views import DisplayedVolumes
from ..timer import single_shot
from ..workflows.display import arrange
from ..workflows.importing import is_model
from ..workflows.session import Session
from .batch_section import BatchSection
from .drop_area import DropArea
from .finetune_section import FineTuneSection
from .full_height import FullHeight
from .install_section import InstallSection
from .jobs_section import JobsSection
from .log_section import LogSection
from .model_section import ModelSection
from .pretrain_section import PreTrainSection
from .preview_section import PreviewSection
from .results_section import ResultsSection
from .section import Section
from .segment_section import SegmentSection

#: Start of the name of the collapsible button, the .ui file in it, and what brings it to life; from top to bottom.
_SECTIONS: tuple[tuple[str, str, type[Section]], ...] = (
    ("model", "Model", ModelSection),
    ("segment", "Segment", SegmentSection),
    ("preview", "Preview", PreviewSection),
    ("fineTune", "FineTune", FineTuneSection),
    ("preTrain", "PreTrain", PreTrainSection),
    ("batch", "Batch", BatchSection),
    ("results", "Results", ResultsSection),
    ("jobs", "Jobs", JobsSection),
)
#: What the layout takes to make room for an opened section: several turns of the event loop.
_LAYOUT_MS = 100


class Panel(slicer.util.VTKObservationMixin):
    """Everything the user sees of the module.

    Args:
        layout: where to put it.
        resource: gives the path of a file in the module's Resources.
        parameter_node: gives the scene's parameter node.
    """

    def __init__(
        self, layout: Any, resource: Callable[[str], str], parameter_node: Callable[[], Any], session: Session
    ) -> None:
        super().__init__()
        self.session, self._parameter_node = session, parameter_node
        self._nodes_timer = single_shot(session.nodes_changed.emit)
        # Selectors look at a new scene only after its event.
        self._scene_timer = single_shot(self._take_parameters)
        self._displayed = DisplayedVolumes(self._on_displayed)
        self._entered = False
        self._opened: Any = None
        self._scroll_timer = single_shot(self._scroll_to_opened)
        self.widget = DropArea(is_model, session.add_checkpoint)
        self.widget.setLayout(qt.QVBoxLayout())
        self.widget.layout().setContentsMargins(0, 0, 0, 0)
        shell = slicer.util.loadUI(resource("UI/ContrastiveSeg.ui"))
        shell.setMRMLScene(slicer.mrmlScene)
        self.widget.layout().addWidget(shell)
        layout.addWidget(self.widget)
        self.ui = slicer.util.childWidgetVariables(shell)
        self.sections: dict[str, Section] = {
            "log": LogSection(session, self.ui),
            "install": InstallSection(session, self.ui),
        }
        session.section_titled.connect(self._set_title)
        for name, file, section in _SECTIONS:
            widget = slicer.util.loadUI(resource(f"UI/{file}.ui"))
            widget.setMRMLScene(slicer.mrmlScene)
            getattr(self.ui, f"{name}Section").layout().addWidget(widget)
            self.sections[name] = section(session, slicer.util.childWidgetVariables(widget))
        self._heights = [FullHeight(getattr(self.ui, f"{name}Section")) for name, _file, _section in _SECTIONS]
        session.section_wanted.connect(self._open)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.StartImportEvent, self._forget_parameters)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_changed)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._on_nodes)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._on_node_leaving)
        self._take_parameters()

    def enter(self) -> None:
        """The user comes to the module: look at what may have changed, and let the worker warm up."""
        self._entered = True
        early.remember_opening()
        self.session.refresh_catalog()
        self.session.warm_up()
        self.session.entered.emit()

    def exit(self) -> None:
        """The user goes to another module, where all segmentations may be shown over all volumes."""
        self._entered = False

    def close(self) -> None:
        """Stop what runs and release everything but the session."""
        self.removeObservers()
        self._displayed.close()
        self._nodes_timer.stop()
        self._scene_timer.stop()
        self._scroll_timer.stop()
        for height in self._heights:
            height.cleanup()
        for section in self.sections.values():
            section.cancel()
            section.cleanup()
        self._forget_parameters()
        self.session.section_wanted.disconnect(self._open)
        self.session.section_titled.disconnect(self._set_title)
        self.widget.hide()
        self.widget.deleteLater()

    def _on_scene_closing(self, caller: Any, event: Any) -> None:
        for section in self.sections.values():
            section.cancel()
        self.session.scene_closing.emit()
        self._displayed.forget()
        self._forget_parameters()

    def _on_scene_changed(self, caller: Any, event: Any) -> None:
        self._take_parameters_soon()

    def _take_parameters_soon(self) -> None:
        self._scene_timer.start(0)

    def _take_parameters(self) -> None:
        self._forget_parameters()
        parameters = Parameters(self._parameter_node())
        # A script, or a scene view that is restored: the sections show what it says, all at once.
        parameters.changed_by_others.connect(self._take_parameters_soon)
        self.session.parameters = parameters
        for section in self.sections.values():
            section.set_parameters(parameters)

    def _forget_parameters(self, caller: Any = None, event: Any = None) -> None:
        for section in self.sections.values():
            section.forget_parameters()
        if self.session.parameters is not None:
            self.session.parameters.close()
            self.session.parameters = None

    def _on_nodes(self, caller: Any, event: Any) -> None:
        # Loading a scene adds many nodes in a row: one signal for all of them.
        self._nodes_timer.start(0)

    def _on_displayed(self) -> None:
        arrange(hide=self._entered)
        self.session.displayed_changed.emit()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_leaving(self, caller: Any, event: Any, node: Any) -> None:
        self.session.node_leaving.emit(node)

    def _set_title(self, name: str, text: str) -> None:
        getattr(self.ui, f"{name}Section").text = text

    def _open(self, name: str) -> None:
        section = getattr(self.ui, f"{name}Section")
        section.collapsed = False
        self._opened = section
        self._scroll_timer.start(_LAYOUT_MS)

    def _scroll_to_opened(self) -> None:
        """Let Slicer's module panel begin with the section, as far as it goes."""
        area = self.widget.parentWidget()
        while area is not None and not area.inherits("QScrollArea"):
            area = area.parentWidget()
        if area is not None:
            area.verticalScrollBar().setValue(self._opened.mapTo(area.widget(), qt.QPoint(0, 0)).y())

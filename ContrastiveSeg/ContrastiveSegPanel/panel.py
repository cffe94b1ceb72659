"""The panel: its sections, put together and kept in step with the scene."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from .drop import DropArea
from .parameters import Parameters
from .sections import Section
from .sections.install import InstallSection
from .sections.log import LogSection
from .sections.model import ModelSection
from .session import Session

#: Name of the collapsible button and of the .ui file, module and class in ``sections``; from top to bottom.
_SECTIONS = (
    ("model", "Model", "model", "ModelSection"),
    ("segment", "Segment", "segment", "SegmentSection"),
    ("fineTune", "FineTune", "finetune", "FineTuneSection"),
    ("preTrain", "PreTrain", "pretrain", "PreTrainSection"),
    ("results", "Results", "results", "ResultsSection"),
)


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
        self._nodes_timer = qt.QTimer()
        self._nodes_timer.setSingleShot(True)
        self._nodes_timer.connect("timeout()", session.nodes_changed.emit)
        self.widget = DropArea((".safetensors",), self._on_file)
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
        for name, file, module, cls in _SECTIONS:
            if importlib.util.find_spec(f"{__package__}.sections.{module}") is None:
                getattr(self.ui, f"{name}Section").setVisible(False)
                continue
            widget = slicer.util.loadUI(resource(f"UI/{file}.ui"))
            widget.setMRMLScene(slicer.mrmlScene)
            getattr(self.ui, f"{name}Section").layout().addWidget(widget)
            made = getattr(importlib.import_module(f".sections.{module}", __package__), cls)
            self.sections[name] = made(session, slicer.util.childWidgetVariables(widget))
        session.section_wanted.connect(self._open)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_changed)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._on_nodes)
        self._on_scene_changed()

    def enter(self) -> None:
        """The user comes to the module: look at what may have changed, and let the worker warm up."""
        self.session.refresh_catalogue()
        self.session.warm_up()

    def close(self) -> None:
        """Stop everything and leave nothing behind."""
        self.removeObservers()
        self._nodes_timer.stop()
        for section in self.sections.values():
            section.cancel()
            section.cleanup()
        self._drop_parameters()
        self.session.section_wanted.disconnect(self._open)
        self.session.close()
        self.widget.hide()
        self.widget.deleteLater()

    def _on_scene_closing(self, caller: Any, event: Any) -> None:
        for section in self.sections.values():
            section.cancel()
        self.session.scene_closing.emit()
        self._drop_parameters()

    def _on_scene_changed(self, caller: Any = None, event: Any = None) -> None:
        self._drop_parameters()
        parameters = Parameters(self._parameter_node())
        self.session.parameters = parameters
        for section in self.sections.values():
            section.set_parameters(parameters)

    def _drop_parameters(self) -> None:
        if self.session.parameters is not None:
            self.session.parameters.close()
            self.session.parameters = None

    def _on_nodes(self, caller: Any, event: Any) -> None:
        # Loading a scene adds many nodes in a row: tell of them once.
        self._nodes_timer.start(0)

    def _on_file(self, path: Path) -> None:
        model = self.sections["model"]
        assert isinstance(model, ModelSection)
        model.add(path)

    def _open(self, name: str) -> None:
        getattr(self.ui, f"{name}Section").collapsed = False

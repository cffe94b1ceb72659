"""The module's face in 3D Slicer: thin, and light to import, since Slicer does so at every start.

The panel is in ContrastiveSegPanel, the engine, which runs in a process of its own, in ContrastiveSegLib.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

if TYPE_CHECKING:
    from ContrastiveSegPanel.session import Session

    from ContrastiveSegLib.events import Event


class ContrastiveSeg(ScriptedLoadableModule):
    """What Slicer's list of modules says of this one."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("Contrastive Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The ContrastiveSeg maintainers"]
        parent.helpText = _(
            "Segments volumes by networks that learn from a few labelled examples. Choose a checkpoint and press "
            "Segment; to teach a network your own structures, label a few volumes and press Fine-tune. Everything runs "
            "on this computer. Research software, not for diagnosis."
        )
        parent.acknowledgementText = _(
            "Please cite the publication shown with the checkpoint, and this software (CITATION.cff). Networks and "
            "training are built on PyTorch and MONAI."
        )
        slicer.app.connect("startupCompleted()", _register_sample_data)


def _register_sample_data() -> None:
    from ContrastiveSegPanel import sample_data

    sample_data.register()


class ContrastiveSegWidget(ScriptedLoadableModuleWidget):
    """Hands what Slicer asks of a module's widget to the panel."""

    def __init__(self, parent: Any = None) -> None:
        self.logic: ContrastiveSegLogic | None = None
        self.panel: Any = None
        super().__init__(parent)

    def setup(self) -> None:
        super().setup()
        from ContrastiveSegPanel.panel import Panel

        self.logic = ContrastiveSegLogic()
        self.panel = Panel(self.layout, self.resourcePath, self.logic.getParameterNode, self.logic.session)
        self.layout.addStretch(1)

    def enter(self) -> None:
        self.panel.enter()

    def cleanup(self) -> None:
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def onReload(self) -> None:
        """Forget the panel's modules and the engine's light ones, so that they are imported anew with this file."""
        for name in list(sys.modules):
            if name.partition(".")[0] in ("ContrastiveSegPanel", "ContrastiveSegLib"):
                del sys.modules[name]
        super().onReload()


class ContrastiveSegFileReader:
    """Lets a checkpoint be dropped on Slicer's window: it is taken into the catalogue and chosen."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent

    def description(self) -> str:
        return _("Segmentation checkpoint")

    def fileType(self) -> str:
        return "ContrastiveSegCheckpoint"

    def extensions(self) -> list[str]:
        return [_("Segmentation checkpoint") + " (*.safetensors)"]

    def canLoadFile(self, filePath: str) -> bool:
        return filePath.lower().endswith(".safetensors")

    def load(self, properties: dict[str, Any]) -> bool:
        try:
            if slicer.util.mainWindow() is not None:
                slicer.util.selectModule("ContrastiveSeg")
            slicer.util.getModuleWidget("ContrastiveSeg").panel.add(Path(properties["fileName"]))
        except Exception:
            logging.exception("ContrastiveSeg")
            return False
        self.parent.loadedNodes = []
        return True


class ContrastiveSegLogic(ScriptedLoadableModuleLogic):
    """Segmenting for scripts and other modules. Calls return when the work is done; Slicer's windows stay alive.

    Segment a volume, into a new segmentation::

        from ContrastiveSeg import ContrastiveSegLogic
        logic = ContrastiveSegLogic()
        segmentation = logic.segment(slicer.util.getNode("MRHead"), "/models/brain.safetensors")

    Attributes:
        session: the processes and the catalogue; made when first needed, ended by :meth:`close`.
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            from ContrastiveSegPanel.session import Session

            self._session = Session()
        return self._session

    def close(self) -> None:
        """End the processes and remove temporary files; the next call starts anew."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def segment(
        self,
        volume: Any,
        checkpoint: str | Path,
        segmentation: Any = None,
        *,
        mirror: bool = False,
        largest_component: bool = False,
        uncertainty: bool = False,
        device: str = "auto",
        on_event: Callable[[Event], None] | None = None,
    ) -> Any:
        """Segment a volume; returns the segmentation node.

        Args:
            volume: a scalar volume node, or one for each channel of the model.
            checkpoint: a fine-tuned checkpoint's file.
            segmentation: a segmentation node to write into; its segments with other names than the model's are kept.
                None makes a new one.
            mirror, largest_component, uncertainty, device: see ``Options`` in ContrastiveSegPanel/segmenting.py.
            on_event: called with the job's events on the way.

        Raises:
            InputError: the checkpoint or the volume cannot be used, with the reason.
            ContrastiveSegError: the engine failed, or Python packages are missing.
        """
        from ContrastiveSegPanel.blocking import run_blocking
        from ContrastiveSegPanel.segmenting import Options, Segmenting

        from ContrastiveSegLib.checkpoints.header import read_card

        volumes = list(volume) if isinstance(volume, Sequence) else [volume]
        options = Options(mirror, largest_component, uncertainty, device)
        path = Path(checkpoint)
        work = Segmenting(path, read_card(path), [volumes], options, segmentation, self.session.folder())
        try:
            for _words, do in work.steps():
                do()
            run_blocking(self.session.worker, work.job(), on_event)
            work.take_finished()
        finally:
            work.close()
        return slicer.mrmlScene.GetNodeByID(work.segmentation_ids[0])


class ContrastiveSegTest(ScriptedLoadableModuleTest):
    """Self tests."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

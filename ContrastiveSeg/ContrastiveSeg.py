"""The module's face in 3D Slicer: thin, and light to import, since Slicer does so at every start.

The panel is in ContrastiveSegPanel, the engine, which runs in a process of its own, in contrastiveseg.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from ContrastiveSegPanel import self_test
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)

if TYPE_CHECKING:
    from ContrastiveSegPanel.workflows.session import Session

    from contrastiveseg.events import Event


#: Whoever owns this fills it in, as "Name (Organization)", here and alike in EXTENSION_CONTRIBUTORS of CMakeLists.txt;
#: ci/extension-check compares the two.
CONTRIBUTORS = ["The ContrastiveSeg maintainers (ContrastiveSeg)"]
_DOCUMENTATION = "https://github.com/ContrastiveSeg/SlicerContrastiveSeg/blob/main/docs"


class ContrastiveSeg(ScriptedLoadableModule):
    """What Slicer's list of modules says of this one."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("Contrastive Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = CONTRIBUTORS
        parent.helpText = _(
            "Segments volumes by networks that learn from a few labeled examples. Choose a checkpoint and press "
            "Segment; to teach a network your own structures, label a few volumes and press Fine-tune. Everything runs "
            'on this computer. Research software, not for diagnosis.<p>See the <a href="{tutorial}">tutorial</a> and '
            'what the <a href="{panel}">panel</a> has to offer.</p>'
        ).format(tutorial=f"{_DOCUMENTATION}/tutorials/slicer.md", panel=f"{_DOCUMENTATION}/reference/panel.md")
        parent.acknowledgementText = _(
            "Please cite the publication shown with the checkpoint, and this software (CITATION.cff). Networks and "
            "training are built on PyTorch and MONAI."
        )
        slicer.app.connect("startupCompleted()", _register_sample_data)
        slicer.app.connect("startupCompleted()", _start_worker_early)
        slicer.app.connect("startupCompleted()", _register_segment_editor_effect)


def _register_sample_data() -> None:
    from ContrastiveSegPanel.mrml import sample_data

    sample_data.register()


def _start_worker_early() -> None:
    from ContrastiveSegPanel.engine import early

    early.start_soon(_import_panel)


def _import_panel() -> None:
    from ContrastiveSegPanel.ui import panel  # noqa: F401


def _register_segment_editor_effect() -> None:
    from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

    effect = qSlicerSegmentEditorScriptedEffect(None)
    folder = Path(__file__).resolve().parent / "SegmentEditorContrastiveSegLib"
    if effect.setPythonSource((folder / "SegmentEditorEffect.py").as_posix()):
        effect.self().register()


class ContrastiveSegWidget(ScriptedLoadableModuleWidget):
    """Hands what Slicer asks of a module's widget to the panel."""

    def __init__(self, parent: Any = None) -> None:
        self.logic: ContrastiveSegLogic | None = None
        self.panel: Any = None
        super().__init__(parent)

    def setup(self) -> None:
        super().setup()
        from ContrastiveSegPanel.ui.panel import Panel

        self.logic = ContrastiveSegLogic()
        self.panel = Panel(self.layout, self.resourcePath, self.logic.getParameterNode, self.logic.session)
        self.layout.addStretch(1)

    def enter(self) -> None:
        self.panel.enter()

    def exit(self) -> None:
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self) -> None:
        if self.panel is not None:
            self.panel.close()
            self.panel = None
        if self.logic is not None:
            self.logic.close()

    def onReload(self) -> None:
        """Forget the panel's modules and the engine's light ones, so that they are imported anew with this file."""
        for name in list(sys.modules):
            if name.partition(".")[0] in ("ContrastiveSegPanel", "contrastiveseg"):
                del sys.modules[name]
        super().onReload()


class ContrastiveSegFileReader:
    """Lets a checkpoint be dropped on Slicer's window: it is taken into the catalog and chosen."""

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
            slicer.util.getModuleWidget("ContrastiveSeg").logic.session.add_checkpoint(Path(properties["fileName"]))
        except Exception:
            logging.exception("ContrastiveSeg")
            return False
        self.parent.loadedNodes = []
        return True


class ContrastiveSegLogic(ScriptedLoadableModuleLogic):
    """What the panel does, for scripts and other modules. Calls return when the work is done; Slicer's windows stay
    alive meanwhile.

    Segment a volume, into a new segmentation::

        logic = slicer.util.getModuleLogic("ContrastiveSeg")
        segmentation = logic.segment(slicer.util.getNode("MRHead"), "/models/brain.safetensors")

    Learn from two labeled volumes for five minutes, then segment a third with what was learned::

        cases = [(getNode("CT1"), getNode("CT1 liver")), (getNode("CT2"), getNode("CT2 liver"))]
        logic.fine_tune(cases, logic.starter(), "/models/liver.safetensors", minutes=5)
        segmentation = logic.segment(getNode("CT3"), "/models/liver.safetensors")

    Measure how well it agrees with a segmentation drawn by hand::

        scores = logic.evaluate(segmentation, getNode("CT3 liver"))
        print(scores["liver"]["dice"])
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The engine's processes and the catalog; made when first needed."""
        if self._session is None:
            from ContrastiveSegPanel.workflows.session import Session

            self._session = Session()
        return self._session

    def close(self) -> None:
        """End the processes and remove temporary files; the next call starts anew."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def starter(self, name: str | None = None) -> Path:
        """The file of a pre-trained checkpoint that ships with the module, to be fine-tuned; by default the best.

        Raises:
            InputError: there is none of that name; the message lists those there are.
        """
        from contrastiveseg.checkpoints.starters import DEFAULT, starter

        return starter(name or DEFAULT)

    def segment(
        self,
        volume: Any,
        checkpoint: str | Path,
        segmentation: Any = None,
        *,
        mirror: bool = False,
        pieces: str = "auto",
        uncertainty: bool = False,
        device: str = "auto",
        roi: Any = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Any:
        """Segment a volume; returns the segmentation node.

        Args:
            volume: a scalar volume node, or a list with one for each channel of the model.
            checkpoint: a fine-tuned checkpoint's file.
            segmentation: a node to write into; its segments with other names than the model's are kept. None makes a
                new one.
            mirror: average over mirrored copies.
            pieces: keep "all" of each segment, only the "largest", or as it was in all training cases ("auto").
            uncertainty: also add a volume with the uncertainty of every voxel, 0 to 1.
            device: "auto", "cpu", "cuda:N" or "mps".
            roi: a Markups ROI node: only there is anything segmented, and the rest is empty.
            on_event: called with the job's events on the way (contrastiveseg/events.py).

        Raises:
            InputError: the checkpoint or the volume cannot be used, with the reason.
            ContrastiveSegError: the engine failed or is busy, or Python packages are missing.
        """
        from ContrastiveSegPanel.workflows import scripting

        from contrastiveseg.checkpoints.starters import checkpoint_path

        volumes = volume if isinstance(volume, (list, tuple)) else [volume]
        options = scripting.Options(mirror, pieces, uncertainty, device, roi)
        return scripting.segment(self.session, volumes, checkpoint_path(checkpoint), segmentation, options, on_event)

    def fine_tune(
        self,
        cases: Sequence[tuple[Any, Any]],
        checkpoint: str | Path | None,
        output: str | Path,
        *,
        validation: Sequence[tuple[Any, Any]] = (),
        unlabeled: Sequence[Any] = (),
        on_event: Callable[[Event], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Learn to segment like the labeled volumes; writes a checkpoint and returns the engine's result, with the
        scores of the held-out cases under "held_out".

        Args:
            cases: volume nodes with their segmentation nodes; for a case of several channels, a list of volumes, one
                a channel. Segments are distinguished by their names.
            checkpoint: where to start from, a file or ``starter:NAME``; None: from scratch.
            output: the checkpoint to write.
            validation: labeled cases to score on, not learned from.
            unlabeled: volume nodes without segmentation, for the methods that use them.
            on_event: as in :meth:`segment`.
            fields: anything else of ``FinetuneJob`` (contrastiveseg/descriptions): ``minutes``, ``steps``,
                ``method``, ``device``, ``overwrite``, ...

        Raises:
            InputError, ContrastiveSegError: as in :meth:`segment`.
        """
        from ContrastiveSegPanel.workflows import scripting

        from contrastiveseg.checkpoints.starters import checkpoint_path

        start = checkpoint_path(checkpoint) if checkpoint is not None else None
        return scripting.fine_tune(self.session, cases, start, Path(output), validation, unlabeled, on_event, fields)

    def evaluate(self, segmentation: Any, reference: Any, volume: Any = None) -> dict[str, dict[str, float | None]]:
        """Compare a segmentation with a reference: segment name -> "dice", "hd95_mm", "assd_mm", "volume_ml",
        "reference_ml" (None where undefined). Segments are matched by their names.

        Args:
            volume: on whose voxel grid to compare; None: that of the reference's volume.

        Raises:
            InputError, ContrastiveSegError: as in :meth:`segment`.
        """
        from ContrastiveSegPanel.workflows import scripting

        return scripting.evaluate(self.session, segmentation, reference, volume)


class ContrastiveSegTest(self_test.SelfTest):
    """What Slicer runs by "Reload and Test", and CTest by this file."""

    make_logic = ContrastiveSegLogic

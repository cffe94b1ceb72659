"""Preview and Learn again of the panel, inside Slicer's Segment Editor.

Slicer loads this file at every start, under the name of its folder, as a module without a package: it imports by whole
names, and the panel only when the effect is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

_ICON = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / "ContrastiveSeg.png"


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """Buttons that press those of the panel, for the segmentation that is edited."""

    def __init__(self, scriptedEffect: Any) -> None:
        # The name is kept in scenes, the title is shown.
        scriptedEffect.name = "ContrastiveSeg"
        scriptedEffect.title = _("Spread strokes")
        scriptedEffect.perSegment = False
        scriptedEffect.requireSegments = True
        scriptedEffect.showEffectCursorInSliceView = False
        scriptedEffect.showEffectCursorInThreeDView = False
        super().__init__(scriptedEffect)
        self._options: Any = None

    def clone(self) -> Any:
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

        cloned = qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(Path(__file__).as_posix())
        return cloned

    def icon(self) -> Any:
        return qt.QIcon(str(_ICON))

    def helpText(self) -> str:
        return _(
            "<html>Spread a few strokes over the whole volume<br>. Paint in each segment, on one slice or better on "
            "three, then press Preview here. The preview is a segmentation of its own. <b>Learn again</b> fine-tunes "
            "the checkpoint with the results whose segments have the status Completed.</html>"
        )

    def setupOptionsFrame(self) -> None:
        from ContrastiveSegPanel.ui.effect_options import EffectOptions

        self._options = EffectOptions(self._segmentation)
        self.scriptedEffect.addOptionsWidget(self._options.widget)

    def activate(self) -> None:
        self._options.show(slicer.util.getModuleWidget("ContrastiveSeg").panel)

    def deactivate(self) -> None:
        self._options.leave()

    def sourceVolumeNodeChanged(self) -> None:
        # Also of effects that are not active; and the segmentation may be another one.
        if self._options is not None:
            self._options.follow()

    def referenceGeometryChanged(self) -> None:
        self.sourceVolumeNodeChanged()

    def cleanup(self) -> None:
        if self._options is not None:
            self._options.close()

    def _segmentation(self) -> Any:
        """The segmentation that is edited, or None."""
        node = self.scriptedEffect.parameterSetNode()
        return node.GetSegmentationNode() if node is not None else None

"""The module's self tests inside Slicer, with tiny synthetic volumes and the real engine; a minute on a slow computer.

Imported at every start of Slicer, so light.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest


class SelfTest(ScriptedLoadableModuleTest):
    """The tests; the module's file adds what makes its logic, and gives them the name by which Slicer finds them."""

    make_logic: Callable[[], Any]

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.folder = Path(tempfile.mkdtemp(dir=slicer.app.temporaryPath))
        self.logic = self.make_logic()

    def tearDown(self) -> None:
        self.logic.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def runTest(self) -> None:
        for name in sorted(name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            try:
                self.delayDisplay(name)
                getattr(self, name)()
            finally:
                self.tearDown()

    def test_learn_segment_measure(self) -> None:
        """Two labeled spheres, a few steps from the starter, a third volume segmented and measured."""
        cases = [self._sphere(f"Sphere{i}", i) for i in range(2)]
        output = self.folder / "sphere.safetensors"
        self.logic.fine_tune(cases, self.logic.starter(), output, steps=3, device="cpu")
        volume, reference = self._sphere("Sphere2", 2)
        segmentation = self.logic.segment(volume, output, uncertainty=True, device="cpu")
        self.assertEqual(segmentation.GetName(), "Sphere2 segmentation")
        self.assertEqual(segmentation.GetSegmentation().GetNthSegment(0).GetName(), "ball")
        self.assertIsNotNone(slicer.mrmlScene.GetFirstNodeByName("Sphere2 uncertainty"))
        scores = self.logic.evaluate(segmentation, reference)
        self.assertGreaterEqual(scores["ball"]["dice"], 0)
        self.assertEqual(self.logic.evaluate(reference, reference)["ball"]["dice"], 1)

    def test_a_starter_cannot_segment(self) -> None:
        from contrastiveseg.errors import InputError

        volume, _segmentation = self._sphere("Sphere", 0)
        with self.assertRaises(InputError):
            self.logic.segment(volume, self.logic.starter())

    def test_the_panel_opens(self) -> None:
        panel = slicer.util.getModuleWidget("ContrastiveSeg").panel
        self.assertGreater(panel.sections["model"].ui.checkpointComboBox.count, 1)

    def test_the_segment_editor_has_the_effect(self) -> None:
        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLScene(slicer.mrmlScene)
        self.assertIn("ContrastiveSeg", editor.availableEffectNames())

    def _sphere(self, name: str, seed: int) -> tuple[Any, Any]:
        """A noisy ball of 12 mm radius, and its segmentation."""
        random = np.random.default_rng(seed)
        center = random.uniform(14, 18, 3)
        distance = np.linalg.norm(np.indices((32, 32, 32)).transpose(1, 2, 3, 0) - center, axis=-1)
        ball = (distance < 12).astype(np.uint8)
        array = (100 * ball + random.normal(100, 10, ball.shape)).astype(np.int16)
        volume = slicer.util.addVolumeFromArray(array, name=name)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} drawn")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segment = segmentation.GetSegmentation().AddEmptySegment("", "ball")
        slicer.util.updateSegmentBinaryLabelmapFromArray(ball, segmentation, segment, volume)
        return volume, segmentation

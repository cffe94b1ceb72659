"""Slicer's module Segment Editor: opened by hand it edits the segmentation it had, or the scene's first one."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentEditor(ScriptedLoadableModule):
    """What the list of modules says of it."""


class SegmentEditorWidget(ScriptedLoadableModuleWidget):
    """The panel, with the editor's widget in ``editor``."""

    def setup(self):
        super().setup()
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self._select_parameter_node()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        self.factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
        self.factory.connect("effectRegistered(QString)", self._effect_registered)

    def _effect_registered(self):
        self.editor.updateEffectList()

    def cleanup(self):
        self.factory.disconnect("effectRegistered(QString)", self._effect_registered)

    def exit(self):
        # So nothing can be painted while another module is shown.
        self.editor.setActiveEffect(None)

    def enter(self):
        self._select_parameter_node()
        if self.editor.segmentationNode() is None:
            scene = slicer.mrmlScene
            first = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            self.editor.setSegmentationNode(first or scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))

    def _select_parameter_node(self):
        node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag("SegmentEditor")
            node = slicer.mrmlScene.AddNode(node)
        self.editor.setMRMLSegmentEditorNode(node)

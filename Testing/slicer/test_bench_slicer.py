"""Slicer around the panel: dialogs, settings, files, modules, failures nobody sees."""

import sys
import threading
from textwrap import dedent

import numpy as np
import pytest


@pytest.fixture
def volume(scene):
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "heart")
    node.SetSpacing(2, 3, 4)
    node.SetOrigin(5, 6, 7)
    slicer.util.updateVolumeFromArray(node, np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    return node


def test_a_question_is_answered_by_the_test(dialogs):
    import slicer

    dialogs.answer(True, False)
    assert slicer.util.confirmOkCancelDisplay("Install?")
    assert not slicer.util.confirmYesNoDisplay("Overwrite?")
    assert dialogs.texts() == ["Install?", "Overwrite?"]


def test_a_question_nobody_answers_is_an_error(dialogs):
    import slicer

    with pytest.raises(AssertionError, match="nobody answers"):
        slicer.util.confirmOkCancelDisplay("Install?")


def test_an_error_message_fails_the_test_unless_it_is_looked_at(dialogs):
    import slicer

    slicer.util.infoDisplay("Done.")
    assert dialogs.unseen() == []
    slicer.util.errorDisplay("No model.", detailedText="why")
    assert dialogs.unseen() == ["error message: No model."]
    assert dialogs.errors() == ["No model."]
    assert dialogs.unseen() == []


def test_a_message_of_several_buttons(dialogs):
    import qt

    box = qt.QMessageBox()
    box.text = "Save?"
    box.setStandardButtons(qt.QMessageBox.Save | qt.QMessageBox.Discard | qt.QMessageBox.Cancel)
    dialogs.answer(qt.QMessageBox.Discard)
    assert box.exec_() == qt.QMessageBox.Discard


def test_a_file_dialog_gives_a_path_alone(dialogs, tmp_path):
    import qt

    dialogs.answer(tmp_path / "a.nrrd", None)
    assert qt.QFileDialog.getOpenFileName(None, "Open", "", "") == str(tmp_path / "a.nrrd")
    assert qt.QFileDialog.getSaveFileName(None, "Save", "", "") == ""


def test_pip_is_not_run_but_counted(installs):
    import slicer

    slicer.util.pip_install("monai>=1.5")
    assert installs.calls == ["monai>=1.5"]


def test_settings_are_kept_in_a_file_of_their_own_and_begin_empty(slicer_started):
    import slicer

    assert slicer.app.settings().allKeys() == []
    slicer.app.settings().setValue("ContrastiveSeg/device", "cpu")
    assert slicer.util.settingsValue("ContrastiveSeg/device", "auto") == "cpu"
    assert str(slicer.app.settings().fileName()).startswith(slicer.app.slicerHome)


@pytest.mark.parametrize("name", ["v.nrrd", "v.nii.gz", "v.mha"])
def test_a_volume_is_saved_exported_and_loaded(volume, tmp_path, name):
    import slicer

    assert slicer.util.exportNode(volume, str(tmp_path / name), properties={})
    assert volume.GetStorageNode() is None
    assert slicer.util.saveNode(volume, str(tmp_path / ("saved-" + name)))
    loaded = slicer.util.loadVolume(str(tmp_path / name))
    assert loaded.GetName() == "v"
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    np.testing.assert_allclose(loaded.GetOrigin(), (5, 6, 7))


def test_a_scene_is_saved_and_loaded(volume, scene, tmp_path):
    import slicer

    assert slicer.util.saveScene(str(tmp_path / "s.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    assert slicer.util.getNode("heart").GetSpacing() == (2, 3, 4)


def test_a_file_that_is_not_there_is_an_error(scene):
    import slicer

    with pytest.raises(RuntimeError):
        slicer.util.loadVolume("/nowhere/v.nrrd")


def test_volumes_are_shown_in_the_slice_views(volume):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    assert red.GetSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()


def test_nodes_have_subject_hierarchy_items_as_long_as_they_live(volume, scene):
    import slicer

    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = tree.GetItemByDataNode(volume)
    assert item
    scene.RemoveNode(volume)
    assert tree.GetItemDataNode(item) is None


def test_a_sample_is_registered_once(slicer_started):
    import slicer
    from SampleData import SampleDataLogic

    for _ in range(2):
        SampleDataLogic.registerCustomSampleDataSource("Bench", "heart", customDownloader=lambda source: None)
    assert [s.sampleName for s in slicer.modules.sampleDataSources["Bench"]] == ["heart"]
    del slicer.modules.sampleDataSources["Bench"]


def test_an_error_of_vtk_is_kept(slicer_started):
    import vtk
    from bench import failures

    vtk.vtkImageAppend().Update()
    assert any("vtkImageAppend" in text for text in failures.take())


def test_an_exception_in_an_observer_is_kept(scene):
    import slicer
    from bench import failures

    def fail(caller, event):
        raise ValueError("in an observer")

    tag = scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, fail)
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    scene.RemoveObserver(tag)
    assert any("in an observer" in text for text in failures.take())


MODULE = dedent(
    """
    import threading
    import slicer
    from slicer.ScriptedLoadableModule import *
    happened = []

    class Benched(ScriptedLoadableModule):
        def __init__(self, parent):
            super().__init__(parent)
            parent.title = "Benched"
            slicer.app.connect("startupCompleted()", lambda: happened.append("startup"))

    class BenchedWidget(ScriptedLoadableModuleWidget):
        def setup(self):
            super().setup()
            happened.append("setup")
        def enter(self):
            happened.append("enter")
        def exit(self):
            happened.append("exit")
        def cleanup(self):
            happened.append("cleanup")
        def fail(self):
            threading.Thread(target=print).start()

    class BenchedLogic(ScriptedLoadableModuleLogic):
        pass

    class BenchedFileReader:
        def __init__(self, parent):
            self.parent = parent
        def description(self): return "Benched"
        def fileType(self): return "BenchedFile"
        def extensions(self): return ["Benched (*.benched)"]
        def canLoadFile(self, path): return path.endswith(".benched")
        def load(self, properties):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", properties["fileName"])
            self.parent.loadedNodes = [node.GetID()]
            return True
    """
)


@pytest.fixture
def benched(slicer_started, tmp_path):
    from bench import scripted

    (tmp_path / "Benched.py").write_text(MODULE, encoding="utf-8")
    loaded = scripted.load(tmp_path / "Benched.py")
    yield loaded
    if "Benched" in sys.modules:
        scripted.unload(loaded)
    sys.path.remove(str(tmp_path))


def test_a_module_is_set_up_when_it_is_first_shown_and_told_when_it_is_left(benched):
    import Benched
    import slicer
    from bench import scripted

    slicer.app._complete_startup()
    assert not hasattr(slicer.modules, "BenchedWidget")
    slicer.util.selectModule("Benched")
    assert slicer.util.selectedModule() == "Benched"
    assert slicer.modules.BenchedWidget.parent.isEntered
    scripted.unload(benched)
    assert Benched.happened == ["startup", "setup", "enter", "exit", "cleanup"]


def test_a_module_is_reloaded(benched):
    import slicer

    slicer.util.selectModule("Benched")
    before = slicer.modules.BenchedWidget
    before.onReload()
    assert slicer.modules.BenchedWidget is not before
    assert sys.modules["Benched"].happened == ["setup"]
    assert slicer.util.getModuleWidget("Benched") is slicer.modules.BenchedWidget


def test_a_module_reads_its_files(benched, scene, tmp_path):
    import slicer

    path = tmp_path / "a.benched"
    path.write_text("", encoding="utf-8")
    assert slicer.app.coreIOManager().fileType(str(path)) == "BenchedFile"
    assert slicer.util.loadNodeFromFile(str(path)).GetName() == str(path)


def test_the_parameter_node_is_one_and_stays(benched, scene):
    import Benched

    logic = Benched.BenchedLogic()
    logic.getParameterNode().SetParameter("device", "cpu")
    # Other modules that were loaded before have theirs.
    nodes = scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode")
    assert logic.getParameterNode().GetParameter("device") == "cpu"
    assert scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == nodes >= 1


def test_threads_of_the_panel_are_refused(slicer_started):
    space = {"__name__": "ContrastiveSegPanel.engine.client", "threading": threading}
    with pytest.raises(RuntimeError, match="starts a thread"):
        exec("threading.Thread(target=print).start()", space)

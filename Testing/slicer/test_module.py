"""The module's own file: what Slicer is told, how it opens, closes and reloads, and what scripts can do with it."""

import ast
import shutil
import sys
from pathlib import Path

import pytest
from patients import noise

from contrastiveseg.errors import ContrastiveSegError, InputError

MODULE = Path(__file__).resolve().parents[2] / "ContrastiveSeg" / "ContrastiveSeg.py"


@pytest.fixture
def temporary(_honest):
    """What is in Slicer's temporary folder that was not there before the test."""
    import slicer

    folder = Path(slicer.app.temporaryPath)
    before = set(folder.iterdir())
    return lambda: [path.name for path in set(folder.iterdir()) - before]


def segment_section(module):
    return module.panel.sections["segment"]


def wait_for_tiles(module, wait_for):
    wait_for(lambda: 0 < segment_section(module).ui.progressBar.value < 900, 90)


# What Slicer is told


def test_slicer_knows_what_the_module_is(kept, module):
    import slicer

    told = slicer.modules.contrastiveseg
    assert told.title == "Contrastive Segmentation"
    assert told.categories == ["Segmentation"]
    assert told.contributors
    assert "not for diagnosis" in told.helpText
    assert told.acknowledgementText
    assert not told.icon.isNull()


def test_the_file_imports_only_what_is_light():
    light = {*sys.stdlib_module_names, "slicer"}
    assert imported_at_the_top(MODULE) <= light | {"ContrastiveSegPanel.self_test"}
    panel = MODULE.parent / "ContrastiveSegPanel"
    assert imported_at_the_top(panel / "__init__.py") == set()
    assert imported_at_the_top(panel / "self_test.py") <= light | {"numpy"}


def imported_at_the_top(file):
    """The packages; of the panel, its modules."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {a.name for node in tree.body if isinstance(node, ast.Import) for a in node.names}
    found |= {f"{n.module}.{a.name}" for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    return {name if name.startswith("ContrastiveSeg") else name.split(".")[0] for name in found}


def test_the_samples_are_offered(kept, module):
    import slicer

    offered = slicer.modules.sampleDataSources["Contrastive Segmentation"]
    assert [source.sampleName for source in offered] == ["SyntheticHeart1", "SyntheticHeart2", "SyntheticHeart3"]


# Opening and closing


def test_the_panel_asks_for_no_more_width_however_wide_it_is(module):
    """Slicer gives a module all the width that it asks for: one that then asks for more would grow without end."""
    for section in ("model", "segment", "fineTune", "preTrain", "results"):
        getattr(module.panel.ui, f"{section}Section").collapsed = False
    module.panel.sections["fineTune"].ui.labelNextGroupBox.collapsed = False
    needed = []
    for width in (500, 1500):
        module.panel.widget.resize(width, 2000)
        module.panel.widget.grab()
        needed.append(module.panel.widget.minimumSizeHint.width())
    assert needed[0] == needed[1] < 500


def test_opening_computes_nothing_and_writes_nothing(kept, models, module, temporary, screenshot):
    import slicer

    slicer.app.processEvents()
    screenshot(module.parent, "opened")
    assert temporary() == []
    assert not module.panel.session.worker.busy
    assert not module.panel.session.trainer.running


def test_leaving_and_coming_back_keeps_everything(kept, models, module, scene):
    import slicer

    noise((12, 16, 16), "Some")
    slicer.app.processEvents()
    panel = module.panel
    slicer.util.mainWindow().moduleSelector().selectModule("")
    shutil.copy(models / "organs.safetensors", models / "second.safetensors")
    slicer.util.selectModule("ContrastiveSeg")
    assert module.panel is panel
    combo = panel.sections["model"].ui.checkpointComboBox
    assert combo.findText("second") >= 0
    assert combo.currentText == "organs"


def test_reloading_in_the_middle_of_a_job(models, module, scene, wait_for, temporary):
    import slicer

    noise((48, 64, 64), "Large")
    slicer.app.processEvents()
    before = {name: loaded for name, loaded in sys.modules.items() if name.lower().startswith("contrastiveseg")}
    old = module.panel
    segment_section(module).ui.segmentButton.click()
    wait_for_tiles(module, wait_for)
    try:
        module.onReload()
        reloaded = slicer.modules.ContrastiveSegWidget
        assert reloaded is not module
        assert sys.modules["ContrastiveSegPanel.ui.panel"] is not before["ContrastiveSegPanel.ui.panel"]
        wait_for(lambda: not old.session.worker.running, 30)
        wait_for(lambda: temporary() == [], 30)
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        reloaded.enter()
        assert segment_section(reloaded).ui.inputSelector.currentNode().GetName() == "Large"
        reloaded.cleanup()
    finally:
        for name in [name for name in sys.modules if name.lower().startswith("contrastiveseg")]:
            del sys.modules[name]
        sys.modules.update(before)


def test_closing_in_the_middle_of_a_job(models, module, scene, wait_for, temporary):
    import slicer

    noise((48, 64, 64), "Large")
    slicer.app.processEvents()
    session = module.panel.session
    segment_section(module).ui.segmentButton.click()
    wait_for_tiles(module, wait_for)
    module.cleanup()
    wait_for(lambda: not session.worker.running and temporary() == [], 30)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_nothing_is_put_off_past_the_end(models, module, scene):
    """Slicer destroys the widgets after the module's cleanup, and its event loop may turn after that."""
    sections = module.panel.sections
    module.cleanup()
    shown = {"fineTune": "casesHint", "preTrain": "preTrainStatusLabel", "preview": "previewButton"}
    for name, widget in shown.items():
        getattr(sections[name].ui, widget).setText("as it was")
        getattr(sections[name].ui, widget).setToolTip("as it was")
        sections[name]._timer.timeout.emit()
        left = getattr(sections[name].ui, widget)
        assert (left.text, left.toolTip) == ("as it was", "as it was")


def test_a_checkpoint_dropped_on_slicers_window(kept, models, module, pretrained, dialogs):
    import slicer

    manager = slicer.app.coreIOManager()
    kind = manager.fileType(str(pretrained))
    assert kind == "ContrastiveSegCheckpoint"
    assert manager.loadNodes(kind, {"fileName": str(pretrained)})
    assert module.panel.session.checkpoint.path == models / "macl.safetensors"
    wrong = models.parent / "wrong.safetensors"
    wrong.write_bytes(b"nothing of ours")
    manager.loadNodes(kind, {"fileName": str(wrong)})
    assert "not a checkpoint" in dialogs.errors()[0]


# For scripts


def test_self_tests(kept, models, module):
    import slicer

    slicer.selfTests["ContrastiveSeg"]()


def test_the_logic_is_found_as_any_modules_is(kept, models, module):
    import slicer

    logic = slicer.util.getModuleLogic("ContrastiveSeg")
    assert logic is module.logic
    assert logic.starter().name == "synthetic-labels-3d-tiny.safetensors"
    assert logic.starter("macl-3d-tiny").name == "macl-3d-tiny.safetensors"
    with pytest.raises(InputError, match="There are: synthetic-labels-3d-tiny"):
        logic.starter("liver")


def test_the_logic_says_what_is_wrong(kept, models, module, scene):
    with pytest.raises(InputError, match="no checkpoint"):
        module.logic.segment(noise((12, 16, 16), "Some"), models / "none.safetensors")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    with pytest.raises(InputError, match="Empty holds no voxels"):
        module.logic.segment(empty, models / "organs.safetensors")
    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn")
    with pytest.raises(InputError, match="Name the volume"):
        module.logic.evaluate(drawn, drawn)
    assert list(module.logic.session.folder().iterdir()) == []


def test_the_logic_says_that_packages_are_missing(kept, models, module, scene):
    module.logic.session.missing = ["torch"]
    with pytest.raises(ContrastiveSegError, match="Python packages are missing"):
        module.logic.segment(noise((12, 16, 16), "Some"), models / "organs.safetensors")

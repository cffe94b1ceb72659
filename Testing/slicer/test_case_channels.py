"""Cases of several volumes in Fine-tune and Label next: which belong together, what lacks one, and what is learned."""

import pytest
import slicer
from patients import add_segmentation, add_volume, noise

from contrastiveseg.checkpoints.header import read_card

SECONDS = 90
NAMES = ("T1", "T1ce", "FLAIR")


def groups(volumes, names=NAMES):
    from ContrastiveSegPanel.workflows import case_channels

    return [
        tuple(node.GetName() if node is not None else None for node in channels)
        for channels in case_channels.grouped(volumes, names)
    ]


def test_volumes_whose_names_differ_in_the_channel_alone_are_one_case(scene):
    named = ("P1 T1ce", "flair_P1", "P1-T1", "P2 (T1)", "P3_0002", "P3_0000", "T10 of P1", "P2 T1 later")
    volumes = [add_volume(name) for name in named]
    assert groups(volumes) == [
        ("P1-T1", "P1 T1ce", "flair_P1"),
        ("P2 (T1)", None, None),
        ("P3_0000", None, "P3_0002"),
        ("T10 of P1", None, None),
        ("P2 T1 later", None, None),
    ]


def test_a_second_volume_of_a_channel_is_a_case_of_its_own(scene):
    volumes = [add_volume("P1 T1"), add_volume("P1 T1"), add_volume("P1 FLAIR")]
    assert groups(volumes) == [("P1 T1", None, "P1 FLAIR"), ("P1 T1", None, None)]


def test_what_the_user_chooses_counts_before_names_and_is_saved(scene, tmp_path):
    from ContrastiveSegPanel.workflows import case_channels

    first, second, third = (add_volume(name) for name in ("P1 T1", "P1 FLAIR", "unnamed"))
    case_channels.choose([third, None, second])
    assert groups([first, second, third]) == [("P1 T1", None, None), ("unnamed", None, "P1 FLAIR")]
    file = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(file, None)
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(file)
    volumes = [slicer.util.getNode(name) for name in ("P1 T1", "P1 FLAIR", "unnamed")]
    assert groups(volumes) == [("P1 T1", None, None), ("unnamed", None, "P1 FLAIR")]
    # The case gets a first channel, and another volume stands for it.
    case_channels.choose([volumes[0], volumes[2], volumes[1]])
    assert groups(volumes) == [("P1 T1", "unnamed", "P1 FLAIR")]


def test_volumes_on_two_grids_are_named(scene):
    from ContrastiveSegPanel.workflows import case_channels

    first, second = add_volume("P1 T1"), add_volume("P1 T2")
    assert case_channels.problem("P1", [first, second], ("T1", "T2")) == ""
    assert case_channels.problem("P1", [first, None], ("T1", "T2")) == "P1 lacks T2."
    second.SetSpacing(1, 1, 1)
    assert "P1 T2 lies elsewhere" in case_channels.problem("P1", [first, second], ("T1", "T2"))


@pytest.fixture
def tune(kept, module, wait_for, tmp_path):
    from ContrastiveSegPanel import settings

    settings.set_models_folder(tmp_path / "models")
    session, section = module.panel.session, module.panel.sections["fineTune"]
    session.set_models_folder(tmp_path / "models")
    starter = next(entry for entry in session.catalog.entries() if entry.origin == "starter")
    session.set_checkpoint(starter.path)
    module.panel.ui.fineTuneSection.collapsed = False
    module.panel.ui.modelSection.collapsed = True
    module.panel.ui.segmentSection.collapsed = True
    section.ui.labelNextGroupBox.collapsed = False
    return section


def cells(table):
    return [table.item(row, 0).text() for row in range(table.rowCount)]


def test_two_volumes_a_patient_are_learned_and_ranked(tune, module, wait_for, screenshot, tmp_path):
    ui, session = tune.ui, module.panel.session
    first = add_volume("P1 T1", 1)
    # Drawn on the second channel.
    add_segmentation(add_volume("P1 T2", 11), seed=1)
    for name, seed in (("P2 T1", 2), ("P2 T2", 12), ("P3 T1", 3), ("other", 13)):
        add_volume(name, seed)
    wait_for(lambda: ui.casesTable.rowCount == 6)
    ui.channelsLineEdit.setText("T1, T2")
    ui.channelsLineEdit.editingFinished()
    wait_for(lambda: cells(ui.casesTable) == ["P1 T1", "P2 T1", "P3 T1", "other"])
    # Of the cases that are not learned from none need be complete.
    wait_for(lambda: ui.fineTuneButton.enabled)
    assert "P3 T1 lacks T2. other lacks T2." in ui.rankButton.toolTip
    assert "P3 T1" in ui.caseChannelsLabel.text
    ui.casesTable.selectRow(2)
    _t1, second = tune._channels._selectors.selectors
    slicer.util.mainWindow().show()
    slicer.util.mainWindow().resize(420, 1100)
    screenshot(slicer.util.mainWindow(), "case-channels")
    second.setCurrentNode(slicer.util.getNode("other"))
    second.nodeActivated(second.currentNode())
    wait_for(lambda: cells(ui.casesTable) == ["P1 T1", "P2 T1", "P3 T1"])
    ui.fineTuneBudgetComboBox.setCurrentIndex(3)
    ui.fineTuneStepsSpinBox.setValue(1)
    ui.nameLineEdit.setText("two")
    wait_for(lambda: ui.fineTuneButton.enabled)
    ui.fineTuneButton.click()
    wait_for(lambda: not session.training, SECONDS)
    assert session.checkpoint.name == "two"
    assert [channel.name for channel in read_card(session.checkpoint.path).plan.channels] == ["T1", "T2"]
    assert tune._outcome.volume_ids == {"P1-T1": first.GetID()}
    # The new checkpoint names its channels itself.
    wait_for(lambda: not ui.channelsLineEdit.visible)
    wait_for(lambda: ui.rankButton.enabled)
    ui.rankButton.click()
    wait_for(lambda: not tune._label_next.task.busy, SECONDS)
    assert sorted(cells(ui.rankTable)) == ["P2 T1", "P3 T1"]


def test_a_training_case_that_lacks_a_channel_is_named(tune, wait_for):
    add_segmentation(add_volume("P1 T1", 1), seed=1)
    wait_for(lambda: tune.ui.fineTuneButton.enabled)
    tune.ui.channelsLineEdit.setText("T1, T2")
    tune.ui.channelsLineEdit.editingFinished()
    wait_for(lambda: "P1 T1 lacks T2" in tune.ui.fineTuneButton.toolTip)
    assert not tune.ui.fineTuneButton.enabled


def test_scripts_give_a_list_of_volumes_for_a_case(kept, module, tmp_path):
    logic = module.logic
    first, second = noise((12, 16, 16), "T1"), noise((12, 16, 16), "T2", seed=1)
    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(first)
    mask = (slicer.util.arrayFromVolume(first) > 900).astype("uint8")
    segment = drawn.GetSegmentation().AddEmptySegment("", "bright")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, drawn, segment, first)
    output = tmp_path / "two.safetensors"
    logic.fine_tune([([first, second], drawn)], None, output, steps=1, device="cpu")
    assert len(read_card(output).plan.channels) == 2

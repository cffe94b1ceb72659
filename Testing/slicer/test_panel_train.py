"""The section Fine-tune, by real clicks on the real module and with the real engine behind it."""

import os
import signal
import time

import pytest
from patients import add_patient, add_segmentation, add_volume
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from train_driver import SECONDS


def test_label_two_fine_tune_and_segment_the_third(trainer):
    import slicer

    for number in range(3):
        add_patient(f"CT {number}", number)
    add_volume("CT 3", 3)
    trainer.rows(4)
    trainer.role("CT 2", "Validation")
    trainer.budget(3)
    trainer.tune.nameLineEdit.setText("my organs")
    trainer.shoot("ready")
    trainer.click_fine_tune()
    trainer.trained()
    trainer.shoot("running")
    trainer.idle()
    trainer.shoot("done")
    entry = trainer.session.checkpoint
    assert entry.path == trainer.models / "my-organs.safetensors"
    assert trainer.model.checkpointComboBox.currentText.startswith("my-organs")
    assert [label.name for label in entry.card.labels] == ["Liver", "Spleen"]
    from contrastiveseg.checkpoints.learned_cases import learned_cases
    from contrastiveseg.serialization import to_json

    names = [(f"CT-{number}", None) for number in range(4)]
    assert learned_cases(entry.card, names).same_name == ("CT-0", "CT-1")
    assert "CT-" not in str(to_json(entry.card))
    assert entry.card.provenance.steps == 3
    trainer.ready()
    dice = trainer.column(3)
    assert (dice[0], dice[1], dice[3]) == ("", "", "")
    assert 0 <= float(dice[2]) <= 1
    assert trainer.tune.outcomeCard.isVisibleTo(trainer.panel.widget)
    assert "CT 2" in trainer.tune.outcomeLabel.text
    trainer.files_gone()

    trainer.segment.inputSelector.setCurrentNode(slicer.util.getNode("CT 3"))
    trainer.segment.segmentButton.click()
    trainer.wait_for(lambda: not trainer.panel.sections["segment"].task.busy, SECONDS)
    made = slicer.util.getNode("CT 3 segmentation")
    assert [s.GetName() for s in map(made.GetSegmentation().GetNthSegment, range(2))] == ["Liver", "Spleen"]
    # What a checkpoint made is not learned from by itself.
    assert [case.role for case in trainer.panel.sections["fineTune"]._cases.rows()][3] == "unlabeled"


def test_cancelled_while_writing_nothing_is_left(trainer):
    for number in range(4):
        add_patient(f"CT {number}", number)
    trainer.rows(4)
    trainer.click_fine_tune()
    assert trainer.panel.sections["fineTune"].training.task.state == "writing"
    trainer.tune.fineTuneCancelButton.click()
    trainer.wait_for(lambda: not trainer.session.training)
    assert not trainer.session.trainer.running
    assert trainer.tune.fineTuneStatusLabel.text == "Stopped."
    trainer.files_gone()
    assert list(trainer.models.iterdir()) == []


def test_fine_tuning_goes_on_when_the_scene_is_closed_and_leaves_the_next_one_alone(trainer):
    import slicer

    said = []
    trainer.session.log_line.connect(said.append)
    for number in range(2):
        add_patient(f"CT {number}", number)
    trainer.rows(2)
    trainer.role("CT 1", "Validation")
    trainer.budget(30)
    trainer.click_fine_tune()
    trainer.trained()
    slicer.mrmlScene.Clear(0)
    assert "Fine-tuning goes on" in said[-1]
    chart = trainer.panel.sections["fineTune"].chart
    assert chart.current.latest is not None
    # Nodes of the next scene have the same IDs.
    for number in range(2):
        add_volume(f"Next {number}", number)
    trainer.rows(2)
    trainer.idle()
    (path,) = trainer.models.glob("*.safetensors")
    (entry,) = [entry for entry in trainer.session.catalog.entries() if entry.path == path]
    assert entry.card.provenance.steps == 30
    assert trainer.session.checkpoint.path != path
    assert path.stem in trainer.tune.fineTuneStatusLabel.text
    assert "CT-1" in trainer.tune.outcomeLabel.text
    assert not trainer.tune.outcomeCard.isVisibleTo(trainer.panel.widget)
    assert [line for line in said if line.startswith("CT-1: Dice ")]
    assert trainer.column(3) == ["", ""]
    trainer.files_gone()
    assert chart.isVisibleTo(trainer.panel.widget)
    # What was said and drawn of a training that has ended does not go into the next scene.
    slicer.mrmlScene.Clear(0)
    assert trainer.tune.fineTuneStatusLabel.text == ""
    assert chart.trainings == []
    assert not chart.isVisibleTo(trainer.panel.widget)


def test_the_scene_closed_while_writing_leaves_nothing(trainer):
    import slicer

    add_patient("CT 0", 0)
    trainer.rows(1)
    trainer.click_fine_tune()
    slicer.mrmlScene.Clear(0)
    assert not trainer.session.training
    trainer.files_gone()
    assert list(trainer.models.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process group")
def test_the_engine_killed_while_training_then_cancelled(trainer_alone, dialogs):
    chosen = trainer_alone.session.checkpoint
    add_patient("CT 0", 0)
    trainer_alone.rows(1)
    trainer_alone.budget(100000)
    trainer_alone.click_fine_tune()
    trainer_alone.trained()
    os.killpg(trainer_alone.session.trainer._process.group, signal.SIGKILL)
    trainer_alone.idle()
    (error,) = dialogs.errors()
    assert "ended from outside" in error
    assert trainer_alone.tune.fineTuneStatusLabel.text == "Failed."
    trainer_alone.files_gone()
    assert list(trainer_alone.models.iterdir()) == []

    trainer_alone.click_fine_tune()
    trainer_alone.trained()
    trainer_alone.tune.fineTuneCancelButton.click()
    assert not trainer_alone.tune.fineTuneCancelButton.enabled
    trainer_alone.idle()
    (path,) = trainer_alone.models.glob("*.safetensors")
    # The checkpoint it started from stays chosen.
    assert trainer_alone.session.checkpoint == chosen
    (entry,) = [entry for entry in trainer_alone.session.catalog.entries() if entry.path == path]
    assert 0 < entry.card.provenance.steps < 100000
    assert path.stem in trainer_alone.tune.fineTuneStatusLabel.text
    assert "section Model" in trainer_alone.tune.fineTuneStatusLabel.text
    assert "section Jobs" in trainer_alone.tune.fineTuneStatusLabel.text
    trainer_alone.shoot("cancelled")
    # What going on needs is kept, and no more than that.
    assert not list(trainer_alone.session.folder().rglob("*"))
    assert trainer_alone.kept() == [".job", ".jsonl", ".resume", ".safetensors"]
    dialogs.answer(True)
    trainer_alone.discard()
    trainer_alone.files_gone()
    assert trainer_alone.kept() == [".safetensors"]
    trainer_alone.wait_for(lambda: not trainer_alone.session.trainer.running)


def test_a_volume_removed_before_it_is_written(trainer, dialogs):
    import slicer

    nodes = [add_patient(f"CT {number}", number) for number in range(3)]
    trainer.rows(3)
    trainer.click_fine_tune()
    slicer.mrmlScene.RemoveNode(nodes[2][0])
    trainer.wait_for(lambda: not trainer.session.training)
    assert dialogs.errors() == ["CT 2 or its segmentation is no longer in the scene."]
    trainer.files_gone()


def test_compared_with_scratch_then_with_before_and_a_volume_removed_meanwhile(trainer):
    import slicer

    nodes = [add_patient(f"CT {number}", number) for number in range(2)]
    trainer.rows(2)
    trainer.role("CT 1", "Validation")
    trainer.budget(2)
    trainer.tune.compareCheckBox.setChecked(True)
    trainer.click_fine_tune()
    trainer.idle()
    told = trainer.tune.outcomeLabel.text
    trainer.shoot("compared")
    assert "From scratch" in told
    assert "Before" not in told
    assert len(trainer.panel.sections["fineTune"].chart.trainings) == 2

    assert "Each start had the same budget" in told
    trainer.tune.compareCheckBox.setChecked(False)
    trainer.click_fine_tune()
    trainer.trained()
    slicer.mrmlScene.RemoveNode(nodes[1][0])
    trainer.idle()
    told = trainer.tune.outcomeLabel.text
    assert "Before" in told
    assert "CT-1" in told
    assert "From scratch" not in told
    assert len(list(trainer.models.glob("*.safetensors"))) == 2
    trainer.rows(1)
    assert trainer.column(3) == [""]
    trainer.files_gone()


def test_why_nothing_can_be_learned(trainer):
    assert "role Train" in trainer.tune.fineTuneButton.toolTip
    add_patient("CT", 0)
    trainer.ready()
    for row in range(2):
        trainer.tune.structuresTable.item(row, 0).setCheckState(unchecked())
    trainer.wait_for(lambda: not trainer.tune.fineTuneButton.enabled)
    assert "Tick at least one" in trainer.tune.fineTuneButton.toolTip
    trainer.panel.sections["fineTune"]._cases.set_learn("liver", True)
    trainer.ready()
    trainer.session.set_checkpoint(None)
    trainer.wait_for(lambda: "checkpoint" in trainer.tune.fineTuneButton.toolTip)
    assert trainer.tune.casesHint.text.startswith("1 to learn from")


def unchecked():
    import qt

    return qt.Qt.Unchecked


def test_more_labels_than_can_be_learned_are_refused(trainer, dialogs):
    add_patient("CT", 0, ())
    _volume, segmentation = add_patient("CT 1", 0, ())
    for number in range(256):
        segmentation.GetSegmentation().AddEmptySegment("", f"part {number}")
    trainer.ready()
    trainer.tune.fineTuneButton.click()
    assert "at most 255" in dialogs.errors()[0]
    assert not trainer.session.training
    trainer.files_gone()


def test_a_segmentation_chosen_in_the_table_is_learned_from(trainer):
    volume, _drawn = add_patient("CT", 0)
    other = add_segmentation(volume, ("Kidney",), name="second opinion")
    trainer.rows(1)
    box = trainer.tune.casesTable.cellWidget(0, 1)
    trainer.wait_for(lambda: [box.itemText(i) for i in range(box.count)] == ["None", "CT drawn", "second opinion"])
    assert box.currentText == "CT drawn"
    QTest.keyClicks(box, "s")
    trainer.wait_for(lambda: trainer.tune.structuresTable.rowCount == 1)
    assert trainer.tune.structuresTable.item(0, 0).text() == "Kidney"
    other.SetName("renamed")
    trainer.wait_for(lambda: box.currentText == "renamed")
    QTest.keyClick(box, Qt.Key.Key_Home)
    trainer.wait_for(lambda: trainer.tune.casesTable.cellWidget(0, 2).currentText == "Unlabeled")
    assert box.currentText == "renamed"


def test_methods_appear_as_the_engine_tells_them(trainer):
    told = {"stage": "finetune", "citation": "", "parameters": []}
    box = trainer.tune.methodComboBox
    # Those that learn from unlabeled volumes too come from the engine.
    trainer.wait_for(lambda: box.findText("bcp") >= 0, SECONDS)
    add_patient("CT", 0), add_volume("CT 1", 1)
    trainer.session._take_methods(
        [
            {**told, "name": "supervised", "description": "From labels.", "uses_unlabeled": False},
            {**told, "name": "newest", "description": "From both.", "uses_unlabeled": True, "advice": "Mind."},
        ]
    )
    assert [box.itemText(i) for i in range(box.count)] == ["supervised", "newest"]
    assert box.toolTip == "From labels."
    trainer.wait_for(lambda: "1 unlabeled, not used" in trainer.tune.casesHint.text)
    QTest.keyClicks(box, "n")
    assert box.toolTip == "From both."
    assert trainer.session.parameters.fine_tune_method == "newest"
    trainer.wait_for(lambda: "1 unlabeled, also learned from. Mind." in trainer.tune.casesHint.text)


def test_the_best_of_the_ticked_starts_is_kept(trainer):
    for number in range(2):
        add_patient(f"CT {number}", number)
    trainer.rows(2)
    trainer.role("CT 1", "Validation")
    trainer.budget(1)
    table = trainer.tune.startsTable
    assert not table.isVisibleTo(trainer.panel.widget)
    trainer.tune.startsCheckBox.setChecked(True)
    others = [
        entry.name for entry in trainer.session.catalog.entries() if entry.path != trainer.session.checkpoint.path
    ]
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == others
    table.item(0, 0).setCheckState(Qt.CheckState.Checked)
    trainer.click_fine_tune()
    trainer.idle()
    told = trainer.tune.outcomeLabel.text
    assert others[0] in told
    assert trainer.session.checkpoint.origin == "mine"
    assert sorted(path.name for path in trainer.models.iterdir()) == [trainer.session.checkpoint.path.name]
    # The new one is chosen; what was ticked stays so.
    assert trainer.session.checkpoint.name not in [table.item(row, 0).text() for row in range(table.rowCount)]
    assert trainer.panel.sections["fineTune"]._starts.ticked == [f"{others[0]}.safetensors"]


def test_a_training_that_was_gone_on_with_says_how_long_it_has_trained(trainer):
    from contrastiveseg.results import FinetuneResult, PretrainResult

    for name, result in (
        ("fineTune", FinetuneResult("c", "m", 3, 90.0, "best", None, (), None)),
        ("preTrain", PretrainResult("c", "m", 3, 90.0)),
    ):
        section = trainer.panel.sections[name]
        section.training._since = time.monotonic()
        section._done(result)
        assert "1.5 h" in section.status
        assert "of it" not in section.status


def test_the_scene_remembers_the_choices(trainer, tmp_path):
    import slicer

    add_patient("CT 0", 0)
    trainer.rows(1)
    trainer.budget(77)
    trainer.tune.startsCheckBox.setChecked(True)
    trainer.tune.startsTable.item(0, 0).setCheckState(Qt.CheckState.Checked)
    trainer.tune.compareCheckBox.setChecked(True)
    trainer.tune.structuresTable.item(0, 1).setText("Leber")
    trainer.wait_for(lambda: trainer.tune.nameLineEdit.placeholderText.startswith("Leber-Spleen"))
    file = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(file, None)
    slicer.mrmlScene.Clear(0)
    trainer.rows(0)
    assert not trainer.tune.compareCheckBox.checked
    assert not trainer.tune.startsCheckBox.checked
    slicer.mrmlScene.ReadFromMRB(file, True)
    trainer.rows(1)
    assert trainer.tune.compareCheckBox.checked
    assert trainer.tune.startsCheckBox.checked
    assert trainer.tune.startsTable.item(0, 0).checkState() == Qt.CheckState.Checked
    assert trainer.tune.fineTuneStepsSpinBox.value == 77
    assert trainer.tune.structuresTable.item(0, 1).text() == "Leber"

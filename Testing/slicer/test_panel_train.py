"""The sections Fine-tune and Pre-train, by real clicks on the real module and with the real engine behind it."""

import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from patients import add_patient, add_segmentation, add_volume
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

SECONDS = 90


@pytest.fixture
def models(models_folder):
    """Without the checkpoint that segments."""
    return models_folder


class Driver:
    """The sections as a user has them before the eyes."""

    def __init__(self, module, wait_for, models, screenshot):
        self.panel, self.wait_for, self.models = module.panel, wait_for, models
        self.module, self._screenshot = module, screenshot
        self.session = module.panel.session
        self.tune = module.panel.sections["fineTune"].ui
        self.pre = module.panel.sections["preTrain"].ui
        self.segment = module.panel.sections["segment"].ui
        self.model = module.panel.sections["model"].ui
        self.wait_for(lambda: not self.session.missing)

    def choose_starter(self):
        starter = next(entry for entry in self.session.catalog.entries() if entry.origin == "starter")
        self.session.set_checkpoint(starter.path)

    def budget(self, steps):
        self.tune.fineTuneBudgetComboBox.setCurrentIndex(3)
        self.tune.fineTuneStepsSpinBox.setValue(steps)

    def role(self, name, role):
        """Choose a role in the table, by its first letter."""
        row = next(r for r in range(self.tune.casesTable.rowCount) if self.tune.casesTable.item(r, 0).text() == name)
        box = self.tune.casesTable.cellWidget(row, 2)
        QTest.keyClicks(box, role[0])
        assert box.currentText == role

    def rows(self, count):
        self.wait_for(lambda: self.tune.casesTable.rowCount == count)

    def column(self, number):
        table = self.tune.casesTable
        return [table.item(row, number).text() for row in range(table.rowCount)]

    def ready(self):
        self.wait_for(lambda: self.tune.fineTuneButton.enabled)

    @property
    def tuning(self):
        return self.tune.fineTuneCancelButton.isVisibleTo(self.panel.widget)

    def click_fine_tune(self):
        self.ready()
        self.tune.fineTuneButton.click()
        assert not self.tune.fineTuneButton.isVisibleTo(self.panel.widget)
        assert self.session.training
        # A second click, and a shortcut that still reaches the hidden button, do nothing.
        self.tune.fineTuneButton.click()

    def click_pre_train(self, folder, steps):
        self.pre.folderLineEdit.currentPath = str(folder)
        self.pre.preTrainBudgetComboBox.setCurrentIndex(3)
        self.pre.preTrainStepsSpinBox.setValue(steps)
        self.wait_for(lambda: self.pre.preTrainButton.enabled)
        self.pre.preTrainButton.click()

    def idle(self):
        self.wait_for(lambda: not self.session.training, SECONDS)

    def trained(self, section="fineTune"):
        """Until something has been learned."""
        chart = self.panel.sections[section].chart
        self.wait_for(lambda: chart.current and chart.current.latest is not None, SECONDS)

    def shoot(self, name):
        """A picture of the panel as wide as it is beside a scene."""
        import slicer

        window = slicer.util.mainWindow()
        window.resize(420, 1100)
        slicer.app.processEvents()
        self._screenshot(window, f"train-{name}")

    def kept(self):
        """The endings of what lies in the folder of checkpoints; a killed engine leaves the lock of its output."""
        return sorted(path.suffix for path in self.models.iterdir() if path.suffix != ".lock")

    def discard(self):
        """Give up the interrupted training."""
        jobs = self.panel.sections["jobs"].ui
        jobs.jobsTable.selectRow(0)
        jobs.jobDiscardButton.click()

    def files_gone(self):
        """Nothing but checkpoints is left when a training has ended."""
        folder = self.session.folder()
        self.wait_for(lambda: not list(folder.rglob("*")), SECONDS)
        assert [p.suffix for p in self.models.iterdir() if p.suffix != ".safetensors"] == []


@pytest.fixture
def drive(kept, models, module, wait_for, screenshot):
    return opened(module, wait_for, models, screenshot)


@pytest.fixture
def drive_alone(models, module, wait_for, screenshot):
    """With processes of its own, for tests of their end."""
    return opened(module, wait_for, models, screenshot)


def opened(module, wait_for, models, screenshot):
    driver = Driver(module, wait_for, models, screenshot)
    driver.choose_starter()
    driver.panel.ui.fineTuneSection.collapsed = False
    driver.panel.ui.segmentSection.collapsed = True
    driver.panel.ui.modelSection.collapsed = True
    return driver


def test_label_two_fine_tune_and_segment_the_third(drive):
    import slicer

    for number in range(3):
        add_patient(f"CT {number}", number)
    add_volume("CT 3", 3)
    drive.rows(4)
    drive.role("CT 2", "Validation")
    drive.budget(3)
    drive.tune.nameLineEdit.setText("my organs")
    drive.shoot("ready")
    drive.click_fine_tune()
    drive.trained()
    drive.shoot("running")
    drive.idle()
    drive.shoot("done")
    entry = drive.session.checkpoint
    assert entry.path == drive.models / "my-organs.safetensors"
    assert drive.model.checkpointComboBox.currentText.startswith("my-organs")
    assert [label.name for label in entry.card.labels] == ["Liver", "Spleen"]
    from contrastiveseg.checkpoints.learned_cases import learned_cases
    from contrastiveseg.serialization import to_json

    names = [(f"CT-{number}", None) for number in range(4)]
    assert learned_cases(entry.card, names).same_name == ("CT-0", "CT-1")
    assert "CT-" not in str(to_json(entry.card))
    assert entry.card.provenance.steps == 3
    drive.ready()
    dice = drive.column(3)
    assert (dice[0], dice[1], dice[3]) == ("", "", "")
    assert 0 <= float(dice[2]) <= 1
    assert drive.tune.outcomeCard.isVisibleTo(drive.panel.widget)
    assert "CT 2" in drive.tune.outcomeLabel.text
    drive.files_gone()

    drive.segment.inputSelector.setCurrentNode(slicer.util.getNode("CT 3"))
    drive.segment.segmentButton.click()
    drive.wait_for(lambda: not drive.panel.sections["segment"].task.busy, SECONDS)
    made = slicer.util.getNode("CT 3 segmentation")
    assert [s.GetName() for s in map(made.GetSegmentation().GetNthSegment, range(2))] == ["Liver", "Spleen"]
    # What a checkpoint made is not learned from by itself.
    assert [case.role for case in drive.panel.sections["fineTune"]._cases.rows()][3] == "unlabeled"


def test_cancelled_while_writing_nothing_is_left(drive):
    for number in range(4):
        add_patient(f"CT {number}", number)
    drive.rows(4)
    drive.click_fine_tune()
    assert drive.panel.sections["fineTune"].training.task.state == "writing"
    drive.tune.fineTuneCancelButton.click()
    drive.wait_for(lambda: not drive.session.training)
    assert not drive.session.trainer.running
    assert drive.tune.fineTuneStatusLabel.text == "Stopped."
    drive.files_gone()
    assert list(drive.models.iterdir()) == []


def test_fine_tuning_goes_on_when_the_scene_is_closed_and_leaves_the_next_one_alone(drive):
    import slicer

    said = []
    drive.session.log_line.connect(said.append)
    for number in range(2):
        add_patient(f"CT {number}", number)
    drive.rows(2)
    drive.role("CT 1", "Validation")
    drive.budget(30)
    drive.click_fine_tune()
    drive.trained()
    slicer.mrmlScene.Clear(0)
    assert "Fine-tuning goes on" in said[-1]
    # Nodes of the next scene have the same IDs.
    for number in range(2):
        add_volume(f"Next {number}", number)
    drive.rows(2)
    drive.idle()
    (path,) = drive.models.glob("*.safetensors")
    (entry,) = [entry for entry in drive.session.catalog.entries() if entry.path == path]
    assert entry.card.provenance.steps == 30
    assert drive.session.checkpoint.path != path
    assert path.stem in drive.tune.fineTuneStatusLabel.text
    assert "CT-1" in drive.tune.outcomeLabel.text
    assert not drive.tune.outcomeCard.isVisibleTo(drive.panel.widget)
    assert [line for line in said if line.startswith("CT-1: Dice ")]
    assert drive.column(3) == ["", ""]
    drive.files_gone()


def test_the_scene_closed_while_writing_leaves_nothing(drive):
    import slicer

    add_patient("CT 0", 0)
    drive.rows(1)
    drive.click_fine_tune()
    slicer.mrmlScene.Clear(0)
    assert not drive.session.training
    drive.files_gone()
    assert list(drive.models.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process group")
def test_the_engine_killed_while_training_then_cancelled(drive_alone, dialogs):
    chosen = drive_alone.session.checkpoint
    add_patient("CT 0", 0)
    drive_alone.rows(1)
    drive_alone.budget(100000)
    drive_alone.click_fine_tune()
    drive_alone.trained()
    os.killpg(drive_alone.session.trainer._process.group, signal.SIGKILL)
    drive_alone.idle()
    (error,) = dialogs.errors()
    assert "ended from outside" in error
    assert drive_alone.tune.fineTuneStatusLabel.text == "Failed."
    drive_alone.files_gone()
    assert list(drive_alone.models.iterdir()) == []

    drive_alone.click_fine_tune()
    drive_alone.trained()
    drive_alone.tune.fineTuneCancelButton.click()
    assert not drive_alone.tune.fineTuneCancelButton.enabled
    drive_alone.idle()
    (path,) = drive_alone.models.glob("*.safetensors")
    # The checkpoint it started from stays chosen.
    assert drive_alone.session.checkpoint == chosen
    (entry,) = [entry for entry in drive_alone.session.catalog.entries() if entry.path == path]
    assert 0 < entry.card.provenance.steps < 100000
    assert path.stem in drive_alone.tune.fineTuneStatusLabel.text
    assert "section Model" in drive_alone.tune.fineTuneStatusLabel.text
    assert "section Jobs" in drive_alone.tune.fineTuneStatusLabel.text
    drive_alone.shoot("cancelled")
    # What going on needs is kept, and no more than that.
    assert not list(drive_alone.session.folder().rglob("*"))
    assert drive_alone.kept() == [".job", ".jsonl", ".resume", ".safetensors"]
    dialogs.answer(True)
    drive_alone.discard()
    drive_alone.files_gone()
    assert drive_alone.kept() == [".safetensors"]
    drive_alone.wait_for(lambda: not drive_alone.session.trainer.running)


def test_a_volume_removed_before_it_is_written(drive, dialogs):
    import slicer

    nodes = [add_patient(f"CT {number}", number) for number in range(3)]
    drive.rows(3)
    drive.click_fine_tune()
    slicer.mrmlScene.RemoveNode(nodes[2][0])
    drive.wait_for(lambda: not drive.session.training)
    assert dialogs.errors() == ["CT 2 or its segmentation is no longer in the scene."]
    drive.files_gone()


def test_compared_with_scratch_then_with_before_and_a_volume_removed_meanwhile(drive):
    import slicer

    nodes = [add_patient(f"CT {number}", number) for number in range(2)]
    drive.rows(2)
    drive.role("CT 1", "Validation")
    drive.budget(2)
    drive.tune.compareCheckBox.setChecked(True)
    drive.click_fine_tune()
    drive.idle()
    told = drive.tune.outcomeLabel.text
    drive.shoot("compared")
    assert "From scratch" in told
    assert "Before" not in told
    assert len(drive.panel.sections["fineTune"].chart.trainings) == 2

    assert "Each start had the same budget" in told
    drive.tune.compareCheckBox.setChecked(False)
    drive.click_fine_tune()
    drive.trained()
    slicer.mrmlScene.RemoveNode(nodes[1][0])
    drive.idle()
    told = drive.tune.outcomeLabel.text
    assert "Before" in told
    assert "CT-1" in told
    assert "From scratch" not in told
    assert len(list(drive.models.glob("*.safetensors"))) == 2
    drive.rows(1)
    assert drive.column(3) == [""]
    drive.files_gone()


def test_why_nothing_can_be_learned(drive):
    assert "role Train" in drive.tune.fineTuneButton.toolTip
    add_patient("CT", 0)
    drive.ready()
    for row in range(2):
        drive.tune.structuresTable.item(row, 0).setCheckState(unchecked())
    drive.wait_for(lambda: not drive.tune.fineTuneButton.enabled)
    assert "Tick at least one" in drive.tune.fineTuneButton.toolTip
    drive.panel.sections["fineTune"]._cases.set_learn("liver", True)
    drive.ready()
    drive.session.set_checkpoint(None)
    drive.wait_for(lambda: "checkpoint" in drive.tune.fineTuneButton.toolTip)
    assert drive.tune.casesHint.text.startswith("1 to learn from")


def unchecked():
    import qt

    return qt.Qt.Unchecked


def test_more_labels_than_can_be_learned_are_refused(drive, dialogs):
    add_patient("CT", 0, ())
    _volume, segmentation = add_patient("CT 1", 0, ())
    for number in range(256):
        segmentation.GetSegmentation().AddEmptySegment("", f"part {number}")
    drive.ready()
    drive.tune.fineTuneButton.click()
    assert "at most 255" in dialogs.errors()[0]
    assert not drive.session.training
    drive.files_gone()


def test_a_segmentation_chosen_in_the_table_is_learned_from(drive):
    volume, _drawn = add_patient("CT", 0)
    other = add_segmentation(volume, ("Kidney",), name="second opinion")
    drive.rows(1)
    box = drive.tune.casesTable.cellWidget(0, 1)
    drive.wait_for(lambda: [box.itemText(i) for i in range(box.count)] == ["None", "CT drawn", "second opinion"])
    assert box.currentText == "CT drawn"
    QTest.keyClicks(box, "s")
    drive.wait_for(lambda: drive.tune.structuresTable.rowCount == 1)
    assert drive.tune.structuresTable.item(0, 0).text() == "Kidney"
    other.SetName("renamed")
    drive.wait_for(lambda: box.currentText == "renamed")
    QTest.keyClick(box, Qt.Key.Key_Home)
    drive.wait_for(lambda: drive.tune.casesTable.cellWidget(0, 2).currentText == "Unlabeled")
    assert box.currentText == "renamed"


def test_methods_appear_as_the_engine_tells_them(drive):
    told = {"stage": "finetune", "citation": "", "parameters": []}
    box = drive.tune.methodComboBox
    # Those that learn from unlabeled volumes too come from the engine.
    drive.wait_for(lambda: box.findText("bcp") >= 0, SECONDS)
    add_patient("CT", 0), add_volume("CT 1", 1)
    drive.session._take_methods(
        [
            {**told, "name": "supervised", "description": "From labels.", "uses_unlabeled": False},
            {**told, "name": "newest", "description": "From both.", "uses_unlabeled": True, "advice": "Mind."},
        ]
    )
    assert [box.itemText(i) for i in range(box.count)] == ["supervised", "newest"]
    assert box.toolTip == "From labels."
    drive.wait_for(lambda: "1 unlabeled, not used" in drive.tune.casesHint.text)
    QTest.keyClicks(box, "n")
    assert box.toolTip == "From both."
    assert drive.session.parameters.fine_tune_method == "newest"
    drive.wait_for(lambda: "1 unlabeled, also learned from. Mind." in drive.tune.casesHint.text)


def test_the_best_of_the_ticked_starts_is_kept(drive):
    for number in range(2):
        add_patient(f"CT {number}", number)
    drive.rows(2)
    drive.role("CT 1", "Validation")
    drive.budget(1)
    table = drive.tune.startsTable
    assert not table.isVisibleTo(drive.panel.widget)
    drive.tune.startsCheckBox.setChecked(True)
    others = [entry.name for entry in drive.session.catalog.entries() if entry.path != drive.session.checkpoint.path]
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == others
    table.item(0, 0).setCheckState(Qt.CheckState.Checked)
    drive.click_fine_tune()
    drive.idle()
    told = drive.tune.outcomeLabel.text
    assert others[0] in told
    assert drive.session.checkpoint.origin == "mine"
    assert sorted(path.name for path in drive.models.iterdir()) == [drive.session.checkpoint.path.name]
    # The new one is chosen; what was ticked stays so.
    assert drive.session.checkpoint.name not in [table.item(row, 0).text() for row in range(table.rowCount)]
    assert drive.panel.sections["fineTune"]._starts.ticked == [f"{others[0]}.safetensors"]


def test_a_training_that_was_gone_on_with_says_how_long_it_has_trained(drive):
    from contrastiveseg.results import FinetuneResult, PretrainResult

    for name, result in (
        ("fineTune", FinetuneResult("c", "m", 3, 90.0, "best", None, (), None)),
        ("preTrain", PretrainResult("c", "m", 3, 90.0)),
    ):
        section = drive.panel.sections[name]
        section.training._since = time.monotonic()
        section._done(result)
        assert "1.5 h" in section.status
        assert "of it" not in section.status


def test_the_scene_remembers_the_choices(drive, tmp_path):
    import slicer

    add_patient("CT 0", 0)
    drive.rows(1)
    drive.budget(77)
    drive.tune.startsCheckBox.setChecked(True)
    drive.tune.startsTable.item(0, 0).setCheckState(Qt.CheckState.Checked)
    drive.tune.compareCheckBox.setChecked(True)
    drive.tune.structuresTable.item(0, 1).setText("Leber")
    drive.wait_for(lambda: drive.tune.nameLineEdit.placeholderText.startswith("Leber-Spleen"))
    file = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(file, None)
    slicer.mrmlScene.Clear(0)
    drive.rows(0)
    assert not drive.tune.compareCheckBox.checked
    assert not drive.tune.startsCheckBox.checked
    slicer.mrmlScene.ReadFromMRB(file, True)
    drive.rows(1)
    assert drive.tune.compareCheckBox.checked
    assert drive.tune.startsCheckBox.checked
    assert drive.tune.startsTable.item(0, 0).checkState() == Qt.CheckState.Checked
    assert drive.tune.fineTuneStepsSpinBox.value == 77
    assert drive.tune.structuresTable.item(0, 1).text() == "Leber"


def test_pre_train_on_the_scene(drive):
    for number in range(2):
        add_volume(f"CT {number}", number)
    drive.panel.ui.preTrainSection.collapsed = False
    drive.pre.sourceComboBox.setCurrentIndex(1)
    drive.pre.preTrainBudgetComboBox.setCurrentIndex(3)
    drive.pre.preTrainStepsSpinBox.setValue(2)
    drive.wait_for(lambda: drive.pre.preTrainButton.enabled)
    drive.pre.preTrainButton.click()
    drive.wait_for(lambda: "Another job is running" in drive.tune.fineTuneButton.toolTip)
    drive.idle()
    drive.shoot("pre-trained")
    card = drive.session.checkpoint.card
    assert (card.kind, card.method, card.provenance.case_count) == ("pretrained", "ideal", 2)
    assert "Fine-tune it now" in drive.pre.preTrainStatusLabel.text
    drive.files_gone()


def test_pre_training_with_labels_where_the_method_learns_from_them(drive, dataset):
    from ContrastiveSegPanel import settings

    drive.panel.ui.preTrainSection.collapsed = False
    drive.pre.folderLineEdit.currentPath = str(dataset / "imagesTr")
    assert not drive.pre.labelsLineEdit.isVisibleTo(drive.panel.widget)
    combo = drive.pre.preTrainMethodComboBox
    drive.wait_for(lambda: combo.findText("mixcl") >= 0, SECONDS)
    combo.setCurrentIndex(combo.findText("mixcl"))
    assert drive.pre.labelsLineEdit.isVisibleTo(drive.panel.widget)
    drive.shoot("pre-train-labels")
    drive.pre.labelsLineEdit.currentPath = str(dataset / "labelsTr")
    drive.pre.preTrainBudgetComboBox.setCurrentIndex(3)
    drive.pre.preTrainStepsSpinBox.setValue(1)
    drive.wait_for(lambda: drive.pre.preTrainButton.enabled)
    drive.pre.preTrainButton.click()
    drive.idle()
    card = drive.session.checkpoint.card
    assert card.method == "mixcl"
    assert all(case.label_used for case in card.provenance.cases)
    assert settings.text("PretrainLabels") == str(dataset / "labelsTr")
    drive.files_gone()


def test_the_folders_of_the_last_pre_training_are_offered_again(scene, request):
    from ContrastiveSegPanel import settings

    settings.set_text("PretrainFolder", "/data/images")
    settings.set_text("PretrainLabels", "/data/labels")
    ui = request.getfixturevalue("module").panel.sections["preTrain"].ui
    assert (ui.folderLineEdit.currentPath, ui.labelsLineEdit.currentPath) == ("/data/images", "/data/labels")


def test_pre_training_on_a_folder_goes_on_when_the_scene_is_closed(drive, dataset):
    import slicer

    said = []
    drive.session.log_line.connect(said.append)
    drive.click_pre_train(dataset / "imagesTr", 3)
    drive.wait_for(lambda: drive.panel.sections["preTrain"].training.task.state == "running")
    slicer.mrmlScene.Clear(0)
    assert "goes on" in said[-1]
    drive.idle()
    assert drive.session.checkpoint.card.provenance.steps == 3
    drive.files_gone()


def test_a_cancelled_pre_training_leaves_the_chosen_checkpoint(drive, dataset):
    chosen = drive.session.checkpoint
    said = []
    drive.session.log_line.connect(said.append)
    drive.click_pre_train(dataset / "imagesTr", 100000)
    drive.trained("preTrain")
    drive.pre.preTrainCancelButton.click()
    drive.idle()
    (path,) = drive.models.glob("*.safetensors")
    assert drive.session.checkpoint == chosen
    assert path.stem in drive.pre.preTrainStatusLabel.text
    assert not [line for line in said if "--resume" in line]
    assert drive.model.checkpointComboBox.findText(path.stem + " (pre-trained)") >= 0


def test_the_models_folder_changed_while_pre_training(drive, dataset, tmp_path):
    chosen = drive.session.checkpoint
    drive.click_pre_train(dataset / "imagesTr", 3)
    drive.session.set_models_folder(tmp_path / "elsewhere")
    drive.idle()
    (path,) = drive.models.glob("*.safetensors")
    assert drive.session.checkpoint == chosen
    assert str(path) in drive.pre.preTrainStatusLabel.text


def test_the_panel_closed_while_pre_training_on_a_folder_leaves_what_to_go_on_from(drive_alone, dataset, wait_for):
    drive_alone.click_pre_train(dataset / "imagesTr", 100000)
    drive_alone.trained("preTrain")
    folder, group = Path(drive_alone.session.folder()), drive_alone.session.trainer._process.group
    said = []
    drive_alone.session.log_line.connect(said.append)
    drive_alone.module.cleanup()
    assert not [line for line in said if "goes on" in line]
    wait_for(lambda: not alive(group), SECONDS)
    wait_for(lambda: not folder.exists())
    wait_for(lambda: drive_alone.kept() == [".job", ".jsonl", ".resume", ".safetensors"])


def test_slicer_quits_while_pre_training_and_keeps_what_to_go_on_from(drive_alone, dataset, warm_workers):
    import qt
    import slicer

    # Slicer ends these as well; later tests have them start anew.
    for worker in warm_workers:
        worker.stop()
    drive_alone.click_pre_train(dataset / "imagesTr", 100000)
    drive_alone.trained("preTrain")
    folder, group = Path(drive_alone.session.folder()), drive_alone.session.trainer._process.group
    qt.QTimer.singleShot(0, lambda: slicer.app.exit(0))
    slicer.app.exec_()
    # Nothing turns the event loop any more.
    assert not alive(group)
    assert not folder.exists()
    assert drive_alone.kept() == [".job", ".jsonl", ".resume", ".safetensors"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process group")
def test_the_engine_killed_while_pre_training_on_a_folder_leaves_what_to_go_on_from(drive_alone, dataset, dialogs):
    from contrastiveseg.arguments import parser
    from contrastiveseg.descriptions import PretrainJob
    from contrastiveseg.serialization import from_json
    from contrastiveseg.training.setup import _identity

    drive_alone.click_pre_train(dataset / "imagesTr", 100000)
    drive_alone.trained("preTrain")
    training = drive_alone.panel.sections["preTrain"].training
    # The engine writes it once a minute.
    resume = training.output.with_name(training.output.name + ".resume")
    resume.write_bytes(b"what was learned")
    half = training.output.with_name(f".{training.output.name}-x.resume")
    half.write_bytes(b"wh")
    os.killpg(drive_alone.session.trainer._process.group, signal.SIGKILL)
    drive_alone.idle()
    (error,) = dialogs.errors()
    assert str(resume) in error
    given = vars(parser().parse_args(shlex.split(error.splitlines()[-1])[1:]))
    assert (given.pop("command"), given.pop("json")) == ("pretrain", False)
    told = from_json(PretrainJob, given, "told")
    assert (told.resume, told.output) == (True, str(training.output))
    assert _identity(told) == _identity(training.task._job)
    drive_alone.wait_for(lambda: not half.exists())
    assert drive_alone.kept() == [".job", ".jsonl", ".resume"]


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

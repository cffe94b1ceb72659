"""The section Pre-train, by real clicks on the real module and with the real engine behind it."""

import os
import shlex
import signal
from pathlib import Path

import pytest
from patients import add_volume
from train_driver import SECONDS, alive


def test_pre_train_on_the_scene(trainer):
    for number in range(2):
        add_volume(f"CT {number}", number)
    trainer.panel.ui.preTrainSection.collapsed = False
    trainer.pre.sourceComboBox.setCurrentIndex(1)
    trainer.pre.preTrainBudgetComboBox.setCurrentIndex(3)
    trainer.pre.preTrainStepsSpinBox.setValue(2)
    trainer.wait_for(lambda: trainer.pre.preTrainButton.enabled)
    trainer.pre.preTrainButton.click()
    trainer.wait_for(lambda: "Another job is running" in trainer.tune.fineTuneButton.toolTip)
    trainer.idle()
    trainer.shoot("pre-trained")
    card = trainer.session.checkpoint.card
    assert (card.kind, card.method, card.provenance.case_count) == ("pretrained", "ideal", 2)
    assert "Fine-tune it now" in trainer.pre.preTrainStatusLabel.text
    trainer.files_gone()


def test_pre_training_with_labels_where_the_method_learns_from_them(trainer, dataset):
    from ContrastiveSegPanel import settings

    trainer.panel.ui.preTrainSection.collapsed = False
    trainer.pre.folderLineEdit.currentPath = str(dataset / "imagesTr")
    assert not trainer.pre.labelsLineEdit.isVisibleTo(trainer.panel.widget)
    combo = trainer.pre.preTrainMethodComboBox
    trainer.wait_for(lambda: combo.findText("mixcl") >= 0, SECONDS)
    combo.setCurrentIndex(combo.findText("mixcl"))
    assert trainer.pre.labelsLineEdit.isVisibleTo(trainer.panel.widget)
    trainer.shoot("pre-train-labels")
    trainer.pre.labelsLineEdit.currentPath = str(dataset / "labelsTr")
    trainer.pre.preTrainBudgetComboBox.setCurrentIndex(3)
    trainer.pre.preTrainStepsSpinBox.setValue(1)
    trainer.wait_for(lambda: trainer.pre.preTrainButton.enabled)
    trainer.pre.preTrainButton.click()
    trainer.idle()
    card = trainer.session.checkpoint.card
    assert card.method == "mixcl"
    assert all(case.label_used for case in card.provenance.cases)
    assert settings.text("PretrainLabels") == str(dataset / "labelsTr")
    trainer.files_gone()


def test_the_folders_of_the_last_pre_training_are_offered_again(scene, request):
    from ContrastiveSegPanel import settings

    settings.set_text("PretrainFolder", "/data/images")
    settings.set_text("PretrainLabels", "/data/labels")
    ui = request.getfixturevalue("module").panel.sections["preTrain"].ui
    assert (ui.folderLineEdit.currentPath, ui.labelsLineEdit.currentPath) == ("/data/images", "/data/labels")


def test_pre_training_on_a_folder_goes_on_when_the_scene_is_closed(trainer, dataset):
    import slicer

    said = []
    trainer.session.log_line.connect(said.append)
    trainer.click_pre_train(dataset / "imagesTr", 3)
    trainer.wait_for(lambda: trainer.panel.sections["preTrain"].training.task.state == "running")
    slicer.mrmlScene.Clear(0)
    assert "goes on" in said[-1]
    trainer.idle()
    assert trainer.session.checkpoint.card.provenance.steps == 3
    trainer.files_gone()
    # It has nothing to do with a scene.
    slicer.mrmlScene.Clear(0)
    assert trainer.panel.sections["preTrain"].chart.current.latest is not None
    assert trainer.pre.preTrainStatusLabel.text.startswith("Done")


def test_a_cancelled_pre_training_leaves_the_chosen_checkpoint(trainer, dataset):
    chosen = trainer.session.checkpoint
    said = []
    trainer.session.log_line.connect(said.append)
    trainer.click_pre_train(dataset / "imagesTr", 100000)
    trainer.trained("preTrain")
    trainer.pre.preTrainCancelButton.click()
    trainer.idle()
    (path,) = trainer.models.glob("*.safetensors")
    assert trainer.session.checkpoint == chosen
    assert path.stem in trainer.pre.preTrainStatusLabel.text
    assert not [line for line in said if "--resume" in line]
    assert trainer.model.checkpointComboBox.findText(path.stem + " (pre-trained)") >= 0


def test_the_models_folder_changed_while_pre_training(trainer, dataset, tmp_path):
    chosen = trainer.session.checkpoint
    trainer.click_pre_train(dataset / "imagesTr", 3)
    trainer.session.set_models_folder(tmp_path / "elsewhere")
    trainer.idle()
    (path,) = trainer.models.glob("*.safetensors")
    assert trainer.session.checkpoint == chosen
    assert str(path) in trainer.pre.preTrainStatusLabel.text


def test_the_panel_closed_while_pre_training_on_a_folder_leaves_what_to_go_on_from(trainer_alone, dataset, wait_for):
    trainer_alone.click_pre_train(dataset / "imagesTr", 100000)
    trainer_alone.trained("preTrain")
    folder, group = Path(trainer_alone.session.folder()), trainer_alone.session.trainer._process.group
    said = []
    trainer_alone.session.log_line.connect(said.append)
    trainer_alone.module.cleanup()
    assert not [line for line in said if "goes on" in line]
    wait_for(lambda: not alive(group), SECONDS)
    wait_for(lambda: not folder.exists())
    wait_for(lambda: trainer_alone.kept() == [".job", ".jsonl", ".resume", ".safetensors"])


def test_the_panel_closed_before_anything_was_learned_leaves_what_to_begin_with(trainer_alone, dataset, wait_for):
    from ContrastiveSegPanel.workflows.interrupted import interrupted

    trainer_alone.click_pre_train(dataset / "imagesTr", 100000)
    training = trainer_alone.panel.sections["preTrain"].training
    wait_for(lambda: training.task.state == "running" and trainer_alone.session.trainer._process.group, SECONDS)
    group = trainer_alone.session.trainer._process.group
    trainer_alone.module.cleanup()
    wait_for(lambda: not alive(group), SECONDS)
    wait_for(lambda: trainer_alone.kept() == [".job"])
    (found,) = interrupted(trainer_alone.models, [])
    assert (found.output, found.learned) == (training.output, False)
    assert found.job.steps == 100000


def test_slicer_quits_while_pre_training_and_keeps_what_to_go_on_from(trainer_alone, dataset, warm_workers):
    import qt
    import slicer

    # Slicer ends these as well; later tests have them start anew.
    for worker in warm_workers:
        worker.stop()
    trainer_alone.click_pre_train(dataset / "imagesTr", 100000)
    trainer_alone.trained("preTrain")
    folder, group = Path(trainer_alone.session.folder()), trainer_alone.session.trainer._process.group
    qt.QTimer.singleShot(0, lambda: slicer.app.exit(0))
    slicer.app.exec_()
    # Nothing turns the event loop any more.
    assert not alive(group)
    assert not folder.exists()
    assert trainer_alone.kept() == [".job", ".jsonl", ".resume", ".safetensors"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process group")
def test_the_engine_killed_while_pre_training_on_a_folder_leaves_what_to_go_on_from(trainer_alone, dataset, dialogs):
    from contrastiveseg.arguments import parser
    from contrastiveseg.descriptions import PretrainJob
    from contrastiveseg.serialization import from_json
    from contrastiveseg.training.setup import _identity

    trainer_alone.click_pre_train(dataset / "imagesTr", 100000)
    trainer_alone.trained("preTrain")
    training = trainer_alone.panel.sections["preTrain"].training
    # The engine writes it once a minute.
    resume = training.output.with_name(training.output.name + ".resume")
    resume.write_bytes(b"what was learned")
    half = training.output.with_name(f".{training.output.name}-x.resume")
    half.write_bytes(b"wh")
    os.killpg(trainer_alone.session.trainer._process.group, signal.SIGKILL)
    trainer_alone.idle()
    (error,) = dialogs.errors()
    assert str(resume) in error
    given = vars(parser().parse_args(shlex.split(error.splitlines()[-1])[1:]))
    assert (given.pop("command"), given.pop("json")) == ("pretrain", False)
    told = from_json(PretrainJob, given, "told")
    assert (told.resume, told.output) == (True, str(training.output))
    assert _identity(told) == _identity(training.task._job)
    trainer_alone.wait_for(lambda: not half.exists())
    assert trainer_alone.kept() == [".job", ".jsonl", ".resume"]

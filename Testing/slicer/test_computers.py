"""Another computer in the panel: it is asked before it is kept, does what is started, and can be watched again."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from fake_slurm import FakeSlurm
from fake_ssh import COMMAND, OtherMachine

SECONDS = 120


@pytest.fixture
def box(tmp_path, monkeypatch):
    machine = OtherMachine(tmp_path / "box")
    monkeypatch.setenv("PATH", f"{machine.folder}{os.pathsep}{os.environ['PATH']}")
    return machine


@pytest.fixture
def panel(box, models, request, monkeypatch):
    """The panel, whose workers find the other machine, and load nothing to compute with themselves."""
    import slicer
    from ContrastiveSegPanel.workflows.session import Session

    monkeypatch.setattr(Session, "warm_up", lambda session: None)
    panel = request.getfixturevalue("module").panel
    slicer.util.mainWindow().show()
    return panel


def pick(combo, text):
    """Choose the item with ``text`` as a user does."""
    index = next(i for i in range(combo.count) if combo.itemText(i) == text)
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def add(panel, dialogs, wait_for, words):
    """Name a computer, and wait for its answer."""
    said: list = []
    panel.session.log_line.connect(said.append)
    dialogs.answer(words)
    pick(panel.sections["segment"].ui.deviceComboBox, "Another computer…")
    wait_for(lambda: len(said) > 1, SECONDS)
    return said


def test_a_computer_is_kept_when_it_can_compute(panel, dialogs, wait_for):
    from ContrastiveSegPanel.ui.device_box import chosen_device
    from ContrastiveSegPanel.workflows import computers

    combo = panel.sections["segment"].ui.deviceComboBox
    said = add(panel, dialogs, wait_for, "me@box no-such-command")
    assert "has no contrastiveseg" in said[-1]
    assert "python3 -m pip install contrastiveseg==" in dialogs.errors()[-1]
    assert (computers.known(), combo.currentText) == ([], "Automatic")
    add(panel, dialogs, wait_for, f"me@box {COMMAND}")
    assert computers.chosen() == computers.Computer("me@box", COMMAND)
    assert combo.currentText == "me@box"
    assert chosen_device(panel.session) == "auto"
    pick(combo, "Automatic")
    assert computers.chosen() is None
    pick(combo, "me@box")
    assert computers.chosen().name == "me@box"
    pick(combo, "Forget me@box")
    assert (computers.known(), combo.currentText) == ([], "Automatic")


@pytest.fixture
def cluster(box, tmp_path, monkeypatch):
    """The Slurm of the other machine."""
    there = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{there.folder}{os.pathsep}{os.environ['PATH']}")
    return there


def test_a_cluster_is_named_with_what_is_asked_of_its_slurm(cluster, panel, volume, dialogs, wait_for):
    import slicer
    from ContrastiveSegPanel.workflows import computers

    from contrastiveseg.remote.slurm import Slurm

    section = panel.sections["segment"]
    add(panel, dialogs, wait_for, f"me@box {COMMAND} --submit --gpus 0 --partition short --sbatch mem=1G")
    asked = Slurm(gpus=0, partition="short", sbatch=("mem=1G",))
    assert computers.chosen() == computers.Computer("me@box", COMMAND, asked)
    assert section.ui.deviceComboBox.currentText == "me@box, by Slurm"
    wait_for(lambda: section.ui.segmentButton.enabled, SECONDS)
    section.ui.segmentButton.click()
    wait_for(lambda: section.task.busy)
    wait_for(lambda: not section.task.busy, SECONDS)
    assert len(cluster.calls("sbatch")) == 1
    script = (cluster.folder / "script").read_text()
    assert "#SBATCH --partition=short" in script
    assert "#SBATCH --mem=1G" in script
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 3


def test_a_cluster_without_slurm_is_not_kept(panel, dialogs, wait_for):
    from ContrastiveSegPanel.workflows import computers

    add(panel, dialogs, wait_for, f"me@box {COMMAND} --submit")
    assert "me@box has no sbatch" in dialogs.errors()[-1]
    assert computers.known() == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            "--nodes 2",
            "goes with --partition, --time, --gpus, --account, --sbatch, --setup, not with --nodes.",
        ),
        ("gpu", "not with gpu."),
        ("--gpus two", "--gpus takes a whole number, not two."),
        ("--partition a b", "--partition takes one value."),
        ("--time soon", "time must be a duration as 90, 2:00:00 or 1-12:00:00, not soon."),
        ("--setup 'module", "cannot be read"),
    ],
)
def test_options_that_slurm_does_not_take_are_told_at_once(panel, dialogs, options, why):
    from ContrastiveSegPanel.workflows import computers

    dialogs.answer(f"me@login.cluster --submit {options}")
    pick(panel.sections["segment"].ui.deviceComboBox, "Another computer…")
    (error,) = dialogs.errors()
    assert why in error
    assert computers.known() == []


@pytest.fixture
def chosen(panel):
    """The panel with the other machine chosen."""
    from ContrastiveSegPanel.workflows import computers

    computers._keep([computers.Computer("me@box", COMMAND)])
    computers.choose(computers.known()[0])
    panel.session.devices_changed.emit()
    return panel


def test_segment_is_done_there(chosen, box, volume, wait_for):
    import slicer

    section = chosen.sections["segment"]
    wait_for(lambda: section.ui.segmentButton.enabled, SECONDS)
    section.ui.segmentButton.click()
    wait_for(lambda: section.task.busy)
    wait_for(lambda: not section.task.busy, SECONDS)
    assert [call.split(" far ")[1].split()[0] for call in box.calls()] == ["receive", "watch"]
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert list(box.jobs.iterdir()) == []


@pytest.fixture
def pretraining(chosen, dataset):
    """The section Pre-train, ready to start on the other machine."""
    section = chosen.sections["preTrain"]
    section.ui.folderLineEdit.currentPath = str(dataset / "imagesTr")
    section.ui.preTrainBudgetComboBox.setCurrentIndex(3)
    section.ui.preTrainStepsSpinBox.setValue(2)
    section.ui.preTrainNameLineEdit.setText("base")
    return section


def listed(panel):
    table = panel.sections["jobs"].ui.jobsTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def press(panel, button):
    """Press a button of the section Jobs for the first in its table."""
    ui = panel.sections["jobs"].ui
    ui.jobsTable.selectRow(0)
    getattr(ui, button).click()


def test_a_training_goes_on_there_when_slicer_ends_and_is_watched_again(
    chosen, pretraining, box, models, wait_for, dialogs
):
    session = chosen.session
    pretraining.ui.preTrainButton.click()
    wait_for(lambda: pretraining.chart.current and pretraining.chart.current.latest is not None, SECONDS)
    assert listed(chosen)[0][0].startswith("Pre-train base (")
    assert "on me@box" in listed(chosen)[0][0]
    session.trainer.stop()
    wait_for(lambda: listed(chosen)[0][1] == "Not watched", SECONDS)
    box.switch("down")
    press(chosen, "jobGoOnButton")
    wait_for(lambda: not session.training, SECONDS)
    (error,) = dialogs.errors()
    assert "me@box cannot be reached" in error
    assert "see the section Jobs" in error
    wait_for(lambda: listed(chosen)[0][1] == "Not watched", SECONDS)
    box.switch("down", False)
    chosen.sections["jobs"].ui.jobsTable.selectRow(0)
    assert chosen.sections["jobs"].ui.jobGoOnButton.text == "Resume watching"
    press(chosen, "jobGoOnButton")
    wait_for(lambda: not session.training, SECONDS)
    assert session.checkpoint.name == "base"
    assert (models / "base.safetensors").is_file()
    wait_for(lambda: not list(models.glob("base.safetensors.*")), SECONDS)
    assert [call.split(" far ")[1].split()[0] for call in box.calls()] == [
        *("receive", "watch", "receive", "receive", "watch")
    ]
    assert list(box.jobs.iterdir()) == []


def test_a_cancelled_training_is_stopped_there_and_can_go_on(chosen, pretraining, box, models, wait_for, dialogs):
    pretraining.ui.preTrainStepsSpinBox.setValue(100_000)
    pretraining.ui.preTrainButton.click()
    wait_for(lambda: pretraining.chart.current and pretraining.chart.current.latest is not None, SECONDS)
    pretraining.ui.preTrainCancelButton.click()
    wait_for(lambda: not chosen.session.training, SECONDS)
    assert list(box.jobs.glob("*/out/output/base.safetensors.resume"))
    assert (models / "base.safetensors").is_file()
    assert "see the section Jobs" in pretraining.status
    wait_for(lambda: listed(chosen)[0][1] == "Not watched", SECONDS)
    dialogs.answer(True)
    press(chosen, "jobDiscardButton")
    assert "On me@box it goes on" in dialogs.texts()[-1]
    assert [path.name for path in models.glob("base.*")] == ["base.safetensors"]

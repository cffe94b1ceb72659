"""The sections Fine-tune and Pre-train, by real clicks on the real module and with the real engine behind it."""

import pytest
from patients import add_patient, add_volume
from PySide6.QtTest import QTest

SECONDS = 90


@pytest.fixture
def models(_honest, tmp_path):
    """The user's folder of checkpoints, empty."""
    from ContrastiveSegPanel import settings

    folder = tmp_path / "models"
    folder.mkdir()
    settings.set_models_folder(folder)
    return folder


class Driver:
    """The sections as a user has them before the eyes."""

    def __init__(self, module, wait_for, models):
        self.panel, self.wait_for, self.models = module.panel, wait_for, models
        self.session = module.panel.session
        self.tune = module.panel.sections["fineTune"].ui
        self.pre = module.panel.sections["preTrain"].ui
        self.segment = module.panel.sections["segment"].ui
        self.model = module.panel.sections["model"].ui
        self.wait_for(lambda: not self.session.missing)

    def choose_starter(self):
        starter = next(entry for entry in self.session.catalogue.entries() if entry.origin == "starter")
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

    def idle(self):
        self.wait_for(lambda: not self.session.training, SECONDS)

    def trained(self):
        """Until something has been learnt."""
        training = self.panel.sections["fineTune"]._training
        self.wait_for(lambda: training.chart.current and training.chart.current.latest is not None, SECONDS)

    def files_gone(self):
        """Nothing but checkpoints is left when a training has ended."""
        folder = self.session.folder()
        self.wait_for(lambda: not list(folder.rglob("*")), SECONDS)
        assert [p.suffix for p in self.models.iterdir() if p.suffix != ".safetensors"] == []


@pytest.fixture
def drive(models, module, wait_for):
    driver = Driver(module, wait_for, models)
    driver.choose_starter()
    driver.panel.ui.fineTuneSection.collapsed = False
    driver.panel.ui.preTrainSection.collapsed = False
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
    drive.click_fine_tune()
    drive.idle()
    entry = drive.session.checkpoint
    assert entry.path == drive.models / "my-organs.safetensors"
    assert drive.model.checkpointComboBox.currentText.startswith("my-organs")
    assert [label.name for label in entry.card.labels] == ["Liver", "Spleen"]
    assert [case.name for case in entry.card.provenance.cases] == ["CT-0", "CT-1"]
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
    # What a checkpoint made is not learnt from by itself.
    assert [case.role for case in drive.panel.sections["fineTune"]._cases.rows()][3] == "unlabelled"

"""The sections Fine-tune and Pre-train as a user has them before the eyes."""

import os

from PySide6.QtTest import QTest

SECONDS = 90


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


def opened(module, wait_for, models, screenshot):
    driver = Driver(module, wait_for, models, screenshot)
    driver.choose_starter()
    driver.panel.ui.fineTuneSection.collapsed = False
    driver.panel.ui.segmentSection.collapsed = True
    driver.panel.ui.modelSection.collapsed = True
    return driver


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

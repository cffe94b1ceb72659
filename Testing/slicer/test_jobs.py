"""The queue of the second process, and interrupted trainings that go on; buttons are pressed, trainings are real."""

import dataclasses
import json
import sys

import pytest

from contrastiveseg.checkpoints.header import read_card

SECONDS = 120


class Recorded:
    """A queue and what its jobs were told."""

    def __init__(self, *names):
        from ContrastiveSegPanel.workflows.queue import Entry, Queue

        self.queue, self.told = Queue(), []
        self.entries = {
            name: Entry(
                name,
                lambda n=name: self.told.append(f"begin {n}"),
                lambda n=name: self.told.append(f"cancel {n}"),
                lambda n=name: self.told.append(f"drop {n}"),
            )
            for name in names
        }
        for entry in self.entries.values():
            self.queue.add(entry)

    def states(self):
        return {entry.title: entry.state for entry in self.queue.entries}


def test_one_job_runs_and_a_failure_does_not_stop_the_next(scene, wait_for):
    made = Recorded("a", "b", "c")
    assert made.told == ["begin a"]
    made.queue.end(made.entries["a"], "failed")
    wait_for(lambda: made.told == ["begin a", "begin b"])
    made.queue.end(made.entries["b"], "done")
    wait_for(lambda: made.told[-1] == "begin c")
    assert made.states() == {"a": "failed", "b": "done", "c": "running"}
    assert made.queue.busy
    made.queue.end(made.entries["c"], "cancelled")
    assert not made.queue.busy


def test_waiting_jobs_change_places_and_leave(scene, wait_for):
    made = Recorded("a", "b", "c", "d")
    made.queue.move(made.entries["d"], -1)
    assert [entry.title for entry in made.queue.waiting] == ["b", "d", "c"]
    made.queue.move(made.entries["b"], 5)
    assert [entry.title for entry in made.queue.waiting] == ["d", "c", "b"]
    # What runs has no place among those that wait.
    made.queue.move(made.entries["a"], 1)
    made.queue.cancel(made.entries["d"])
    made.queue.cancel(made.entries["a"])
    assert made.told == ["begin a", "drop d", "cancel a"]
    made.queue.end(made.entries["a"], "cancelled")
    wait_for(lambda: made.told[-1] == "begin c")


def test_a_job_whose_files_are_not_written_lets_others_pass(scene, wait_for):
    made = Recorded("a", "b", "c")
    made.entries["b"].ready = False
    made.queue.end(made.entries["a"], "done")
    wait_for(lambda: made.told[-1] == "begin c")
    made.queue.make_ready(made.entries["b"])
    made.queue.end(made.entries["c"], "done")
    wait_for(lambda: made.told[-1] == "begin b")


@pytest.fixture
def pretraining(kept, models, module, wait_for, dataset):
    """The section Pre-train, ready to start on the tiny data set; the section Jobs is open."""
    session, section = module.panel.session, module.panel.sections["preTrain"]
    wait_for(lambda: not session.missing)
    module.panel.ui.preTrainSection.collapsed = False
    module.panel.ui.jobsSection.collapsed = False
    for name in ("model", "segment"):
        getattr(module.panel.ui, f"{name}Section").collapsed = True
    section.ui.folderLineEdit.currentPath = str(dataset / "imagesTr")
    section.ui.preTrainBudgetComboBox.setCurrentIndex(3)
    return section


def launch(section, name, steps, button="preTrainButton"):
    section.ui.preTrainStepsSpinBox.setValue(steps)
    section.ui.preTrainNameLineEdit.setText(name)
    assert getattr(section.ui, button).enabled
    getattr(section.ui, button).click()


def rows(ui):
    table = ui.jobsTable
    return [(table.item(row, 0).text().split(" (")[0], table.item(row, 1).text()) for row in range(table.rowCount)]


def select(ui, text):
    ui.jobsTable.selectRow(next(row for row, (title, _state) in enumerate(rows(ui)) if title.endswith(text)))


def test_trainings_queue_up_and_an_interrupted_one_goes_on(
    pretraining, module, models, wait_for, dialogs, dataset, screenshot
):
    import slicer

    session, jobs = module.panel.session, module.panel.sections["jobs"].ui
    assert not pretraining.ui.preTrainQueueButton.isVisibleTo(module.panel.widget)
    launch(pretraining, "first", 60)
    assert rows(jobs) == [("Pre-train first", "Running")]
    for name in ("second", "third"):
        launch(pretraining, name, 1, "preTrainQueueButton")
    # A folder that is gone when its turn comes.
    gone = models.parent / "gone"
    gone.mkdir()
    pretraining.ui.folderLineEdit.currentPath = str(gone)
    launch(pretraining, "fourth", 1, "preTrainQueueButton")
    gone.rmdir()
    wait_for(lambda: len(list(models.glob("*.job/job.json"))) == 4)
    # They hold volumes of patients, and may lie where others can read.
    assert {path.stat().st_mode & 0o077 for path in models.glob("*.job")} == {0} or sys.platform == "win32"
    select(jobs, "fourth")
    jobs.jobUpButton.click()
    jobs.jobUpButton.click()
    assert not jobs.jobUpButton.enabled
    select(jobs, "third")
    jobs.jobCancelButton.click()
    assert rows(jobs)[:3] == [
        ("Pre-train first", "Running"),
        ("Pre-train fourth", "Waiting"),
        ("Pre-train second", "Waiting"),
    ]
    slicer.util.mainWindow().show()
    slicer.util.mainWindow().resize(420, 1000)
    screenshot(slicer.util.mainWindow(), "jobs")
    wait_for(lambda: pretraining.chart.current and pretraining.chart.current.latest is not None, SECONDS)
    select(jobs, "first")
    jobs.jobCancelButton.click()
    wait_for(lambda: not session.training, SECONDS)
    (error,) = dialogs.errors()
    assert str(gone) in error
    assert read_card(models / "second.safetensors").provenance.steps == 1
    assert ("Pre-train first", "Interrupted") in rows(jobs)
    assert ("Pre-train fourth", "Failed") in rows(jobs)
    assert "1 interrupted" in module.panel.ui.jobsSection.text
    # Of the others nothing is left.
    assert sorted(path.name for path in models.glob("*.job")) == ["first.safetensors.job"]

    row = rows(jobs).index(("Pre-train first", "Interrupted"))
    jobs.jobsTable.selectRow(row)
    jobs.jobGoOnButton.click()
    assert pretraining.training.task._job.resume == "auto"
    wait_for(lambda: not session.training, SECONDS)
    assert read_card(models / "first.safetensors").provenance.steps == 60
    assert session.checkpoint.name == "first"
    wait_for(lambda: not list(models.glob("first.safetensors.*")))
    assert module.panel.ui.jobsSection.text == "Jobs"


def test_interrupted_trainings_are_found_when_the_panel_opens(models, scene, request, dialogs):
    from ContrastiveSegPanel.workflows import interrupted

    from contrastiveseg import claims
    from contrastiveseg.descriptions import FinetuneJob

    job = FinetuneJob(checkpoint="none", images=("a",), output="elsewhere/heart.safetensors", steps=7)
    for name in ("heart", "finished", "strange", "waiting"):
        folder = interrupted.folder_of(models / f"{name}.safetensors")
        folder.mkdir()
        interrupted.save_job(job, folder)
    (models / "heart.safetensors.resume").touch()
    (models / "finished.safetensors").touch()
    strange = models / "strange.safetensors.job" / "job.json"
    data = json.loads(strange.read_text(encoding="utf-8"))
    strange.write_text(json.dumps({**data, "kind": "segment"}), encoding="utf-8")
    module = request.getfixturevalue("module")
    jobs = module.panel.sections["jobs"].ui
    assert rows(jobs) == [("Fine-tune heart", "Interrupted"), ("Fine-tune waiting", "Not begun")]
    assert not (models / "finished.safetensors.job").exists()
    assert "2 interrupted" in module.panel.ui.jobsSection.text
    # What another Slicer trains now is not interrupted.
    with claims.claimed(models / "heart.safetensors"):
        assert [found.output.stem for found in interrupted.interrupted(models, ())] == ["waiting"]
    (found, _waiting) = interrupted.interrupted(models, ())
    # The checkpoint is where the folder is, whatever the file says.
    assert found.resumed == dataclasses.replace(job, output=str(models / "heart.safetensors"), resume="auto")
    jobs.jobsTable.selectRow(0)
    dialogs.answer(False)
    jobs.jobDiscardButton.click()
    assert (models / "heart.safetensors.resume").exists()
    dialogs.answer(True)
    jobs.jobDiscardButton.click()
    assert not list(models.glob("heart*"))
    assert rows(jobs) == [("Fine-tune waiting", "Not begun")]


def test_going_on_that_fails_keeps_the_files(pretraining, module, models, wait_for, dialogs):
    from ContrastiveSegPanel.workflows import interrupted

    from contrastiveseg.descriptions import PretrainJob

    folder = interrupted.folder_of(models / "base.safetensors")
    folder.mkdir()
    gone = models.parent / "gone"
    interrupted.save_job(PretrainJob(images=(str(gone),), output=str(models / "base.safetensors"), steps=1), folder)
    module.panel.session.refresh_catalog()
    jobs = module.panel.sections["jobs"].ui
    jobs.jobsTable.selectRow(0)
    jobs.jobGoOnButton.click()
    wait_for(lambda: not module.panel.session.training, SECONDS)
    assert str(gone) in dialogs.errors()[0]
    assert rows(jobs) == [("Pre-train base", "Not begun"), ("Pre-train base", "Failed")]
    assert (folder / "job.json").exists()


def test_a_name_with_brackets_removes_no_files_of_another_training(tmp_path):
    from ContrastiveSegPanel.workflows.interrupted import folder_of, remove_files

    for name in ("heart[12].safetensors.resume", "heart1.safetensors.resume"):
        (tmp_path / name).touch()
    output = tmp_path / "heart[12].safetensors"
    remove_files(output, folder_of(output))
    assert [path.name for path in tmp_path.iterdir()] == ["heart1.safetensors.resume"]

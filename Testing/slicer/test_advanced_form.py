"""The form Advanced of the sections Fine-tune and Pre-train, made from what the engine says of its methods."""

import json
import shlex
from pathlib import Path

import pytest
from patients import add_patient
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

SECONDS = 90
STAGES = {"finetune": "fineTune", "pretrain": "preTrain"}


class Form:
    """The opened form of a section, with the engine's list in it."""

    def __init__(self, panel, stage, wait_for):
        self.section = panel.sections[STAGES[stage]]
        self.form = self.section._advanced
        self.session, self.wait_for = panel.session, wait_for
        panel.ui.modelSection.collapsed = panel.ui.segmentSection.collapsed = True
        getattr(panel.ui, f"{STAGES[stage]}Section").collapsed = False
        self.form._box.collapsed = False
        wait_for(lambda: self.form._rows, SECONDS)

    def editor(self, name):
        return self.form._rows[name]._editor.widget

    def reset(self, name):
        return self.form._rows[name]._reset

    def type(self, name, text):
        editor = self.editor(name)
        editor.selectAll()
        QTest.keyClicks(editor, text)

    def search(self, text):
        self.form._search.setText(text)
        return [name for name, row in self.form._rows.items() if row._label.isVisibleTo(self.form._box)]

    @property
    def headers(self):
        return [header.text for header, _start in self.form._headers if header.isVisibleTo(self.form._box)]

    @property
    def title(self):
        return self.form._box.title


@pytest.fixture
def finetune(kept, module, wait_for):
    return Form(module.panel, "finetune", wait_for)


@pytest.fixture
def pretrain(kept, module, wait_for):
    return Form(module.panel, "pretrain", wait_for)


def test_every_parameter_that_the_engine_lists_has_a_row_with_its_default(finetune):
    from contrastiveseg.methods.configuration import method_parameters
    from contrastiveseg.methods.registry import find_method
    from contrastiveseg.serialization import to_json

    listed = method_parameters(find_method("finetune", "supervised"))
    assert list(finetune.form._rows) == [p.name for p in listed]
    for p in listed:
        assert finetune.form._rows[p.name].read() == to_json(p.default)
        assert p.help in finetune.editor(p.name).toolTip
        assert str(p.bounds) in finetune.editor(p.name).toolTip
        assert not finetune.reset(p.name).enabled
    kinds = {name: type(finetune.editor(name)).__mro__[1].__name__ for name in ("batch", "optimization.optimizer")}
    assert kinds == {"batch": "QSpinBox", "optimization.optimizer": "QComboBox"}
    assert finetune.editor("optimization.learning_rate").text == "0.006"
    assert finetune.editor("spatial.scale").text == "0.85, 1.18"
    assert finetune.title == "Advanced"
    assert finetune.form.settings == {}


def test_a_new_setting_of_a_method_shows_by_itself(finetune):
    from contrastiveseg.parameters import Bounds, Parameter
    from contrastiveseg.serialization import to_json

    described = [
        Parameter(name="sharpness", kind="float", help="how sharp", default=0.5, bounds=Bounds(above=0), unit="voxels"),
        Parameter(name="rounds", kind="int", help="how often", optional=True, bounds=Bounds(at_least=1)),
        Parameter(name="gentle", kind="bool", help="whether gently", default=True),
        Parameter(name="quiet", kind="bool", help="whether quietly", optional=True),
        Parameter(name="note", kind="text", help="what to note", default="none"),
        Parameter(name="sizes", kind="json", help="of all levels", default=[1, 2]),
    ]
    method = {"stage": "finetune", "name": "supervised", "description": "", "parameters": to_json(described)}
    finetune.session._take_methods([method])
    assert list(finetune.form._rows) == ["sharpness", "rounds", "gentle", "quiet", "note", "sizes"]
    assert "how sharp" in finetune.editor("sharpness").toolTip
    assert "voxels, more than 0" in finetune.editor("sharpness").toolTip
    finetune.type("sharpness", "1e-3")
    finetune.type("rounds", "4")
    finetune.editor("gentle").click()
    QTest.keyClicks(finetune.editor("quiet"), "y")
    finetune.type("note", "mine")
    finetune.type("sizes", "[3]")
    assert finetune.form.settings == {
        **{"sharpness": 0.001, "rounds": 4, "gentle": False, "quiet": True},
        **{"note": "mine", "sizes": [3]},
    }
    assert finetune.title == "Advanced (6 changed)"
    finetune.editor("rounds").clear()
    QTest.keyClick(finetune.editor("rounds"), Qt.Key.Key_Backspace)
    finetune.type("rounds", "4")
    QTest.keyClick(finetune.editor("rounds"), Qt.Key.Key_Backspace)
    assert "rounds" not in finetune.form.settings


def test_the_search_keeps_what_has_all_words_in_its_name_or_meaning(finetune):
    assert finetune.headers == ["Optimization", "Spatial", "Late spatial", "Structures", "Intensity"]
    assert finetune.search("learning rate peak") == ["optimization.learning_rate"]
    assert finetune.headers == ["Optimization"]
    assert finetune.search("MIRRORING") == ["spatial.flip", "late_spatial.flip"]
    assert finetune.search("nothing of the kind") == []
    assert finetune.headers == []
    assert len(finetune.search("")) == len(finetune.form._rows)


def test_what_is_changed_can_be_reset_one_by_one_and_all_at_once(finetune):
    finetune.editor("batch").setValue(5)
    finetune.type("optimization.learning_rate", "0.01")
    QTest.keyClicks(finetune.editor("optimization.optimizer"), "s")
    assert finetune.form.settings == {
        **{"batch": 5, "optimization.learning_rate": 0.01, "optimization.optimizer": "sgd"},
    }
    assert finetune.form._rows["batch"]._label.font.bold()
    finetune.reset("batch").click()
    assert finetune.editor("batch").value == 2
    assert not finetune.form._rows["batch"]._label.font.bold()
    assert finetune.title == "Advanced (2 changed)"
    # Typing the default is no change either.
    finetune.type("optimization.learning_rate", "6e-3")
    assert list(finetune.form.settings) == ["optimization.optimizer"]
    finetune.form._reset.click()
    assert finetune.form.settings == {}
    assert finetune.editor("optimization.optimizer").currentText == "adamw"
    assert not finetune.form._reset.enabled


@pytest.mark.parametrize(
    ("name", "typed", "why"),
    [
        ("optimization.learning_rate", "-1", "optimization.learning_rate can be: a number, 0 or more."),
        ("optimization.learning_rate", "fast", "optimization.learning_rate can be: a number, 0 or more."),
        ("optimization.learning_rate", "NaN", "optimization.learning_rate can be: a number, 0 or more."),
        ("optimization.learning_rate", "true", "optimization.learning_rate can be: a number, 0 or more."),
        ("spatial.scale", "1.2, 1.1", "spatial.scale can be: two numbers, the smaller first, more than 0."),
        ("spatial.scale", "1.2", "spatial.scale can be: two numbers, the smaller first, more than 0."),
    ],
)
def test_what_cannot_be_keeps_the_training_from_starting_and_says_why(finetune, name, typed, why):
    section = finetune.section
    starter = next(entry for entry in finetune.session.catalog.entries() if entry.origin == "starter")
    finetune.session.set_checkpoint(starter.path)
    add_patient("CT 0", 0)
    finetune.wait_for(lambda: section.ui.fineTuneButton.enabled)
    finetune.type(name, typed)
    finetune.wait_for(lambda: not section.ui.fineTuneButton.enabled)
    assert section.ui.fineTuneButton.toolTip == why
    assert finetune.form.settings == {}
    finetune.reset(name).click()
    finetune.wait_for(lambda: section.ui.fineTuneButton.enabled)


def test_methods_keep_their_own_changes(finetune):
    box = finetune.section.ui.methodComboBox
    finetune.editor("batch").setValue(5)
    box.setCurrentIndex(box.findText("bcp"))
    assert finetune.form.settings == {}
    assert finetune.editor("batch").value == 2
    finetune.type("box", "0.25")
    assert finetune.form.settings == {"box": 0.25}
    box.setCurrentIndex(box.findText("supervised"))
    assert finetune.form.settings == {"batch": 5}
    assert finetune.editor("batch").value == 5
    assert finetune.session.parameters.fine_tune_advanced == {"supervised": {"batch": 5}, "bcp": {"box": 0.25}}


def test_a_saved_scene_brings_the_changes_back(finetune, pretrain, tmp_path):
    import slicer

    finetune.type("optimization.clip", "3")
    pretrain.editor("radius").setValue(1)
    file = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(file, None)
    slicer.mrmlScene.Clear(0)
    finetune.wait_for(lambda: (finetune.form.settings, pretrain.form.settings) == ({}, {}))
    assert finetune.editor("optimization.clip").text == "12.0"
    slicer.mrmlScene.ReadFromMRB(file, True)
    saved = ({"optimization.clip": 3}, {"radius": 1})
    finetune.wait_for(lambda: (finetune.form.settings, pretrain.form.settings) == saved)
    assert finetune.editor("optimization.clip").text == "3"
    assert pretrain.title == "Advanced (1 changed)"


@pytest.mark.parametrize(
    "said",
    [
        "[]",
        '{"supervised": 3}',
        '{"supervised": {"batch": 0, "guess": 1, "spatial.flip": "often", "spatial.scale": [2, 1]}}',
        '{"supervised": {"optimization.optimizer": "adam", "optimization.clip": null, "deep_levels": true}}',
    ],
)
def test_what_a_scene_says_that_cannot_be_is_as_by_default(finetune, said):
    finetune.session.parameters.mrml.SetParameter("fine_tune_advanced", said)
    finetune.section.set_parameters(finetune.session.parameters)
    assert finetune.form.settings == {}
    assert finetune.editor("batch").value == 2
    assert finetune.title == "Advanced"


def test_changes_are_kept_until_the_engine_has_listed_its_methods(kept, module):
    section = module.panel.sections["fineTune"]
    section.session.methods = {stage: [{"name": "bcp", "description": "", "parameters": []}] for stage in STAGES}
    section._methods.fill()
    section._advanced.show({"bcp": {"box": 0.25}})
    assert section._advanced.settings == {"box": 0.25}
    assert section._advanced._box.title == "Advanced (1 changed)"


def test_rows_are_made_when_the_form_is_opened(kept, module, wait_for):
    section = module.panel.sections["fineTune"]
    wait_for(lambda: section.ui.methodComboBox.findText("bcp") >= 0, SECONDS)
    assert section._advanced._rows == {}
    section._advanced._box.collapsed = False
    assert "batch" in section._advanced._rows


def test_the_wheel_scrolls_the_form_and_changes_no_value(finetune):
    for name in ("batch", "optimization.optimizer"):
        editor, before = finetune.editor(name), finetune.form._rows[name].read()
        event = QWheelEvent(
            *(QPointF(5, 5), QPointF(5, 5), QPoint(0, -120), QPoint(0, -120)),
            *(Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False),
        )
        QApplication.sendEvent(editor, event)
        assert finetune.form._rows[name].read() == before


def test_a_fine_tuning_gets_what_is_changed_and_nothing_else(finetune, models, monkeypatch, screenshot):
    import slicer

    starter = next(entry for entry in finetune.session.catalog.entries() if entry.origin == "starter")
    finetune.session.set_checkpoint(starter.path)
    add_patient("CT 0", 0)
    ui, jobs = finetune.section.ui, []
    trainer, submit = finetune.session.trainer, finetune.session.trainer.submit
    monkeypatch.setattr(trainer, "submit", lambda job, *more: (jobs.append(job), submit(job, *more))[1])
    ui.fineTuneBudgetComboBox.setCurrentIndex(3)
    ui.fineTuneStepsSpinBox.setValue(2)
    finetune.editor("batch").setValue(1)
    finetune.type("optimization.learning_rate", "0.0025")
    slicer.util.mainWindow().show()
    slicer.util.mainWindow().resize(420, 1100)
    screenshot(slicer.util.mainWindow(), "advanced-form")
    finetune.search("learning")
    finetune.wait_for(lambda: ui.fineTuneButton.enabled)
    screenshot(slicer.util.mainWindow(), "advanced-form-searched")
    ui.fineTuneButton.click()
    finetune.wait_for(lambda: jobs and not finetune.session.training, SECONDS)
    assert jobs[0].settings == {"batch": 1, "optimization.learning_rate": 0.0025}
    card = finetune.session.checkpoint.card
    assert card.settings["batch"] == 1
    assert card.provenance.optimization["learning_rate"] == 0.0025


def test_a_pre_training_goes_on_in_a_terminal_with_its_changes(kept, module):
    from ContrastiveSegPanel.ui.pretrain_section import resuming_command

    from contrastiveseg.arguments import parser
    from contrastiveseg.descriptions import PretrainJob
    from contrastiveseg.serialization import key_value

    job = PretrainJob(
        images=("a",), output="b.safetensors", settings={"spatial.scale": [0.9, 1.1], "match": "geometric"}
    )
    words = shlex.split(resuming_command(job))
    given = [key_value(words[number + 1]) for number, word in enumerate(words) if word == "--set"]
    assert dict(given) == job.settings
    assert parser().parse_args(words[1:]).settings == json.loads(json.dumps(dict(job.settings)))
    assert Path(words[0]).name == "contrastiveseg"

"""What a script sets, in a box or in the parameter node, is what the panel acts on, as if a user had chosen it."""

import json

import pytest
from patients import add_patient, add_segmentation, add_volume
from segment_driver import SECONDS


def test_a_checkpoint_set_in_the_box_is_chosen(drive):
    combo = drive.model.checkpointComboBox
    combo.setCurrentIndex(combo.findText("macl-3d-tiny (pre-trained)"))
    assert drive.session.checkpoint.name == "macl-3d-tiny"
    assert drive.model.adviceLabel.text.startswith("Fine-tune it first")
    assert json.loads(drive.session.parameters.mrml.GetParameter("checkpoint")) == "macl-3d-tiny.safetensors"


@pytest.mark.parametrize("index", [-1, "last"])
def test_an_entry_that_is_no_checkpoint_does_nothing_when_set(drive, index):
    combo, chosen = drive.model.checkpointComboBox, drive.session.checkpoint
    combo.setCurrentIndex(combo.count - 1 if index == "last" else index)
    drive.wait_for(lambda: combo.currentText == chosen.name)
    assert drive.session.checkpoint == chosen


def test_a_device_set_in_the_box_computes(drive):
    from ContrastiveSegPanel.ui.device_box import chosen_device
    from ContrastiveSegPanel.workflows import computers

    drive.session.devices = [{"name": name, "label": name.upper(), "free_bytes": 0} for name in ("cpu", "mps")]
    computers._keep([computers.Computer("me@box")])
    drive.session.devices_changed.emit()
    combo = drive.segment.deviceComboBox
    combo.setCurrentIndex(combo.findText("MPS"))
    assert chosen_device(drive.session) == "mps"
    combo.setCurrentIndex(combo.findText("me@box"))
    assert computers.chosen() == computers.Computer("me@box")
    # What asks the user is not done for a script.
    combo.setCurrentIndex(combo.findText("Another computer…"))
    drive.wait_for(lambda: combo.currentText == "me@box")
    combo.setCurrentIndex(combo.findText("Automatic"))
    assert (computers.chosen(), chosen_device(drive.session)) == (None, "auto")


def test_boxes_in_the_table_of_cases_count_when_set(drive):
    volume = add_volume("CT 1", 1)
    add_segmentation(volume, ("Liver",), 1)
    table, section = drive.panel.sections["fineTune"].ui.casesTable, drive.panel.sections["fineTune"]
    drive.wait_for(lambda: table.rowCount == 1)
    table.cellWidget(0, 2).setCurrentIndex(2)
    drive.wait_for(lambda: section._rows[0].role == "validation")
    table.cellWidget(0, 4).setCurrentIndex(1)
    drive.wait_for(lambda: section._parts.of(section._rows[0]).part == "slices")
    table.cellWidget(0, 1).setCurrentIndex(0)
    drive.wait_for(lambda: section._rows[0].role == "unlabeled")


def test_advanced_parameters_count_when_set(drive):
    form = drive.panel.sections["fineTune"]._advanced
    drive.panel.ui.fineTuneSection.collapsed = False
    form._box.collapsed = False
    drive.wait_for(lambda: form._rows, SECONDS)
    boxes = {p.name: p.kind for p in form._parameters() if p.kind in ("choice", "bool")}
    for name in boxes:
        widget = form._rows[name]._editor.widget
        if hasattr(widget, "checked"):
            widget.setChecked(not widget.checked)
        else:
            widget.setCurrentIndex((widget.currentIndex + 1) % widget.count)
    assert set(boxes) >= set(form.settings) > set()
    form._reset.click()
    assert form.settings == {}


def test_the_panel_shows_what_others_write_into_the_parameter_node(drive):
    volume, drawn = add_patient("CT 1", 1)
    tune, results, node = (
        drive.panel.sections["fineTune"].ui,
        drive.panel.sections["results"].ui,
        drive.session.parameters.mrml,
    )
    drive.settle()
    node.SetParameter("checkpoint", json.dumps("macl-3d-tiny.safetensors"))
    node.SetParameter("fine_tune_budget", json.dumps("7 steps"))
    node.SetParameter("inputs", json.dumps("all"))
    node.SetNodeReferenceID("reference", drawn.GetID())
    drive.wait_for(lambda: drive.session.checkpoint.name == "macl-3d-tiny")
    assert (tune.fineTuneBudgetComboBox.currentIndex, tune.fineTuneStepsSpinBox.value) == (3, 7)
    assert drive.segment.inputsComboBox.currentIndex == 2
    assert results.referenceSelector.currentNode() is drawn
    # What the panel writes itself makes it show nothing anew.
    taken = drive.session.parameters
    drive.segment.inputSelector.setCurrentNode(volume)
    tune.fineTuneStepsSpinBox.setValue(8)
    drive.settle()
    assert drive.session.parameters is taken
    assert json.loads(node.GetParameter("fine_tune_budget")) == "8 steps"


def test_a_checkpoint_that_is_not_here_is_told(drive):
    said: list = []
    drive.session.log_line.connect(said.append)
    chosen = drive.session.checkpoint
    drive.session.parameters.mrml.SetParameter("checkpoint", json.dumps("theirs.safetensors"))
    drive.wait_for(lambda: said)
    assert "theirs.safetensors" in said[0]
    assert drive.session.checkpoint == chosen
    assert drive.model.checkpointComboBox.currentText == chosen.name

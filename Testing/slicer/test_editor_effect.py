"""Preview and Learn again inside the Segment Editor: the effect presses the panel's buttons."""

import shutil

import pytest
import slicer
from ContrastiveSegPanel.mrml.segment_status import Status, set_segment_status
from ContrastiveSegPanel.workflows.pairing import PREDICTED
from nodes import mask_of, segment_id
from patients import add_segmentation, add_volume
from preview_driver import LIVER, SECONDS, dice, found, with_strokes


class Editor:
    """The Segment Editor on the strokes, with the effect to be chosen."""

    def __init__(self, drive):
        self.drive = drive
        slicer.util.selectModule("SegmentEditor")
        self.widget = slicer.modules.SegmentEditorWidget.editor
        self.widget.setSegmentationNode(drive.strokes)
        self.widget.setSourceVolumeNode(drive.volume)

    @property
    def effect(self):
        return self.widget.effectByName("ContrastiveSeg")

    @property
    def options(self):
        return self.effect.self()._options

    def choose(self):
        self.widget.setActiveEffectByName("ContrastiveSeg")
        self.drive.settle()
        # The effect shows what the section has shown, a turn later.
        self.drive.wait_for(lambda: not self.options._timer.active)
        return self.options


@pytest.fixture
def drive(kept, models_folder, module, wait_for):
    return with_strokes(module, wait_for)


@pytest.fixture
def editor(drive, segment_editor):
    return Editor(drive)


def test_the_effect_is_in_the_editor(editor):
    assert editor.effect.title == "Spread strokes"
    assert (editor.effect.perSegment, editor.effect.requireSegments) == (False, True)
    assert not editor.effect.icon().isNull()
    assert "Learn again" in editor.effect.helpText()
    # An editor has an effect of its own.
    assert editor.effect not in slicer.qSlicerSegmentEditorEffectFactory.instance().registeredEffects()


def test_the_effect_previews_what_is_edited(editor, drive, screenshot):
    drive.ui.strokesSelector.setCurrentNode(None)
    options = editor.choose()
    drive.wait_for(lambda: options.preview.enabled)
    assert "synthetic-labels" in options.checkpoint.text
    assert not options.take.enabled
    before = drive.masks()
    options.preview.click()
    drive.wait_for(lambda: options.cancel.isVisibleTo(options.widget))
    assert not options.preview.isVisibleTo(options.widget)
    drive.finish()
    drive.wait_for(lambda: options.take.enabled)
    made = found("Strokes preview")
    assert dice(mask_of(made, "Liver", drive.volume), LIVER) > 0.7
    assert options.status.text.startswith("Previewed in")
    assert editor.widget.segmentationNode() is drive.strokes
    screenshot(editor.widget, "editor-effect")
    options.take.click()
    assert mask_of(drive.strokes, "Liver", drive.volume).sum() > before["Liver"].sum()
    drive.wait_for(lambda: options.undo.enabled)
    options.undo.click()
    assert (mask_of(drive.strokes, "Liver", drive.volume) == before["Liver"]).all()


def test_nothing_in_the_effect_is_squeezed(editor):
    """Slicer gives the options no more than their minimum."""
    options = editor.choose()
    options.widget.resize(300, options.widget.minimumSizeHint.height())
    for text in ("Done.", "Taken into Strokes. What you had painted is as you painted it.\nTraining, 15 s left"):
        options.status.setText(text)
        for _turn in range(4):
            slicer.app.processEvents()
            options.widget.resize(300, options.widget.minimumHeight)
        assert options.status.height >= options.status.heightForWidth(options.status.width)
    assert options.widget.minimumHeight < 2 * options.widget.sizeHint.height()


def test_one_preview_in_panel_and_editor(editor, drive):
    """What was taken in the editor is no stroke for the panel, and the other way round."""
    options = editor.choose()
    options.preview.click()
    drive.wait_for(lambda: options.take.enabled, SECONDS)
    options.take.click()
    slicer.util.selectModule("ContrastiveSeg")
    drive.preview()
    strokes = drive.section._previewing._strokes._painted
    painted = mask_of(drive.strokes, "Liver", drive.volume)
    assert (strokes == drive.section._previewing._strokes._values[segment_id(drive.strokes, "Liver")]).sum() > 0
    assert (strokes == 1).sum() < painted.sum()


def test_cancel_and_after_every_stroke_are_the_panels(editor, drive):
    options = editor.choose()
    options.preview.click()
    drive.wait_for(lambda: drive.section.task.state == "running" and options.cancel.enabled)
    options.cancel.click()
    drive.finish()
    assert found("Strokes preview") is None
    options.every_stroke.setChecked(True)
    assert drive.ui.followCheckBox.checked
    drive.finish()
    drive.ui.followCheckBox.setChecked(False)
    drive.section.show_state()
    drive.wait_for(lambda: not options.every_stroke.checked)


def test_the_effect_follows_the_editor_to_another_segmentation(editor, drive):
    options = editor.choose()
    volume = add_volume("CT 2", 2)
    other = add_segmentation(volume, ("Liver",), 2)
    editor.widget.setSegmentationNode(other)
    editor.widget.setSourceVolumeNode(volume)
    assert drive.ui.strokesSelector.currentNode() is other
    drive.wait_for(lambda: options.preview.enabled)


def test_going_away_leaves_the_panel_alone(editor, drive):
    options = editor.choose()
    assert editor.effect.active()
    slicer.util.selectModule("ContrastiveSeg")
    assert not editor.effect.active()
    assert options._panel is None
    drive.section.show_state()


def test_learn_again_is_the_panels(editor, drive, models_folder, segmenter):
    options = editor.choose()
    button = drive.panel.sections["fineTune"].ui.learnAgainButton
    drive.wait_for(lambda: options.learn_again.toolTip == button.toolTip != "")
    assert not options.learn_again.enabled
    shutil.copy(segmenter, models_folder / "organs.safetensors")
    drive.session.refresh_catalog()
    drive.strokes.SetAttribute(PREDICTED, "organs.safetensors")
    for identifier in drive.strokes.GetSegmentation().GetSegmentIDs():
        set_segment_status(drive.strokes, identifier, Status.COMPLETED)
    drive.wait_for(lambda: options.learn_again.enabled)
    assert "organs" in options.learn_again.toolTip
    options.learn_again.click()
    (entry,) = drive.session.queue.entries
    assert entry.title.startswith("Fine-tune Liver-Spleen")
    drive.session.queue.cancel(entry)
    drive.wait_for(lambda: not drive.session.training, SECONDS)


def test_the_effect_shows_before_and_after_as_the_panel_does(editor, drive, screenshot):
    from ContrastiveSegPanel.ui.finetune_outcome import NONE_CORRECTED, Source
    from ContrastiveSegPanel.workflows.correction_scores import CorrectedCase

    options, section = editor.choose(), drive.panel.sections["fineTune"]
    assert not options.outcome.isVisibleTo(options.widget)
    outcome = section._outcome
    outcome.begin(Source({}, [], outcome.scene_number, NONE_CORRECTED))
    outcome.show_corrected([CorrectedCase(drive.volume.GetID(), 0.91, 0.97)])
    drive.wait_for(lambda: options.outcome.isVisibleTo(options.widget))
    assert "0.910" in options.outcome.text
    assert options.outcome.text == section.ui.outcomeLabel.text
    screenshot(editor.widget, "editor-effect-outcome")
    outcome.begin(Source({}, [], outcome.scene_number, NONE_CORRECTED))
    drive.wait_for(lambda: not options.outcome.isVisibleTo(options.widget))


def test_paint_opens_the_editor_on_a_segmentation_of_the_displayed_volume(editor, drive):
    from ContrastiveSegPanel.mrml.slice_views import show_volume
    from ContrastiveSegPanel.workflows.pairing import volume_of

    slicer.util.selectModule("ContrastiveSeg")
    drive.ui.strokesSelector.setCurrentNode(drive.strokes)
    volume = add_volume("CT 2", 2)
    show_volume(volume)
    drive.wait_for(lambda: "CT 2" in drive.ui.paintButton.toolTip)
    drive.ui.paintButton.click()
    strokes = editor.widget.segmentationNode()
    assert (strokes.GetName(), editor.widget.sourceVolumeNode()) == ("CT 2 strokes", volume)
    assert volume_of(strokes) is volume
    assert drive.ui.strokesSelector.currentNode() is strokes
    # Those of the displayed volume are gone on with.
    editor.widget.setSegmentationNode(drive.strokes)
    slicer.util.selectModule("ContrastiveSeg")
    drive.ui.paintButton.click()
    assert editor.widget.segmentationNode() is strokes
    assert drive.ui.strokesSelector.currentNode() is strokes

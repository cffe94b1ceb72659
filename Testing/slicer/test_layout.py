"""The panel at the sizes that it has in Slicer."""

import pytest
import slicer
from patients import add_patient, add_volume


@pytest.fixture
def panel(kept, models, module):
    """The panel alone, without a window around it."""
    window = slicer.util.mainWindow()
    window.takeCentralWidget()
    module.parent.show()
    yield module.panel
    window.setCentralWidget(module.parent)


def granted(panel, module, width=400, height=700):
    """Give the panel what Slicer's scroll area grants: the view's height, or if that is more its minimum size hint."""
    widget = module.parent
    for _turn in range(4):
        widget.resize(width, max(height, widget.minimumSizeHint.height()))
        slicer.app.processEvents()


def least_width(module):
    """Slicer makes its modules no narrower than they would like to be: it gives them the policy Minimum."""
    return module.parent.sizeHint.width()


def whole(widget):
    """Whether a widget is as high as what it shows."""
    needed = widget.sizeHint.height()
    if widget.inherits("QLabel"):
        needed = widget.heightForWidth(widget.width) if widget.wordWrap else needed
    return widget.height >= min(needed, widget.maximumHeight)


def test_nothing_in_fine_tune_is_squeezed(panel, module, wait_for, screenshot):
    ui = panel.sections["fineTune"].ui
    for number in range(3):
        add_patient(f"CT {number}", number, ("Liver", "Spleen") if number else ("Liver",))
    for number in range(3, 6):
        add_volume(f"CT {number}", number)
    for number in range(6, 9):
        _volume, result = add_patient(f"CT {number}", number)
        result.SetAttribute("ContrastiveSeg.Predicted", "made.safetensors")
    panel.ui.fineTuneSection.collapsed = False
    ui.labelNextGroupBox.collapsed = False
    wait_for(lambda: ui.casesTable.rowCount == 9)
    wait_for(lambda: ui.correctionsTable.rowCount == 3)
    ui.fineTuneChart.setVisible(True)
    ui.outcomeLabel.setText(
        "<p>Dice</p>" + "<p>Fine-tuning made it worse than it was before, by how much is said.</p>" * 3
    )
    ui.outcomeCard.setVisible(True)
    ui.rankTable.setRowCount(3)
    ui.rankTable.setVisible(True)
    ui.fewSlicesLabel.setText("To label a few slices instead of the volume, take these: 1, 2, 3. " * 2)
    ui.fewSlicesLabel.setVisible(True)
    ui.correctionsHint.setText("What the checkpoint has learned from is not in this scene, and that may fade. " * 3)
    ui.rankStatusLabel.setText("Click a volume to see where the checkpoint is least sure. " * 3)
    granted(panel, module)
    screenshot(module.parent, "layout-fine-tune")
    names = (
        "casesTable",
        "structuresTable",
        "missingTable",
        "rankTable",
        "fewSlicesLabel",
        "correctionsHint",
        "correctionsTable",
        "correctChosenButton",
        "learnAgainButton",
        "outcomeLabel",
        "rankStatusLabel",
        "rankButton",
        "fineTuneChart",
    )
    squeezed = {
        n: (getattr(ui, n).height, getattr(ui, n).sizeHint.height()) for n in names if not whole(getattr(ui, n))
    }
    assert squeezed == {}
    high = panel.ui.fineTuneSection.height
    panel.ui.fineTuneSection.collapsed = True
    granted(panel, module)
    assert panel.ui.fineTuneSection.height < high / 4


def test_nothing_in_batch_and_jobs_is_squeezed(panel, module, screenshot):
    from ContrastiveSegPanel.workflows.quality import Looked
    from ContrastiveSegPanel.workflows.queue import Entry

    from contrastiveseg.results import QualityCase

    batch, jobs = panel.sections["batch"].ui, panel.sections["jobs"].ui
    for name in ("batch", "jobs"):
        getattr(panel.ui, f"{name}Section").collapsed = False
    cases = tuple(
        QualityCase(
            f"CT {n}", n / 10, {"liver": 1000.0}, {"liver": 1}, 0.1, (), ("liver in 4 pieces",), (0.0, 0.0, 0.0)
        )
        for n in reversed(range(10))
    )
    panel.sections["batch"]._quality.show(
        Looked("10 volumes of /a/folder", cases, lambda case: None, panel.session.folder())
    )
    batch.batchStatusLabel.setText("Done in 3 min: 10 label maps in a folder with a long name, which takes two lines.")
    for n in range(3):
        panel.session.queue.add(Entry(f"Fine-tune liver {n}", lambda: None, lambda: None, lambda: None))
    granted(panel, module)
    screenshot(module.parent, "layout-batch-jobs")
    names = ("qualityTable", "qualityHint", "batchStatusLabel", "exportQualityButton", "batchQueueButton")
    widgets = [getattr(batch, n) for n in names] + [jobs.jobsTable, jobs.jobUpButton, jobs.jobDiscardButton]
    assert [w.objectName for w in widgets if not whole(w)] == []


def test_the_panels_width_does_not_depend_on_names(panel, module, models, wait_for):
    """Each change of it would lay out all of Slicer's views anew."""
    for section in ("preview", "fineTune", "preTrain", "batch", "results", "jobs"):
        getattr(panel.ui, f"{section}Section").collapsed = False
    granted(panel, module)
    width = least_width(module)
    assert width <= 420
    name = "a-name-that-is-much-longer-than-the-panel-is-wide-and-differs-only-at-its-end-2026-11-30-2"
    (models / "organs.safetensors").rename(models / f"{name}.safetensors")
    panel.session.refresh_catalog(models / f"{name}.safetensors")
    for number in range(3):
        add_patient(f"{name}-{number}", number)
    wait_for(lambda: panel.sections["fineTune"].ui.casesTable.rowCount == 3)
    panel.sections["segment"].ui.segmentButton.setEnabled(True)
    granted(panel, module)
    assert least_width(module) == width


def test_the_panels_width_does_not_depend_on_what_is_open_or_offered(panel, module):
    for section in ("segment", "preview", "fineTune", "preTrain", "batch", "results", "jobs"):
        getattr(panel.ui, f"{section}Section").collapsed = True
    granted(panel, module)
    width = least_width(module)
    ui = panel.sections["segment"].ui
    for section in ("segment", "fineTune", "batch"):
        getattr(panel.ui, f"{section}Section").collapsed = False
    for button in (ui.undoButton, ui.redoButton, ui.show3DButton, ui.segmentQueueButton, ui.cancelButton):
        button.setVisible(True)
    tune = panel.sections["fineTune"].ui
    row = "<tr><th>Volume</th><th>Before</th><th>After</th></tr>"
    tune.outcomeLabel.setText(f"<table width='100%'>{row}</table><p>{'Before is too high. ' * 9}</p>")
    tune.outcomeCard.setVisible(True)
    panel.sections["model"].ui.card.setVisible(True)
    granted(panel, module)
    assert least_width(module) == width


def test_names_of_cases_get_more_width_than_the_words_beside_them(panel, module, wait_for):
    for number in range(2):
        add_patient(f"CT {number}", number)
    panel.ui.fineTuneSection.collapsed = False
    table = panel.sections["fineTune"].ui.casesTable
    wait_for(lambda: table.rowCount == 2)
    table.setColumnHidden(3, False)
    granted(panel, module)
    assert table.columnWidth(0) > table.columnWidth(4)
    words = table.cellWidget(0, 2)
    assert words.fontMetrics().boundingRect("Validation").width() < words.width - words.height


def test_the_card_of_a_checkpoint_is_no_higher_than_it_shows(panel, module):
    ui = panel.sections["model"].ui
    ui.citationValue.setText("Dey et al., Learning General-purpose Biomedical Volume Representations, ICLR 2025. " * 4)
    ui.detailsButton.click()
    granted(panel, module, height=1200)
    section = panel.ui.modelSection
    needed = section.layout().totalHeightForWidth(section.width)
    assert needed <= section.height < needed + 5 * ui.citationValue.fontMetrics().height()


def test_names_that_begin_alike_are_told_apart(panel, wait_for):
    from ContrastiveSegPanel.ui.short_names import told_apart

    assert told_apart([]) == []
    assert told_apart(["CT 1", "CT 2"]) == ["CT 1", "CT 2"]
    assert told_apart(["BraTS-GLI-00001-000 t1c", "BraTS-GLI-00002-000 t1c"]) == ["…00001-000 t1c", "…00002-000 t1c"]
    assert told_apart(["SyntheticHeart12_1", "SyntheticHeart13_1"]) == ["…12_1", "…13_1"]
    whole = ["the same long name of all", "the same long name of all 2"]
    assert told_apart(whole) == whole
    for number in (1001, 1002):
        add_patient(f"Cardiac MR, breath hold, patient {number}", number)
    table = panel.sections["fineTune"].ui.casesTable
    wait_for(lambda: table.rowCount == 2)
    assert [table.item(row, 0).text() for row in range(2)] == ["…1001", "…1002"]
    assert table.item(1, 0).toolTip().endswith("patient 1002")
    box = table.cellWidget(1, 1)
    assert box.currentText.startswith("…1002")
    assert box.toolTip.startswith("Cardiac MR, breath hold, patient 1002")


def test_the_summary_of_a_checkpoint_is_whole(panel, module, screenshot):
    label = panel.sections["model"].ui.summaryLabel
    label.setText("synthetic-labels<br>" + "1 channel, any modality and spacing (follows your volumes) " * 2)
    granted(panel, module)
    assert whole(label)
    label.setText("chamber<br>1 channel, MR")
    granted(panel, module)
    assert label.height < 3 * label.fontMetrics().height()


def test_names_are_cut_in_the_middle_and_whole_in_lists_and_tool_tips(panel, models, wait_for):
    import qt

    ui, combo = panel.sections["fineTune"].ui, panel.sections["model"].ui.checkpointComboBox
    for table in (ui.casesTable, ui.structuresTable, ui.rankTable):
        assert table.textElideMode == qt.Qt.ElideMiddle
    name = "a-name-that-is-much-longer-than-the-panel-is-wide-and-differs-only-at-its-end-2026-11-30-2"
    (models / "organs.safetensors").rename(models / f"{name}.safetensors")
    panel.session.refresh_catalog(models / f"{name}.safetensors")
    assert combo.toolTip.startswith(name + "\n")
    assert combo.view().minimumWidth > 500


def test_the_button_segment_is_in_sight_on_a_small_screen(panel, module, screenshot):
    import qt

    # What a window of 1100 x 760 leaves for a module beside Slicer's menus, tool bars and help.
    granted(panel, module, height=560)
    screenshot(module.parent, "layout-small")
    button = panel.sections["segment"].ui.segmentButton
    assert button.visible
    assert button.mapTo(module.parent, qt.QPoint(0, button.height)).y() < 560


def test_the_table_of_results_does_not_scroll_sideways(panel, module, screenshot):
    from ContrastiveSegPanel.mrml.score_table import write_table

    from contrastiveseg.results import ScoreRow

    ui = panel.sections["results"].ui
    panel.ui.resultsSection.collapsed = False
    names = {1: "Left kidney with a long name", 2: "Liver"}
    rows = [
        ScoreRow("CT", label, name, "ok", 0.91234, 1234.5678, 123.45678, 1234.5678, 0.1)
        for label, name in names.items()
    ]
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "found against drawn")
    write_table(table, rows, names)
    panel.sections["results"]._show_table(table)
    # A module beside the views of a window of 1100 x 760 gets no more than this.
    granted(panel, module, width=400)
    screenshot(module.parent, "layout-results")
    view = ui.resultsTable
    assert view.visible
    assert not view.horizontalScrollBar().visible
    header = view.horizontalHeader()
    assert header.count() == 6
    assert sum(header.sectionSize(column) for column in range(6)) <= view.viewport().width
    # No digit is cut off.
    number = view.model().index(0, 2)
    assert number.data() == "1234.57"
    assert view.fontMetrics().horizontalAdvance(number.data()) + 6 <= header.sectionSize(2)

"""What stands in the .ui files, which Qt Designer does not check."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "ContrastiveSeg" / "Resources" / "UI"


def texts(*files):
    """Names of widgets -> their texts."""
    widgets = [w for file in files for w in ElementTree.parse(FOLDER / f"{file}.ui").iter("widget")]
    return {w.get("name"): w.findtext("property[@name='text']/string", "") for w in widgets}


@pytest.mark.parametrize(
    "files",
    [("Model", "Segment"), ("Preview",), ("FineTune",), ("PreTrain",), ("Results",)],
    ids=lambda files: files[0],
)
def test_no_two_controls_answer_to_one_key(files):
    """Those of sections that are open together at first, and of each of the others."""
    keys = [found[1].lower() for text in texts(*files).values() if (found := re.search("&(.)", text))]
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.ui")), ids=lambda file: file.stem)
def test_what_can_be_pressed_or_chosen_says_what_it_does(file):
    kinds = re.compile("Button$|ComboBox$|CheckBox$|SpinBox$|LineEdit$")
    silent = [
        widget.get("name")
        for widget in ElementTree.parse(file).iter("widget")
        if kinds.search(widget.get("class"))
        and widget.get("class") != "ctkCollapsibleButton"
        and not widget.findtext("property[@name='toolTip']/string")
    ]
    # These tell it by code, since it depends on what can be done.
    starting = {
        "segmentButton",
        "previewButton",
        "fineTuneButton",
        "rankButton",
        "preTrainButton",
        "batchButton",
        "measureButton",
    }
    assert set(silent) <= starting | {
        "fineTuneQueueButton",
        "preTrainQueueButton",
        "batchQueueButton",
        "segmentQueueButton",
    }


def test_no_wrapped_text_makes_the_panel_wider():
    """Slicer gives a module the width that it would like to have, and such a label would like to have few lines."""
    wide = [
        label.get("name")
        for file in FOLDER.glob("*.ui")
        for label in ElementTree.parse(file).iter("widget")
        if label.find("property[@name='wordWrap']") is not None
        and label.find("property[@name='sizePolicy']/sizepolicy[@hsizetype='Ignored']") is None
    ]
    assert wide == []

"""Names from files are shown as they are: Qt would take them for HTML where it is not told otherwise."""

import ast
from pathlib import Path
from xml.etree import ElementTree

MODULE = Path(__file__).resolve().parents[2] / "ContrastiveSeg"
#: Labels whose text is made of escaped names and tags of ours.
RICH = {"summaryLabel", "labelsValue", "outcomeLabel", "fewSlicesLabel"}


def test_every_label_of_the_panel_shows_plain_text():
    formats = {
        widget.get("name"): widget.findtext("property[@name='textFormat']/enum")
        for file in MODULE.glob("Resources/UI/*.ui")
        for widget in ElementTree.parse(file).iter("widget")
        if widget.get("class") == "QLabel"
    }
    assert len(formats) > 40
    assert {name for name, kind in formats.items() if kind != "Qt::PlainText"} == RICH


def test_labels_are_made_in_one_place():
    made = {
        file.stem
        for file in MODULE.glob("ContrastiveSegPanel/**/*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "QLabel"
    }
    assert made == {"plain_text"}


def test_a_label_and_a_tip_hold_what_looks_like_html(module):
    import qt
    from ContrastiveSegPanel.plain_text import plain_label, plain_tip

    label = plain_label("<img src='x'>")
    assert (label.text, label.textFormat) == ("<img src='x'>", qt.Qt.PlainText)
    assert plain_tip("a & b\nc") == "a & b\nc"
    assert plain_tip("<b>a</b>\n&") == "<span>&lt;b&gt;a&lt;/b&gt;<br>&amp;</span>"


def test_a_stranger_s_names_are_no_html(drive, models):
    import json

    raw = (models / "organs.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    key = next(iter(header["__metadata__"]))
    card = json.loads(header["__metadata__"][key])
    card["labels"][0]["name"] = "<img src='http://x'>"
    header["__metadata__"][key] = json.dumps(card)
    text = json.dumps(header).encode()
    (models / "strange.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    drive.session.refresh_catalog()
    drive.choose("strange")
    assert "<img" not in drive.model.summaryLabel.text
    assert "<img" not in drive.model.summaryLabel.toolTip
    assert "&lt;img" in drive.model.labelsValue.toolTip

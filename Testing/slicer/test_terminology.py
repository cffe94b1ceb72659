"""Codes for structures whose checkpoint has none."""

import json

import nodes
import numpy as np
import pytest
import slicer
from ContrastiveSegPanel.mrml import terminology
from ContrastiveSegPanel.mrml.scene import read_labels_into, segments_of

from contrastiveseg.checkpoints.card import Label

LIST = "Segmentation category and type - 3D Slicer General Anatomy list"


def coded(value, meaning, **more):
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning, **more}


@pytest.fixture
def anatomy(tmp_path):
    """A few entries of Slicer's list, in its own format."""
    sides = [
        coded("24028007", "Right", **{"3dSlicerLabel": "right kidney"}),
        coded("7771000", "Left", **{"3dSlicerLabel": "left kidney"}),
    ]
    types = [
        coded("10200004", "Liver", **{"3dSlicerLabel": "liver"}),
        coded("64033007", "Kidney", Modifier=sides),
    ]
    category = coded("123037004", "Anatomical Structure", Type=types)
    file = tmp_path / "anatomy.term.json"
    file.write_text(
        json.dumps(
            {
                "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#",
                "SegmentationCategoryTypeContextName": LIST,
                "SegmentationCodes": {"Category": [category]},
            }
        )
    )
    assert slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(file)) == LIST


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Liver", "SCT^10200004^Liver", "^^"),
        ("Left kidney", "SCT^64033007^Kidney", "SCT^7771000^Left"),
        ("kidney_right", "SCT^64033007^Kidney", "SCT^24028007^Right"),
        ("Kidney L", "SCT^64033007^Kidney", "SCT^7771000^Left"),
    ],
)
def test_a_structure_is_known_by_its_name(anatomy, name, code, side):
    told = terminology.known_by_name(name).split("~")
    assert told[0] == LIST
    assert told[2:4] == [code, side]


@pytest.mark.parametrize("name", ["kidney", "my lesion", "", "..."])
def test_a_name_of_its_own_has_no_code(anatomy, name):
    assert terminology.known_by_name(name) == ""


def test_without_slicers_list_nothing_is_known(monkeypatch):
    monkeypatch.setattr(terminology, "_LIST", "a list that is not loaded")
    assert terminology.known_by_name("liver") == ""
    monkeypatch.setattr(slicer, "modules", object())
    assert terminology.known_by_name("liver") == ""


def test_the_checkpoints_own_code_comes_first_and_that_of_mere_tissue_last(anatomy, tmp_path):
    tissue = slicer.vtkSegment().GetTerminology()
    labels = (
        Label(1, "liver", None, "mine~SCT^1^A~SCT^2^B~^^~~^^~^^"),
        Label(2, "left kidney", None, tissue),
        Label(3, "lesion"),
    )
    volume = nodes.volume()
    file = nodes.label_file(tmp_path / "l.nrrd", nodes.labels_in().astype(np.uint8))
    found, _undo = read_labels_into(file, labels, volume)
    told = [segment.terminology for segment in segments_of(found)]
    assert told[0] == labels[0].terminology
    assert "SCT^7771000^Left" in told[1]
    assert told[2] == tissue


def test_segments_without_a_name_are_told_apart_by_their_terminology_or_id():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Codes only")
    kidney = ("SCT^123037004^Anatomical Structure", "SCT^64033007^Kidney", "SCT^24028007^Right")
    for identifier in ("a", "b", "c"):
        node.GetSegmentation().AddEmptySegment(identifier, "Some name")
        node.GetSegmentation().GetSegment(identifier).SetName("")
    node.GetSegmentation().GetSegment("a").SetTerminology("~".join([LIST, *kidney, "", "", ""]))
    names = [segment.name for segment in segments_of(node)]
    assert names == ["Right Kidney", "b", "c"]

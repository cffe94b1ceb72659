"""What a training gets of the scene, and how its outcome is told; no engine runs here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from patients import SHAPE, add_patient, add_segmentation, add_volume, boxes

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError
from contrastiveseg.results import FinetuneResult, HeldOutCase, ScratchComparison
from contrastiveseg.training.start_scores import compare_scores
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.reading import read_channels, read_labels


@pytest.fixture
def hand_over(cases, tmp_path):
    """Hands over the scene's cases and writes the files; the sentences said on the way are in ``said``."""
    from ContrastiveSegPanel.workflows import training_files

    def give(known=(), with_unlabeled=False):
        made = training_files.training_files(
            cases.rows(), cases.structures(), known, tmp_path, with_unlabeled, give.said.append
        )
        for _words, write in made.steps:
            write()
        return made

    give.said = []
    return give


def test_the_engine_reads_what_was_handed_over(cases, hand_over):
    add_patient("CT, one/two", 0)
    add_patient("CT 2", 1, ("spleen", "LIVER"))
    held, _segmentation = add_patient("CT 3", 2)
    cases.set_role(held.GetID(), "validation")
    given = hand_over((Label(7, "Spleen", (1, 2, 3), "code"),))
    found = find_cases([Path(p) for p in given.fields["images"]])
    assert [case.name for case in found] == sorted(given.volume_ids)
    assert given.fields["validation"] == "CT-3,"
    assert given.fields["unlabeled"] == ()
    for case in found:
        image, labels = read_channels(case.images), read_labels(case.labels)
        assert labels.geometry == image.geometry
        assert image.geometry.spacing == (2.0, 2.0, 3.0)
    # The second patient's first box is called spleen.
    expected = np.zeros(SHAPE, np.uint8)
    expected[boxes(1)[0]], expected[boxes(1)[1]] = 7, 1
    second = next(case for case in found if case.name == "CT-2")
    assert (read_labels(second.labels).array == expected).all()
    table = json.loads(Path(given.fields["label_table"]).read_text(encoding="utf-8"))
    assert [(row["value"], row["name"]) for row in table] == [(1, "Liver"), (7, "Spleen")]
    assert table[1]["color"] == [1, 2, 3]


def test_unlabeled_volumes_go_along_where_the_method_can_use_them(cases, hand_over):
    add_patient("CT", 0)
    add_volume("CT 1", 1)
    ignored = add_volume("CT 2", 2)
    cases.set_role(ignored.GetID(), "ignore")
    given = hand_over(with_unlabeled=True)
    (folder,) = given.fields["unlabeled"]
    assert [p.stem for p in Path(folder).iterdir()] == ["CT-1"]
    assert list(given.volume_ids) == ["CT"]


def test_a_case_without_anything_to_learn_is_left_out(cases, hand_over):
    add_patient("CT", 0, ("Liver",))
    add_patient("CT 1", 1, ("Spleen",))
    cases.set_learn("spleen", False)
    assert list(hand_over().volume_ids) == ["CT"]


def test_nothing_to_learn_is_refused(cases, hand_over):
    add_patient("CT", 0, ("Liver",))
    cases.set_learn("liver", False)
    with pytest.raises(InputError, match="None of the volumes"):
        hand_over()


def test_segments_that_hide_each_other_are_told(cases, hand_over):
    volume = add_volume("CT", 0)
    segmentation = add_segmentation(volume, ("Liver",), 0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[boxes(0)[0]] = 1
    identifier = segmentation.GetSegmentation().AddEmptySegment("", "Tumor")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask, segmentation, segmentation.GetSegmentation().GetNthSegmentID(0), volume
    )
    hand_over()
    assert len(hand_over.said) == 1
    assert "Tumor" in hand_over.said[0]


def test_a_node_gone_meanwhile_is_named(cases, tmp_path):
    from ContrastiveSegPanel.workflows import training_files

    _volume, segmentation = add_patient("CT", 0)
    given = training_files.training_files(cases.rows(), cases.structures(), (), tmp_path, False, print)
    slicer.mrmlScene.RemoveNode(segmentation)
    (_first, write_volume), (_second, write_labels) = given.steps
    write_volume()
    with pytest.raises(InputError, match="CT or its segmentation"):
        write_labels()


def scores(name, dice, hd95):
    return HeldOutCase(name, dice, {}, hd95)


def result(held_out, before=None, scratch=None):
    made = FinetuneResult("c", "m", 3, 1.0, "best", None, held_out, before)
    if not scratch:
        return made
    starts = compare_scores({"liver": [made], "scratch": [replace(made, held_out=scratch)]}, keep="liver")
    return replace(made, comparison=ScratchComparison("checkpoint", 0.8, 0.3, scratch), starts=starts)


def test_the_outcome_tells_before_after_and_scratch(scene):
    from ContrastiveSegPanel.ui.held_out_scores import held_out_dice, held_out_html

    scored = result(
        held_out=(scores("a", 0.9, 2.0), scores("b", 0.7, None), scores("c", None, None)),
        before=(scores("a", 0.5, 20.0), scores("b", 0.3, 30.0), scores("c", None, None)),
        scratch=(scores("a", 0.4, 9.0), scores("b", 0.2, 8.0)),
    )
    table = held_out_html(scored, {"a": "CT <1>", "b": "CT 2"})
    assert "CT &lt;1&gt;" in table
    for cell in ("0.900 (2.0)", "0.700 (-)", "0.800 (-)", "0.400 (-)", "0.300 (8.5)", "0.500 (20.0)"):
        assert cell in table
    assert "liver is ahead: Dice 0.800, and 0.500 ± 0.000 above scratch" in table
    assert "<b>liver</b>" in table
    assert "that in bold is kept" in table
    assert "worse" not in table
    assert held_out_dice(scored) == {"a": 0.9, "b": 0.7}


def test_without_held_out_volumes_there_is_no_outcome(scene):
    from ContrastiveSegPanel.ui.held_out_scores import held_out_dice, held_out_html

    assert held_out_html(result(()), {}) == ""
    assert held_out_dice(result(())) == {}


def test_worse_than_before_is_said(scene):
    from ContrastiveSegPanel.workflows.verdict import verdict

    case = (scores("a", 0.962, 1.0),)
    said = verdict(result(case, before=(scores("a", 0.995, 1.0),), scratch=(scores("a", 0.4, 9.0),)))
    assert said[0] == "Fine-tuning made it worse: Dice 0.962, and 0.995 before."
    assert "No start is known to be ahead: liver and scratch differ by 0.562" in said[1]
    assert verdict(result(case, before=(scores("a", 0.962, 1.0),))) == []


def test_a_reference_that_the_checkpoint_made_is_said(scene, cases):
    from ContrastiveSegPanel.ui.held_out_scores import held_out_html
    from ContrastiveSegPanel.workflows.cases import VALIDATION
    from ContrastiveSegPanel.workflows.pairing import PREDICTED
    from ContrastiveSegPanel.workflows.training_files import circular_references

    volumes = []
    for number, made_by in enumerate((None, "liver.safetensors", "other.safetensors", "liver.safetensors")):
        volume, segmentation = add_patient(f"CT {number}", number)
        segmentation.SetAttribute(PREDICTED, made_by)
        cases.set_role(volume.GetID(), VALIDATION if number < 3 else "train")
        volumes.append(volume)
    ids = {f"CT-{number}": volume.GetID() for number, volume in enumerate(volumes)}
    circular = circular_references(cases.rows(), ids, "liver.safetensors")
    assert circular == ["CT-1"]
    held_out = (scores("CT-1", 0.9, 1.0),)
    assert "reference of CT 1 itself" in held_out_html(result(held_out, held_out), {"CT-1": "CT 1"}, circular)
    assert "reference" not in held_out_html(result(held_out), {"CT-1": "CT 1"}, circular)

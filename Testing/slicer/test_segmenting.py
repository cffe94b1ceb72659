"""What comes back from the engine into the scene, and out of it again, without the engine."""

from pathlib import Path
from types import SimpleNamespace

import nodes
import numpy as np
import pytest
import slicer
from nodes import LABELS, labels_in

from contrastiveseg.checkpoints.card import Provenance
from contrastiveseg.errors import InputError


@pytest.fixture
def segmented(scene, tmp_path):
    """``segmented(volumes)`` takes what the engine might have written for the volumes, after ``meanwhile()``."""
    from ContrastiveSegPanel.mrml.scene import FILE_ENDING
    from ContrastiveSegPanel.workflows.segmenting import Options, Segmenting

    def take(volumes, uncertainty=False, into=None, meanwhile=lambda: None):
        options = Options(uncertainty=uncertainty)
        card = SimpleNamespace(labels=LABELS, provenance=Provenance())
        work = Segmenting(Path("m.safetensors"), card, [[v] for v in volumes], options, into, tmp_path)
        job = work.job()
        assert job.uncompressed
        meanwhile()
        for seed, volume in enumerate(volumes):
            for folder in filter(None, (job.output, job.uncertainty)):
                Path(folder).mkdir(exist_ok=True)
                array = labels_in(seed=seed).astype(np.uint8 if folder == job.output else np.float32)
                nodes.label_file(Path(folder) / f"{volume.GetName()}{FILE_ENDING}", array)
        for _words, take_one in work.finished():
            take_one()
        assert work.finished() == []
        work.close()
        return work

    return take


def test_results_come_one_a_step_and_none_after_the_end(tmp_path):
    from ContrastiveSegPanel.mrml.scene import FILE_ENDING
    from ContrastiveSegPanel.workflows.segmenting import Options, Segmenting

    volumes = [nodes.volume(name=name) for name in ("A", "B", "C")]
    card = SimpleNamespace(labels=LABELS, provenance=Provenance())
    work = Segmenting(Path("m.safetensors"), card, [[v] for v in volumes], Options(), None, tmp_path)
    job = work.job()
    for folder, kind in ((job.output, np.uint8), (job.uncertainty, np.float32)):
        Path(folder).mkdir()
        for name in "AB":
            nodes.label_file(Path(folder) / f"{name}{FILE_ENDING}", labels_in().astype(kind))
    (first, take_first), (second, _take_second) = work.finished()
    assert ("A" in first, "B" in second) == (True, True)
    take_first()
    assert [node.GetName() for node in segmentations()] == ["A segmentation"]
    assert len(work.finished()) == 1
    work.close()
    assert work.finished() == []


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_one_that_cannot_be_undone_does_not_keep_the_others(segmented):
    volumes = [nodes.volume(name=name) for name in ("A", "B", "C")]
    work = segmented(volumes, uncertainty=True)
    assert len(segmentations()) == 3
    slicer.mrmlScene.RemoveNode(segmentations()[1])
    with pytest.raises(InputError, match="removed since") as refused:
        work.changes.undo()
    assert "\n" not in str(refused.value)
    assert segmentations() == []
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == volumes
    assert not work.changes.there


def test_corrections_are_noticed(segmented):
    volumes = [nodes.volume(name=name) for name in ("A", "B")]
    work = segmented(volumes)
    assert not work.changes.edited_since
    made = segmentations()[1]
    identifier = made.GetSegmentation().GetNthSegmentID(0)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(made, identifier, volumes[1])
    array[2:4, 2:4, 2:4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, made, identifier, volumes[1])
    assert work.changes.edited_since


def test_the_role_of_a_corrected_prediction_outlives_a_new_segmentation_of_its_volume(segmented):
    from ContrastiveSegPanel.workflows.cases import ROLE, TRAIN
    from ContrastiveSegPanel.workflows.pairing import segmentation_of

    volume = nodes.volume(name="A")
    segmented([volume])
    (corrected,) = segmentations()
    volume.SetAttribute(ROLE, TRAIN)
    segmented([volume])
    assert volume.GetAttribute(ROLE) == TRAIN
    assert segmentation_of(volume) is corrected
    segmented([volume], into=corrected)
    assert volume.GetAttribute(ROLE) is None


def test_a_role_that_waits_for_a_segmentation_does_not_take_a_prediction(segmented):
    from ContrastiveSegPanel.workflows.cases import ROLE, TRAIN

    volume = nodes.volume(name="A")
    volume.SetAttribute(ROLE, TRAIN)
    segmented([volume])
    assert volume.GetAttribute(ROLE) is None


def test_a_segmentation_that_takes_nothing_any_more_leaves_the_result_to_a_new_one(segmented):
    volume = nodes.volume(name="A")
    mine = nodes.segmentation({"Bone": labels_in() == 1}, volume, "Mine")

    def bend():
        mine.SetAndObserveTransformNodeID(nodes.transform().GetID())

    work = segmented([volume], into=mine, meanwhile=bend)
    assert [s.GetName() for s in segmentations()] == ["Mine", "A segmentation"]
    assert work.segmentation_ids == [segmentations()[1].GetID()]
    (told,) = work.diverted
    assert "another transform" in told
    work.changes.undo()
    assert segmentations() == [mine]

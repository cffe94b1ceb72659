"""DICOM SEG: what is written lies voxel by voxel on its series, and says what it is and of which images."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import seg_nrrd
from dicom_series import AXIAL, DOWNWARD, OBLIQUE, read_seg, save_multiframe, save_series
from pydicom import dcmread

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import digest
from contrastiveseg.cli import main
from contrastiveseg.descriptions import ExportJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Log
from contrastiveseg.jobs.run import run
from contrastiveseg.segmentation.dicom_seg import Model, write_dicom_seg
from contrastiveseg.segmentation.dicom_source import read_source
from contrastiveseg.segmentation.terminology import Concept, entry_of
from contrastiveseg.volumes.reading import read_geometry, read_labels, read_volume
from contrastiveseg.volumes.volume import Geometry
from contrastiveseg.volumes.writing import write_labels

pytest.importorskip("highdicom", reason="an optional dependency: contrastiveseg[dicom]")

RANDOM = np.random.default_rng(0)
ARRAY = RANDOM.integers(0, 1000, (6, 7, 8)).astype(np.uint16)
LABELS = RANDOM.choice([0, 0, 2, 300], ARRAY.shape)
LABELS[2] = 0
KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~SCT^818983003^Abdomen~SCT^24028007^Right"
)
NAMES = (Label(300, "Größe\\x", (255, 0, 0)), Label(2, "left kidney", None, KIDNEY), Label(7, "absent"))
MODEL = Model("organs", "a" * 64)


def write(path, folder, labels=LABELS):
    write_dicom_seg(path, labels, read_source(folder), NAMES, MODEL)
    return read_seg(path, read_geometry(folder)[0])


def renumbered(labels):
    """Segments are numbered in the order of the values: 2, 7, 300."""
    return np.select([labels == 2, labels == 300], [1, 3])


@pytest.mark.parametrize("axes", [AXIAL, DOWNWARD, OBLIQUE], ids=["axial", "downward", "oblique"])
def test_every_voxel_lies_where_it_lies_in_the_series(tmp_path, axes):
    folder = save_series(tmp_path / "mr", ARRAY, axes)
    _, read = write(tmp_path / "seg.dcm", folder)
    np.testing.assert_array_equal(read, renumbered(LABELS))
    assert [p.name for p in tmp_path.iterdir() if p.name != "mr"] == ["seg.dcm"]


def test_frames_of_one_file_in_any_order(tmp_path):
    folder = save_multiframe(tmp_path / "mr", ARRAY, [3, 0, 5, 1, 4, 2])
    np.testing.assert_array_equal(read_volume(folder).array[0], ARRAY)
    ds, read = write(tmp_path / "seg.dcm", folder)
    np.testing.assert_array_equal(read, renumbered(LABELS))
    frame = ds.PerFrameFunctionalGroupsSequence[0]
    assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber in range(1, 7)


def test_highdicom_reads_the_same(tmp_path):
    from highdicom.seg import segread

    folder = save_series(tmp_path / "mr", ARRAY, OBLIQUE)
    write(tmp_path / "seg.dcm", folder)
    volume = segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    # Its volumes run against the slices' normal.
    np.testing.assert_array_equal(volume.array[::-1], renumbered(LABELS))


def test_an_empty_label_map_is_written_too(tmp_path):
    folder = save_series(tmp_path / "mr", ARRAY)
    ds, read = write(tmp_path / "seg.dcm", folder, np.zeros_like(LABELS))
    assert not read.any()
    assert len(ds.SegmentSequence) == 3


def test_more_labels_than_a_byte_counts(tmp_path):
    folder = save_series(tmp_path / "mr", ARRAY, AXIAL)
    labels = np.where(LABELS == 300, 260, 0)
    write_dicom_seg(tmp_path / "seg.dcm", labels, read_source(folder), [Label(n, str(n)) for n in range(1, 261)], MODEL)
    _, read = read_seg(tmp_path / "seg.dcm", read_geometry(folder)[0])
    np.testing.assert_array_equal(read, labels)


def test_it_says_what_it_is_and_of_which_images(tmp_path):
    def of_a_clinic(z, ds):
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 100", "Müller^Jörg"

    folder = save_series(tmp_path / "mr", ARRAY, change=of_a_clinic)
    ds, _ = write(tmp_path / "seg.dcm", folder)
    slices = [dcmread(file) for file in folder.iterdir()]
    assert (ds.Modality, ds.SegmentationType, str(ds.PatientName)) == ("SEG", "BINARY", "Müller^Jörg")
    assert (ds.StudyInstanceUID, ds.FrameOfReferenceUID, ds.SeriesNumber) == ("1.2.3", "1.2.3.5", 1003)
    assert ds.SeriesInstanceUID not in ("1.2.3.4", "")
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.4"
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == {s.SOPInstanceUID for s in slices}
    kidney, absent, other = ds.SegmentSequence
    assert [s.SegmentLabel for s in ds.SegmentSequence] == ["left kidney", "absent", "Größe x"]
    assert {s.SegmentAlgorithmType for s in ds.SegmentSequence} == {"AUTOMATIC"}
    (algorithm,) = other.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("organs", "a" * 64)
    (kind,), (region,) = kidney.SegmentedPropertyTypeCodeSequence, kidney.AnatomicRegionSequence
    assert (kind.CodeValue, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == ("64033007", "Left")
    assert (region.CodeMeaning, region.AnatomicRegionModifierSequence[0].CodeMeaning) == ("Abdomen", "Right")
    assert absent.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert "RecommendedDisplayCIELabValue" in other
    by_position = {tuple(s.ImagePositionPatient): s.SOPInstanceUID for s in slices}
    for frame in ds.PerFrameFunctionalGroupsSequence:
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == by_position[tuple(frame.PlanePositionSequence[0].ImagePositionPatient)]


@pytest.mark.parametrize("name", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_a_series_that_cannot_be_referred_to_is_refused(tmp_path, name):
    folder = save_series(tmp_path / "mr", ARRAY, change=lambda z, ds: z == 4 and delattr(ds, name))
    with pytest.raises(InputError, match=rf"2\.dcm has no {name}"):
        read_source(folder)


def test_headers_that_anonymizers_left_out_are_empty(tmp_path):
    def anonymous(z, ds):
        del ds.PatientName, ds.PatientID

    ds, _ = write(tmp_path / "seg.dcm", save_series(tmp_path / "mr", ARRAY, change=anonymous))
    assert str(ds.PatientName) == ds.PatientID == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (KIDNEY, Concept("SCT", "64033007", "Kidney")),
        ("list~SCT^1^A~SCT^2^B", Concept("SCT", "2", "B")),
        ("mine~SCT^1^A~99X^a code that is too long^B~^^~~^^~^^", None),
        ("mine~SCT^1^A~SCT^2^two\\values~^^~~^^~^^", None),
        ("mine~SCT^1^A~^^~^^~~^^~^^", None),
        ("Tissue", None),
        (None, None),
    ],
)
def test_slicers_entries_are_read_or_none(text, says):
    entry = entry_of(text)
    assert (entry and entry.type) == says


@pytest.fixture
def model(segmenter, tmp_path):
    """The segmenter, of whose labels two have codes."""
    card, weights = load(segmenter)
    labels = tuple(replace(one, terminology=KIDNEY if one.value < 3 else None) for one in card.labels)
    path = tmp_path / "organs.safetensors"
    save(path, weights, replace(card, labels=labels))
    return path


@pytest.fixture
def series(image, tmp_path):
    """A volume that the segmenter knows, as two patients' series."""
    volume = read_volume(image)
    array = volume.array[0] - volume.array.min()
    array = np.round(900 * (array / array.max()))
    save_series(tmp_path / "scans" / "a", array, OBLIQUE, spacing=volume.geometry.spacing)
    save_series(tmp_path / "scans" / "b", array[::-1], DOWNWARD, spacing=volume.geometry.spacing)
    return tmp_path / "scans"


def test_segment_writes_what_it_writes_as_label_map(model, series, tmp_path):
    said: list = []
    same = {"checkpoint": str(model), "precision": "32", "threads": 1}
    run(SegmentJob(input=(str(series / "a"),), output=str(tmp_path / "a.nii.gz"), **same))
    run(SegmentJob(input=(str(series / "a"),), output=str(tmp_path / "a.dcm"), **same), said.append)
    geometry, _ = read_geometry(series / "a")
    labels = read_labels(tmp_path / "a.nii.gz", geometry).array
    ds, read = read_seg(tmp_path / "a.dcm", geometry)
    assert len(np.unique(labels)) == 4
    np.testing.assert_array_equal(read, labels)
    (algorithm,) = ds.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("organs", digest(model))
    told = [event.text for event in said if isinstance(event, Log)]
    assert [text for text in told if "No code is known for" in text] == [
        f"No code is known for {load(model)[0].labels[2].name}: written as tissue, with the name."
    ]


def test_a_batch_of_series_goes_on_where_it_stopped(model, series, tmp_path, capsys):
    words = ["segment", "--checkpoint", str(model), "--input", str(series), "--output", str(tmp_path / "out")]
    words += ["--dicom-seg", "--precision", "32", "--json"]
    assert main(words) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(first) == {"a.dcm", "b.dcm"}
    (tmp_path / "out" / "b.dcm").unlink()
    capsys.readouterr()
    assert main([*words, "--continue"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["value"]
    assert [result["kept"], result["written"]] == [[str(tmp_path / "out" / f"{name}.dcm")] for name in "ab"]
    assert (tmp_path / "out" / "a.dcm").read_bytes() == first["a.dcm"]
    # How far each is from the training is read from the file that stayed.
    assert set(result["distances"]) == {"a", "b"}
    assert all(distance > 0 for distance in result["distances"].values())


def test_what_cannot_be_a_dicom_seg_is_refused_before_segmenting(model, series, image, tmp_path, monkeypatch):
    same = {"checkpoint": str(model)}
    for more, says in (
        ({"input": (str(image),), "output": "a.dcm"}, "refers to a DICOM series, and .* is a file"),
        ({"input": (str(series),), "output": "a.dcm"}, "2 inputs cannot go into one file"),
        ({"input": (str(series),), "output": "a.nii.gz", "dicom_seg": True}, "--dicom-seg writes .dcm files"),
        ({"input": (str(series / "a"),), "output": str(series / "a" / "s.dcm")}, "among the images of its series"),
    ):
        with pytest.raises(InputError, match=says):
            run(SegmentJob(**same, **more))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r'pip install "contrastiveseg\[dicom\]"'):
        run(SegmentJob(**same, input=(str(series / "a"),), output="a.dcm"))


def exported(known, folder, tmp_path, **more):
    job = {
        "segmentation": str(tmp_path / "labels.nii.gz"),
        "series": str(folder / "a"),
        "checkpoint": str(known),
        "output": str(tmp_path / "seg.dcm"),
        **more,
    }
    run(ExportJob(**job))
    return read_seg(tmp_path / "seg.dcm", read_geometry(folder / "a")[0])[1]


def test_a_label_map_is_exported_however_its_axes_run(model, series, tmp_path):
    geometry, _ = read_geometry(series / "a")
    labels = RANDOM.integers(0, 4, geometry.shape).astype(np.uint8)
    direction = np.reshape(geometry.direction, (3, 3)) * (-1, 1, 1)
    x, _, _ = geometry.size
    far = geometry.position((0, 0, x - 1))
    flipped = Geometry(geometry.size, geometry.spacing, far, tuple(direction.ravel().tolist()))
    write_labels(tmp_path / "labels.nii.gz", np.ascontiguousarray(labels[:, :, ::-1]), flipped)
    np.testing.assert_array_equal(exported(model, series, tmp_path), labels)
    with pytest.raises(InputError, match="exists already"):
        exported(model, series, tmp_path)


def test_segments_are_known_by_their_names(model, series, tmp_path):
    geometry, _ = read_geometry(series / "a")
    names = [label.name for label in load(model)[0].labels]
    labels = RANDOM.integers(0, 4, geometry.shape).astype(np.uint8)
    directions = seg_nrrd.directions(geometry)
    segments = [(names[2], 0, 1), (names[0], 0, 2), (names[1], 0, 3)]
    path = seg_nrrd.write(tmp_path / "s.seg.nrrd", [labels], segments, geometry.origin, directions=directions)
    read = exported(model, series, tmp_path, segmentation=str(path))
    np.testing.assert_array_equal(read, np.array([0, 3, 1, 2])[labels])


def test_a_value_that_no_segment_has_is_not_taken_for_the_structure_of_its_number(model, series, tmp_path):
    geometry, _ = read_geometry(series / "a")
    name = load(model)[0].labels[0].name
    labels = RANDOM.integers(0, 3, geometry.shape).astype(np.uint8)
    same = (geometry.origin, geometry.spacing, seg_nrrd.directions(geometry))
    path = seg_nrrd.write(tmp_path / "s.seg.nrrd", [labels], [(name, 0, 1)], *same)
    with pytest.raises(InputError, match=r"belong to none of its segments .*, the first with the value 2"):
        exported(model, series, tmp_path, segmentation=str(path))
    assert not list(tmp_path.glob("*.dcm"))


def test_a_label_map_that_does_not_fit_is_refused_and_nothing_is_written(model, pretrained, series, tmp_path):
    geometry, _ = read_geometry(series / "a")
    labels = np.full(geometry.shape, 9, np.uint8)
    write_labels(tmp_path / "labels.nii.gz", labels, geometry)
    shifted = replace(geometry, origin=(0.0, 0.0, 0.0))
    write_labels(tmp_path / "other.nii.gz", labels, shifted)
    for more, says in (
        ({}, "holds the values 9, which the checkpoint does not know"),
        ({"segmentation": str(tmp_path / "other.nii.gz")}, "not on the grid of its image: origin|mm apart"),
        ({"checkpoint": str(pretrained)}, "only pre-trained"),
        ({"output": str(tmp_path / "seg.nii.gz")}, r"ends in \.dcm"),
        ({"series": str(model)}, "no folder with a DICOM series"),
    ):
        with pytest.raises(InputError, match=says):
            exported(model, series, tmp_path, **more)
    assert not list(tmp_path.glob("*seg*"))

"""Slicer's segmentation files: layers become one label map, cropped ones lie where they belong, names are read."""

import numpy as np
import pytest
from seg_nrrd import IMAGE, layer, write

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.reading import read_labels
from contrastiveseg.volumes.segments import Segment, segments_of


def test_segments_by_name(tmp_path):
    path = write(tmp_path / "a.seg.nrrd", [layer((0, 0, 0), value=4)], [("Leber, groß", 0, 4), ("Milz", 0, 2)])
    assert segments_of(path) == (Segment("Leber, groß", 0, 4, 4), Segment("Milz", 0, 2, 2))
    assert segments_of(path.rename(tmp_path / "a.nrrd"))[1].name == "Milz"
    assert segments_of(tmp_path / "a.nii.gz") == ()


@pytest.mark.parametrize("segments", [[("kidney", 0, 1), ("tumor", 1, 1)], [("kidney", None, 0), ("tumor", None, 0)]])
def test_layers_that_do_not_overlap_become_one_label_map(tmp_path, segments):
    layers = [layer((0, 0, 0)), layer((1, 2, 3))]
    labels = read_labels(write(tmp_path / "a.seg.nrrd", layers, segments), IMAGE).array
    assert (labels[0, 0, 0], labels[1, 2, 3], np.count_nonzero(labels)) == (1, 2, 2)


def test_values_that_differ_between_layers_stay(tmp_path):
    layers = [layer((0, 0, 0), value=7), layer((1, 2, 3), value=3)]
    labels = read_labels(write(tmp_path / "a.seg.nrrd", layers, [("kidney", 0, 7), ("tumor", 1, 3)])).array
    assert (labels[0, 0, 0], labels[1, 2, 3]) == (7, 3)


def test_segments_that_overlap_are_refused_by_name(tmp_path):
    layers = [layer((0, 0, 0), (0, 0, 1), value=5), layer((0, 0, 1), (0, 0, 2), value=5)]
    with pytest.raises(InputError, match=r"'tumor' overlaps 'kidney' in 1 voxels.*Overwrite all"):
        read_labels(write(tmp_path / "a.seg.nrrd", layers, [("kidney", 0, 5), ("tumor", 1, 5)]))


def test_layers_that_their_segments_do_not_explain_are_refused(tmp_path):
    layers = [layer((0, 0, 0)), layer((1, 2, 3), value=9)]
    with pytest.raises(InputError, match=r"labeled voxels that belong to none of its segments \(1, the first"):
        read_labels(write(tmp_path / "a.seg.nrrd", layers, [("kidney", 0, 1), ("tumor", 1, 2)]))
    with pytest.raises(InputError, match="no layer 3, where segment 'tumor' is"):
        read_labels(write(tmp_path / "b.seg.nrrd", layers, [("kidney", 0, 1), ("tumor", 3, 2)]))
    with pytest.raises(InputError, match="segment 'kidney' is not a number"):
        segments_of(write(tmp_path / "c.seg.nrrd", layers, [("kidney", 0, "one")]))
    for value in (-128, 0, 65536):
        with pytest.raises(InputError, match=f"segment 'kidney' has the value {value} in layer 0"):
            segments_of(write(tmp_path / "d.seg.nrrd", layers, [("kidney", 0, value)]))


def test_a_cropped_segmentation_lies_on_its_image(tmp_path):
    part = layer((0, 0, 0), (1, 1, 2), shape=(2, 2, 3))
    path = write(tmp_path / "a.seg.nrrd", [part], [("kidney", 0, 1)], origin=(12.0, 26.0, 36.0))
    labels = read_labels(path, IMAGE)
    assert labels.geometry == IMAGE
    assert np.argwhere(labels.array).tolist() == [[2, 3, 1], [3, 4, 3]]


def test_a_cropped_segmentation_stored_along_other_axes(tmp_path):
    """Stored x runs along z, stored z against x: voxel (z, y, x) of the file lies at (1 + x, 1 + y, 3 - z)."""
    part = layer((0, 0, 0), (2, 1, 1), shape=(3, 2, 2))
    directions = ["(0,0,3)", "(0,2,0)", "(-2,0,0)"]
    path = write(tmp_path / "a.seg.nrrd", [part], [("k", 0, 1)], origin=(16.0, 22.0, 33.0), directions=directions)
    assert np.argwhere(read_labels(path, IMAGE).array).tolist() == [[1, 1, 3], [2, 2, 1]]


def test_a_segmentation_larger_than_its_image_is_cut_where_it_is_empty(tmp_path):
    larger = layer((1, 0, 0), shape=(6, 5, 6))
    path = write(tmp_path / "a.seg.nrrd", [larger], [("kidney", 0, 1)], origin=(10.0, 20.0, 27.0))
    assert np.argwhere(read_labels(path, IMAGE).array).tolist() == [[0, 0, 0]]
    larger[5, 4, 5] = 1
    path = write(tmp_path / "a.seg.nrrd", [larger], [("kidney", 0, 1)], origin=(10.0, 20.0, 27.0))
    with pytest.raises(InputError, match="1 labeled voxels beyond its image"):
        read_labels(path, IMAGE)


@pytest.mark.parametrize(
    ("origin", "spacing", "words"),
    [
        ((13.0, 26.0, 36.0), IMAGE.spacing, "is cropped, and its voxels lie 0.5 voxels beside"),
        ((12.0, 26.0, 36.0), (1.0, 1.0, 3.0), "not on the grid of its image: size .* spacing"),
        ((12.0, 26.0, 36.0), (2.1, 2.0, 3.0), "not on the grid of its image: size .* spacing"),
    ],
)
def test_a_cropped_segmentation_on_another_grid_is_refused(tmp_path, origin, spacing, words):
    part = layer((0, 0, 0), shape=(2, 2, 3))
    with pytest.raises(InputError, match=words):
        read_labels(write(tmp_path / "a.seg.nrrd", [part], [("k", 0, 1)], origin, spacing), IMAGE)


def test_labeled_voxels_without_a_segment_are_refused(tmp_path):
    """In a single layer too: their structure has no name, and its number may be another one's."""
    path = write(tmp_path / "a.seg.nrrd", [layer((1, 1, 1)) + layer((2, 2, 2), value=2)], [("liver", 0, 1)])
    with pytest.raises(InputError, match=r"labeled voxels that belong to none of its segments \(1, the first"):
        read_labels(path)

"""Training and segmenting prepare a volume alike, whatever way it was stored."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contrastiveseg.checkpoints.card import Card, Label
from contrastiveseg.data.cache import preprocess
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.data.preprocessor import Preprocessor
from contrastiveseg.errors import InputError
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.volumes.dataset import CaseFiles
from contrastiveseg.volumes.reading import read_volume
from contrastiveseg.volumes.volume import Geometry, LabelMap, Volume
from contrastiveseg.volumes.writing import write_labels, write_maps

#: Stored sagittal, front to back reversed: x runs down, y to the left, z to the back.
SAGITTAL = (0, 1, 0, 0, 0, -1, -1, 0, 0)
AXIAL = (1, 0, 0, 0, 1, 0, 0, 0, 1)
#: Turned by 20 degrees about the head-foot axis.
OBLIQUE = (*(c := np.cos(np.pi / 9), -(s := np.sin(np.pi / 9)), 0), s, c, 0, 0, 0, 1)


def plan(dimensions: int) -> Plan:
    window = Normalization("window", -100.0, 250.0, 30.0, 80.0)
    patch = (8, 16, 16) if dimensions == 3 else (1, 16, 16)
    return Plan(dimensions, (Channel("CT", "CT", window),), (3.0, 1.5, 1.5), patch, 0)


def geometry(direction: tuple[float, ...] = AXIAL, size: tuple[int, int, int] = (22, 26, 9)) -> Geometry:
    return Geometry(size, (1.0, 1.2, 4.0), (-7.0, 11.0, 3.0), direction)


def predictor(dimensions: int) -> Predictor:
    spec = NetworkSpec("unet", dimensions, 1, {"widths": [4, 8], "strides": [[2] * dimensions]})
    network = Segmenter(build(spec), 2)
    card = Card("segmenter", "supervised", spec, plan(dimensions), {}, (Label(1, "organ"),))
    return Predictor(card, network, torch.device("cpu"), None)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
def test_training_and_segmenting_see_the_same_image(tmp_path, direction, dimensions):
    grid = geometry(direction)
    array = np.random.default_rng(0).normal(30, 120, grid.shape).astype(np.float32)
    labels = (array > 100).astype(np.uint8)
    case = CaseFiles("case", (tmp_path / "case.nii.gz",), tmp_path / "labels.nii.gz")
    write_maps(case.images[0], array, grid)
    write_labels(case.labels, labels, grid)
    cached = preprocess([case], plan(dimensions), tmp_path / "cache")
    source = CachedVolumes(tmp_path / "cache", cached, [1])
    prepared = predictor(dimensions).prepare(read_volume(case.images[0]))
    assert source.shape(0) == tuple(prepared.shape[1:])
    crop = source.crop(0, (0, 0, 0), source.shape(0))
    # The cache stores half precision.
    np.testing.assert_array_equal(crop, prepared.numpy().astype(np.float16).astype(np.float32))
    bright = source.label_crop(0, (0, 0, 0), source.shape(0)) == 1
    assert crop[0][bright].mean() > crop[0][~bright].mean() + 0.5


def test_slices_keep_their_distance_in_2d():
    flat = Plan(2, (Channel(),), (5.0, 1.0, 1.0), (1, 16, 16), slice_axis=0)
    thick = Geometry((20, 20, 7), (2.0, 2.0, 9.0), (0, 0, 0), AXIAL)
    assert Preprocessor(flat).working_shape(thick) == (7, 40, 40)
    assert Preprocessor(replace(flat, dimensions=3)).working_shape(thick) == (13, 40, 40)


def test_the_working_shape_is_canonical():
    stored = replace(geometry(SAGITTAL), size=(10, 20, 30), spacing=(3.0, 1.5, 1.5))
    assert Preprocessor(plan(3)).working_shape(stored) == (10, 30, 20)


def test_labels_take_the_grid_of_their_image():
    grid, random = geometry(SAGITTAL), np.random.default_rng(0)
    volume = Volume(random.normal(0, 1, (1, *grid.shape)), grid)
    # Rounded by another tool, as reading allows: the image's grid decides.
    rounded = replace(grid, spacing=(1.0004, 1.2, 4.0))
    labels = Preprocessor(plan(3)).labels(LabelMap(random.integers(0, 3, grid.shape, np.uint8), rounded), grid)
    assert labels.shape == Preprocessor(plan(3)).image(volume).shape[1:]


def test_voxel_sizes_of_another_unit_do_not_fill_the_memory():
    micrometers = replace(geometry(), spacing=(2000.0, 2000.0, 3000.0))
    volume = Volume(np.zeros((1, 9, 26, 22), np.float32), micrometers)
    with pytest.raises(InputError, match=r"voxels of 2e\+03 x 2e\+03 x 3e\+03 mm, .* Correct the voxel sizes"):
        Preprocessor(plan(3)).image(volume)


def test_another_number_of_channels_is_refused():
    grid = geometry()
    with pytest.raises(InputError, match="takes 1 channel"):
        Preprocessor(plan(3)).image(Volume(np.zeros((2, *grid.shape), np.float32), grid))

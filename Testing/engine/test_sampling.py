"""Drawing of training patches: where they lie, and that every class is seen."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from contrastiveseg.data.batch import Batch
from contrastiveseg.data.sampling import crop_start, draw_patches, network_axes, position
from contrastiveseg.planning.plan import Channel, Plan

SHAPE = (12, 40, 40)


class Source:
    """Two volumes filled with their index; class 1 is large, 2 small, 3 occurs in the second only."""

    def __init__(self, labeled: bool = True) -> None:
        self.labels = [np.zeros(SHAPE, np.uint8) for _ in range(2)]
        if labeled:
            for volume in self.labels:
                volume[:, 5:35, 5:35] = 1
                volume[6, 20, 20] = 2
            self.labels[1][1, 1, 1] = 3

    labeled, unlabeled = (0, 1), ()

    def __len__(self) -> int:
        return 2

    def shape(self, case):
        return SHAPE

    def data_set(self, case):
        return case

    def box(self, case):
        return ((0, 12), (0, 40), (0, 40))

    def crop(self, case, start, size):
        return np.full((1, *size), case, np.float32)

    def label_crop(self, case, start, size):
        padded = np.pad(self.labels[case], 40)
        return padded[tuple(slice(40 + s, 40 + s + n) for s, n in zip(start, size, strict=True))]

    def foreground_voxels(self, case):
        where = np.argwhere(self.labels[case])
        return np.concatenate([self.labels[case][tuple(where.T)][:, None], where], 1).astype(np.int32)

    def labeled_voxels(self, case):
        return None

    def missing(self, case):
        return None


def centers(batches: int, foreground: float) -> Counter:
    """How often each class lies under the middle voxel of a crop of (1, 1, 1)."""
    random, source = np.random.default_rng(0), Source()
    drawn: Counter = Counter()
    for _ in range(batches):
        batch = draw_patches(source, (1, 1, 1), 4, foreground, random)
        drawn.update(batch.labels.flatten().tolist())
    return drawn


def test_every_class_is_drawn_however_small_or_rare():
    drawn = centers(300, 1.0)
    assert drawn[0] == 0
    # Half of the crops see a volume with two classes, half one with three.
    expected = {1: 1200 * (1 / 4 + 1 / 6), 2: 1200 * (1 / 4 + 1 / 6), 3: 1200 / 6}
    for value, count in expected.items():
        assert drawn[value] == pytest.approx(count, rel=0.2)


def test_the_rest_is_drawn_anywhere():
    drawn = centers(300, 0.5)
    inside = 30 * 30 / (40 * 40)
    assert drawn[0] == pytest.approx(600 * (1 - inside), rel=0.2)
    assert drawn[2] > 200


def test_an_unlabeled_case_is_drawn_all_the_same():
    batch = draw_patches(Source(labeled=False), (4, 8, 8), 4, 1.0, np.random.default_rng(0))
    assert batch.labels.max() == 0
    assert sorted(batch.cases.tolist()) == [0, 0, 1, 1]


def test_volumes_to_draw_from_may_be_named():
    batch = draw_patches(Source(), (4, 8, 8), 3, 0.5, np.random.default_rng(0), [1])
    assert batch.cases.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="no such volume"):
        draw_patches(Source(), (4, 8, 8), 3, 0.5, np.random.default_rng(0), [])


def test_batches_joined():
    random = np.random.default_rng(0)
    one, two = (draw_patches(Source(), (4, 8, 8), n, 0.5, random, [c]) for n, c in ((2, 0), (1, 1)))
    both = Batch.joined([one, two])
    assert both.cases.tolist() == [0, 0, 1]
    for name in ("images", "labels", "positions", "extents", "data_sets"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(two, name)])), name
    assert Batch.joined([one, replace(two, labels=None)]).labels is None


def test_shapes_types_and_pairing():
    batch = draw_patches(Source(), (4, 8, 10), 3, 0.5, np.random.default_rng(1))
    assert (batch.images.shape, batch.images.dtype) == ((3, 1, 4, 8, 10), torch.float32)
    assert (batch.labels.shape, batch.labels.dtype) == ((3, 4, 8, 10), torch.int64)
    assert batch.positions.dtype == torch.float32
    assert batch.positions.shape == batch.extents.shape == (3, 3)
    assert 0 <= batch.positions.min() <= batch.positions.max() <= 1
    assert (batch.data_sets.tolist(), batch.data_sets.dtype) == (batch.cases.tolist(), torch.int64)
    assert batch.images[:, 0, 0, 0, 0].tolist() == batch.cases.tolist()
    assert set(batch.cases.tolist()) == {0, 1}


def test_the_seed_decides():
    one, same, other = (draw_patches(Source(), (4, 8, 8), 4, 0.5, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one.labels, same.labels)
    assert torch.equal(one.positions, same.positions)
    assert not torch.equal(one.positions, other.positions)


@pytest.mark.parametrize(
    ("center", "size", "start"),
    [
        ((6, 20, 20), (4, 8, 8), (4, 16, 16)),
        ((0, 0, 0), (4, 8, 8), (0, 0, 0)),
        ((11, 39, 39), (4, 8, 8), (8, 32, 32)),
        ((6, 20, 20), (12, 40, 40), (0, 0, 0)),
        ((0, 39, 20), (16, 44, 41), (-2, -2, 0)),
    ],
)
def test_crops_stay_inside_where_they_can(center, size, start):
    assert crop_start(center, size, SHAPE) == start


def test_position_in_the_body():
    box = ((2, 12), (0, 40), (10, 30))
    assert position((2, 0, 10), (0, 0, 0), box) == (0, 0, 0)
    assert position((5, 10, 16), (4, 20, 8), box) == pytest.approx((0.5, 0.5, 0.5))
    assert position((-9, 50, 0), (2, 2, 60), box) == (0, 1, 1)
    assert position((3, 3, 3), (2, 2, 2), ((4, 4), (0, 8), (0, 8)))[0] == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_axis_is_taken_out(axis):
    size = [6, 6, 6]
    size[axis] = 1
    plan = Plan(2, (Channel(),), (1, 1, 1), tuple(size), axis)
    batch = draw_patches(Source(), size, 2, 0.5, np.random.default_rng(0))
    flat = network_axes(batch, plan)
    assert (flat.images.shape, flat.labels.shape) == ((2, 1, 6, 6), (2, 6, 6))
    assert torch.equal(flat.labels, batch.labels.reshape(2, 6, 6))
    assert network_axes(batch, Plan(3, plan.channels, plan.spacing, plan.patch)) is batch

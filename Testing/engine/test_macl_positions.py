"""MACL's positions: which crops and cells are positives of one another, in volumes and in slices."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_macl import SMALL, at, made, plan, public_network

from contrastiveseg.contrast.positions import paired_positions
from contrastiveseg.methods.macl import MACL, cell_positions
from contrastiveseg.networks.registry import build


class Arrays:
    """A patch source over arrays; ``border`` voxels around each box are not foreground."""

    def __init__(self, *shapes: tuple[int, int, int], border: int = 0, data_sets: tuple[int, ...] = ()) -> None:
        self.arrays = [np.arange(np.prod(s), dtype=np.float32).reshape(s) for s in shapes]
        self.border, self.data_sets = border, data_sets or (0,) * len(shapes)

    def __len__(self):
        return len(self.arrays)

    def shape(self, case):
        return self.arrays[case].shape

    def data_set(self, case):
        return self.data_sets[case]

    def box(self, case):
        return tuple((self.border, n - self.border) for n in self.shape(case))

    def crop(self, case, start, size):
        array = np.pad(self.arrays[case], 32, constant_values=-1)
        return array[tuple(slice(s + 32, s + 32 + n) for s, n in zip(start, size, strict=True))][None]


def test_groups_share_a_position_across_volumes():
    source, random = Arrays((64, 80, 72), (70, 64, 90), (60, 90, 64), border=4), np.random.default_rng(0)
    for _ in range(50):
        crops = paired_positions(source, plan(32, 32, 32), "center3d", 2, 2, 0.2, random)
        where = np.array([crop.position for crop in crops])
        assert crops[0].case != crops[1].case
        assert crops[2].case != crops[3].case
        # Jitter is at most a quarter of the threshold each; starts are rounded to voxels of boxes of 52 or more.
        assert np.abs(where[0] - where[1]).max() < 0.1 + 2 * 0.5 / 52
        assert np.abs(where[0] - where[2]).max() > 0.2 - 0.1 - 2 * 0.5 / 52
        for crop in crops:
            size = np.subtract(source.shape(crop.case), 8)
            assert (np.array(crop.start) >= 4).all()
            assert (np.array(crop.start) + 32 <= size + 4).all()
            np.testing.assert_allclose(crop.position, (np.array(crop.start) + 16 - 4) / size)


def test_positions_are_shared_within_a_data_set_only():
    source = Arrays((64, 64, 64), (64, 64, 64), (64, 64, 64), (64, 64, 64), data_sets=(0, 0, 1, 1))
    random, seen = np.random.default_rng(0), set()
    for _ in range(20):
        crops = paired_positions(source, plan(16, 16, 16), "center3d", 2, 2, 0.1, random)
        sets = np.array([source.data_set(crop.case) for crop in crops])
        assert [crop.data_set for crop in crops] == sets.tolist()
        assert sets[0] == sets[1]
        assert sets[2] == sets[3]
        seen.add((int(sets[0]), int(sets[2])))
    assert len(seen) == 4


def test_one_volume_gives_more_groups_instead_of_pairs():
    crops = paired_positions(Arrays((64, 64, 64)), plan(16, 16, 16), "center3d", 2, 2, 0.1, np.random.default_rng(0))
    assert len(crops) == 4
    where = np.array([crop.position for crop in crops])
    assert np.abs(where[:, None] - where[None]).max(-1)[~np.eye(4, dtype=bool)].min() > 0.05


def test_a_data_set_of_one_volume_leaves_the_others_their_pairs():
    source, random = Arrays(*[(64, 64, 64)] * 5, data_sets=(0, 1, 1, 1, 1)), np.random.default_rng(0)
    for groups, per_group in ((2, 2), (1, 3), (3, 3)):
        paired = 0
        for _ in range(20):
            crops = paired_positions(source, plan(16, 16, 16), "center3d", groups, per_group, 0.1, random)
            assert len(crops) == groups * per_group
            where = np.array([crop.position for crop in crops])
            near = np.abs(where[:, None] - where[None]).max(-1) < 0.1
            other = np.array([[a.case != b.case for a in crops] for b in crops])
            paired += (near & other).any()
        assert paired > 15


def test_a_box_smaller_than_the_patch_is_centered():
    crops = paired_positions(Arrays((20, 64, 64)), plan(32, 32, 32), "center3d", 2, 1, 0.1, np.random.default_rng(0))
    assert {crop.start[0] for crop in crops} == {-6}
    assert {crop.position[0] for crop in crops} == {0.5}


def test_slices_get_the_published_position_and_meet_positives():
    macl = MACL(build(public_network(4, 3)), plan(1, 32, 32, dimensions=2), replace(SMALL, groups=4, margin=1.2))
    source, random = Arrays((40, 32, 32), (50, 32, 32)), np.random.default_rng(0)
    batch = macl.draw(source, random)
    assert batch.images.shape == (8, 1, 40, 40)
    assert batch.positions.shape == (8, 3)
    for image, position, case in zip(batch.images, batch.positions, batch.cases, strict=True):
        n = source.shape(int(case))[0]
        index = round(float(position[0]) * n - 1)
        np.testing.assert_array_equal(image[0, 4:-4, 4:-4].numpy(), source.arrays[int(case)][index])
    near = torch.cdist(batch.positions[:, :1], batch.positions[:, :1], p=torch.inf) < macl.settings.threshold
    assert (near.sum(1) > 1).all()


def test_drawn_crops_train_from_one_volume_and_are_reproducible():
    macl = made(3, replace(SMALL, margin=1.15))
    drawn = [macl.draw(Arrays((40, 60, 40)), np.random.default_rng(7)) for _ in range(2)]
    assert torch.equal(drawn[0].images, drawn[1].images)
    assert drawn[0].images.shape == (4, 1, 38, 56, 38)
    assert torch.isfinite(macl.step(drawn[0])["loss"])


def test_positions_of_cells():
    batch = at(torch.zeros(2, 1, 4, 4, 4), torch.tensor([[0.25], [0.75]]))
    batch = replace(batch, data_sets=torch.tensor([0, 1]))
    positions, data_sets = cell_positions(batch, (2, 1, 1), plan(32, 32, 32))
    expected = [[0.125, 0.5, 0.5], [0.375, 0.5, 0.5], [0.625, 0.5, 0.5], [0.875, 0.5, 0.5]]
    torch.testing.assert_close(positions, torch.tensor(expected))
    assert data_sets.tolist() == [0, 0, 1, 1]
    flat, _ = cell_positions(batch, (1, 2), plan(1, 32, 32, dimensions=2))
    torch.testing.assert_close(flat[:2], torch.tensor([[0.25, 0.5, 0.375], [0.25, 0.5, 0.625]]))


@pytest.mark.parametrize("dense", ["crop", "cell"])
def test_crops_of_different_data_sets_do_not_attract(dense):
    torch.manual_seed(0)
    macl = made(3, replace(SMALL, dense=dense)).eval()
    joint = at(torch.randn(4, 1, 40, 56, 40), torch.full((4, 1), 0.5))
    losses = []
    for batch in (joint, replace(joint, data_sets=torch.arange(4))):
        torch.manual_seed(0)
        losses.append(macl.step(batch))
    for name in ("global", "dense"):
        assert not torch.isclose(losses[0][name], losses[1][name], rtol=1e-3), name


def test_dense_loss_over_cells_tells_the_cells_of_one_crop_apart():
    # Crops that all lie at the same position: as published there are only positives, cell by cell there are negatives.
    torch.manual_seed(0)
    published, by_cell = (made(3, replace(SMALL, dense=dense)) for dense in ("crop", "cell"))
    batch = at(torch.randn(4, 1, 40, 56, 40), torch.full((4, 1), 0.5))
    # At best all features are equal: the loss is then the logarithm of the rows an anchor is compared with.
    with torch.no_grad():
        for part in (*published.pixels.parameters(), *published.backbone.parameters()):
            part.zero_()
    by_cell.load_state_dict(published.state_dict())
    assert float(published.step(batch)["dense"]) == pytest.approx(math.log(2 * 4 - 1), abs=1e-4)
    assert float(by_cell.step(batch)["dense"]) == pytest.approx(math.log(2 * 4 * 4 * 6 * 4 - 1), abs=1e-4)

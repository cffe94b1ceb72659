"""Drawing voxels: one from each stratum, features found where they lie, near ones kept apart (CVRL T9)."""

import pytest
import torch

from contrastiveseg.contrast.voxels import apart, cell_features, strata, stratified_voxels, voxel_features

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [
        ((112, 112, 80), 256, (8, 8, 4)),
        ((256, 256), 256, (16, 16)),
        ((80, 112, 112), 256, (4, 8, 8)),
        ((32, 48, 32), 256, (8, 8, 4)),
        ((4, 4, 4), 999, (4, 4, 4)),
        ((8, 8), 5, (2, 2)),
        ((8, 8), 1, (1, 1)),
    ],
)
def test_strata(shape, count, expected):
    assert strata(shape, count) == expected


def test_one_voxel_from_each_stratum():
    torch.manual_seed(0)
    voxels = stratified_voxels((6, 8, 10), (3, 4, 2), 5, CPU)
    assert voxels.shape == (5, 24, 3)
    stratum = voxels // torch.tensor([2, 2, 5])
    expected = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(2))
    assert torch.equal(stratum, expected.expand(5, 24, 3))
    assert not torch.equal(voxels[0], voxels[1])
    assert len(torch.unique(stratified_voxels((4, 4), (1, 1), 500, CPU)[:, 0], dim=0)) == 16


def test_features_are_those_of_the_voxel():
    shape = (3, 4, 5)
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).float()
    maps = torch.stack([places, places + 100])
    voxels = stratified_voxels(shape, (1, 2, 2), 2, CPU)
    found = voxel_features(maps, voxels)
    torch.testing.assert_close(found, voxels.float() + torch.tensor([0.0, 100.0]).view(2, 1, 1))
    flat = voxel_features(maps[:, :2, 0], voxels[..., 1:])
    assert flat.shape == (2, 4, 2)


def test_features_pass_gradients_to_their_voxels_only():
    maps = torch.zeros(1, 2, 4, 4, requires_grad=True)
    voxel_features(maps, torch.tensor([[[1, 2], [1, 2]]])).sum().backward()
    expected = torch.zeros(1, 2, 4, 4)
    expected[..., 1, 2] = 2
    assert torch.equal(maps.grad, expected)


def test_neighbors_are_no_negatives():
    voxels = torch.tensor([[[0, 0, 0], [7, 0, 3], [8, 0, 0]], [[0, 0, 0], [0, 20, 0], [0, 0, 1]]])
    allowed = apart(voxels, torch.tensor([3, 4]), 8)
    assert allowed.diagonal().all()
    assert not allowed[0, 1]
    assert not allowed[1, 2]
    assert allowed[0, 2]
    assert allowed[:3, 3:].all()
    assert not allowed[3, 5]
    assert torch.equal(allowed, allowed.t())
    same_volume = apart(voxels, torch.tensor([3, 3]), 8)
    assert not same_volume[:3, 3:].any()
    assert torch.equal(same_volume[:3, :3], allowed[:3, :3])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_cells_of_maps_and_their_gradient_lie_as_the_maps(layout):
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, 6, generator=random).to(memory_format=layout).requires_grad_()
    cells = torch.randint(120, (2, 7), generator=random)
    found, seen = cell_features(maps, cells), []
    assert torch.equal(found, torch.stack([maps[i].flatten(1)[:, cells[i]].T for i in range(2)]))
    passed_on = maps.mul(1)  # the gradient of a leaf would be copied to the layout that the leaf has
    passed_on.register_hook(seen.append)
    cell_features(passed_on, cells).sum().backward()
    (gradient,) = seen
    assert gradient.is_contiguous(memory_format=layout)
    assert float(gradient.sum()) == 2 * 7 * 3

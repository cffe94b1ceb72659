"""Views with their matrices: points, cells and features of one are found in the other (IDEAL specification test 5)."""

import pytest
import torch

from contrastiveseg.contrast.geometry import (
    View,
    cell_at,
    cell_centers,
    inside,
    inverse,
    sample,
    transform,
)
from contrastiveseg.data.augment_spatial import SpatialSettings, augment_spatial

CPU = torch.device("cpu")
STILL = SpatialSettings(probability=0.0, flip=0.0)


def augmented_view(*arguments) -> View:
    """As methods make it, see ``augment_spatial``."""
    return View(*augment_spatial(*arguments))


def identity(dimensions: int, batch: int = 1) -> torch.Tensor:
    return torch.eye(dimensions, dimensions + 1).repeat(batch, 1, 1)


def matching(grid: tuple[int, ...], first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """For each cell over the first view, the cell over the second that holds its center."""
    points = transform(first, cell_centers(grid, CPU))
    return cell_at(transform(inverse(second), points), grid)[0]


def smooth(*shape: int) -> torch.Tensor:
    """Images that linear interpolation reproduces: a ramp along each axis."""
    axes = [(torch.arange(n) * 2 + 1) / n - 1 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flip(0).unsqueeze(0)


@pytest.mark.parametrize("shape", [(12, 16), (10, 12, 14)])
def test_a_place_of_one_view_is_found_in_the_other(shape):
    torch.manual_seed(0)
    crop = smooth(*[n + 6 for n in shape])
    settings = SpatialSettings(flip=0.5, rotation=15, scale=(0.9, 1.1), translation=0.1)
    one, other = (augmented_view(crop, None, settings, (1.0,) * len(shape), shape) for _ in range(2))
    assert one.images.shape == (1, len(shape), *shape)
    points = (torch.rand(1, 200, len(shape)) * 2 - 1) * 0.6
    there = transform(inverse(other.matrices), transform(one.matrices, points))
    seen = inside(there * 1.2) & inside(transform(one.matrices, points) * 1.1)
    assert seen.float().mean() > 0.5
    torch.testing.assert_close(sample(one.images, points)[seen], sample(other.images, there)[seen], atol=1e-4, rtol=0)
    # The crop's channels are its own coordinates.
    torch.testing.assert_close(
        sample(one.images, points)[seen], transform(one.matrices, points)[seen], atol=1e-4, rtol=0
    )


def test_matrices_undo_their_inverse():
    torch.manual_seed(0)
    view = augmented_view(torch.zeros(3, 1, 8, 8, 8), None, SpatialSettings(), (1.0, 1.0, 2.0), (8, 8, 8))
    points = torch.rand(3, 5, 3)
    torch.testing.assert_close(transform(inverse(view.matrices), transform(view.matrices, points)), points)


def test_places_are_exact_under_autocast():
    torch.manual_seed(0)
    view = augmented_view(torch.zeros(3, 1, 8, 8, 8), None, SpatialSettings(), (1.0, 1.0, 2.0), (8, 8, 8))
    points = torch.rand(3, 50, 3)
    expected = transform(inverse(view.matrices), points)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform(inverse(view.matrices), points), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_view_matches_the_mirrored_cell(axis):
    grid = (2, 3, 4)
    mirrored = identity(3)
    mirrored[0, 2 - axis, 2 - axis] = -1
    expected = torch.arange(24).view(grid).flip(axis).flatten()
    assert torch.equal(matching(grid, identity(3), mirrored), expected)


def test_a_shift_by_one_cell_skips_the_border():
    shifted = identity(2)
    shifted[0, 0, 2] = 2 / 4
    index = matching((3, 4), identity(2), shifted).view(3, 4)
    assert index.tolist() == [[-1, 0, 1, 2], [-1, 4, 5, 6], [-1, 8, 9, 10]]


def test_cells_and_their_centers():
    for grid in ((3, 4), (2, 3, 4)):
        centers = cell_centers(grid, CPU)
        assert torch.equal(cell_at(centers, grid), torch.arange(len(centers)))
        torch.testing.assert_close(sample(smooth(*grid), centers.unsqueeze(0))[0], centers)
    assert cell_at(torch.tensor([[1.0, 1.0], [1.01, 0.0], [-1.0, -1.0]]), (2, 2)).tolist() == [3, -1, 0]


def test_labels_move_with_their_image():
    torch.manual_seed(0)
    labels = torch.randint(-1, 3, (2, 12, 12, 12))
    one_hot = torch.nn.functional.one_hot(labels + 1, 4).movedim(-1, 1).float()
    view = augmented_view(one_hot, labels, SpatialSettings(rotation=0, scale=(1, 1), flip=0.5), (1.0,) * 3, (8, 8, 8))
    assert set(view.labels.unique().tolist()) == {-1, 0, 1, 2}
    assert (view.images.argmax(1) - 1 == view.labels).float().mean() > 0.9
    flipped = augmented_view(one_hot, labels, SpatialSettings(0.0, flip=1.0), (1.0,) * 3, (12, 12, 12))
    assert torch.equal(flipped.labels, labels.flip(1, 2, 3))
    torch.testing.assert_close(flipped.images, one_hot.flip(2, 3, 4))


def test_a_view_shares_no_storage_with_its_crop():
    crop = torch.randn(2, 1, 8, 8)
    view = augmented_view(crop, None, STILL, (1.0, 1.0), (8, 8))
    view.images.zero_()
    assert crop.abs().sum() > 0


def test_sampling_is_exact_under_autocast():
    maps, points = smooth(64, 64).bfloat16(), torch.rand(1, 50, 2) - 0.5
    with torch.autocast("cpu", torch.bfloat16):
        found = sample(maps, points)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, points, atol=6e-3, rtol=0)

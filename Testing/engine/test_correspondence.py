"""Dense correspondence and its contrast (IDEAL specification, tests 1, 2, 5 and 6)."""

import math

import pytest
import torch

from contrastiveseg.contrast.correspondence import (
    by_features,
    by_geometry,
    dense_contrast,
    other_locations,
    steps_between,
)

EYE = torch.eye(2, dtype=torch.float64).unsqueeze(0)
SWAPPED = EYE.flip(1)
NONE = torch.zeros(1, 0, 2, dtype=torch.float64)


def loss(queries, keys, match, temperature=1.0, others=NONE, **more) -> float:
    return dense_contrast(queries, keys, match, others, (keys.shape[1],), temperature, **more).item()


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.313262), (0.2, 0.006715)])
def test_hand_values(temperature, expected):
    match = by_features(EYE, SWAPPED)
    assert match.tolist() == [[1, 0]]
    assert loss(EYE, SWAPPED, match, temperature) == pytest.approx(expected, abs=1e-6)


def test_the_features_match_and_the_projections_are_contrasted():
    assert loss(EYE, EYE, by_features(EYE, SWAPPED)) == pytest.approx(1.313262, abs=1e-6)


def test_locations_without_match_are_skipped():
    assert loss(EYE, SWAPPED, torch.tensor([[1, -1]])) == pytest.approx(0.313262, abs=1e-6)
    assert loss(EYE, SWAPPED, torch.tensor([[-1, -1]])) == 0


def test_others_are_negatives_where_allowed():
    match, others = torch.tensor([[0, 1]]), torch.tensor([[[1.0, 0], [0, 1]]], dtype=torch.float64)
    assert loss(EYE, EYE, match, others=others) == pytest.approx(math.log(2 + 2 * math.exp(-1)), abs=1e-9)
    one = loss(EYE, EYE, match, others=others, allowed=torch.tensor([[True, False]]))
    expected = (math.log(2 + math.exp(-1)) + math.log(1 + 2 * math.exp(-1))) / 2
    assert one == pytest.approx(expected, abs=1e-9)
    nothing = loss(EYE, EYE, match, others=others, allowed=torch.zeros(1, 2, dtype=torch.bool))
    assert nothing == pytest.approx(0.313262, abs=1e-6)


def test_keys_near_the_match_are_not_compared():
    rows = torch.eye(4, dtype=torch.float64).unsqueeze(0)
    match, nothing = torch.arange(4).unsqueeze(0), torch.zeros(1, 0, 4, dtype=torch.float64)
    near = loss(rows, rows, match, others=nothing, radius=1)
    # On a line of four cells the ends keep two strangers, the inner ones one.
    assert near == pytest.approx((math.log(1 + 2 / math.e) + math.log(1 + 1 / math.e)) / 2, abs=1e-9)


def test_lengths_do_not_matter():
    torch.manual_seed(0)
    queries, keys, others = torch.randn(2, 6, 3), torch.randn(2, 6, 3), torch.randn(2, 4, 3)
    match = by_features(queries, keys)
    assert torch.equal(match, by_features(queries * 7, keys * 0.1))
    found = dense_contrast(queries, keys, match, others, (2, 3))
    torch.testing.assert_close(dense_contrast(queries * 7, keys * 0.1, match, others * 3, (2, 3)), found)


def test_matching_passes_no_gradient():
    assert not by_features(EYE.clone().requires_grad_(), SWAPPED).requires_grad


def test_nearly_equal_features_are_told_apart_under_autocast():
    torch.manual_seed(0)
    keys = torch.randn(1, 64, 32) * 0.02 + 1
    order = torch.randperm(64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(by_features(keys[:, order], keys)[0], order)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_view_matches_the_mirrored_cell(axis):
    grid, still = (2, 3, 4), torch.eye(3, 4).unsqueeze(0)
    mirrored = still.clone()
    mirrored[0, 2 - axis, 2 - axis] = -1
    expected = torch.arange(24).view(grid).flip(axis).flatten()
    assert torch.equal(by_geometry(still, mirrored, grid)[0], expected)
    assert torch.equal(by_geometry(mirrored, still, grid)[0], expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_view_that_lies_a_cell_further_matches_the_next_cell(axis):
    """A view moved by one stride: each cell is found one back in it, and those at the border it left are skipped."""
    grid, still = (3, 4, 5), torch.eye(3, 4).unsqueeze(0)
    further = still.clone()
    further[0, 2 - axis, 3] = 2 / grid[axis]  # coordinates are x first, and the view is 2 wide
    place = torch.cartesian_prod(*map(torch.arange, grid))
    place[:, axis] -= 1
    number = (place[:, 0] * 4 + place[:, 1]) * 5 + place[:, 2]
    expected = torch.where(place[:, axis] >= 0, number, -1)
    assert torch.equal(by_geometry(still, further, grid)[0], expected)
    assert (expected < 0).sum() == 60 // grid[axis]


def test_steps_between_cells():
    grid = (2, 3, 4)
    place = torch.cartesian_prod(*map(torch.arange, grid))
    expected = (place[:, None] - place[None]).abs().amax(-1)
    cells = torch.arange(24)
    assert torch.equal(steps_between(cells[:, None], cells, grid), expected)


def test_others_come_from_other_samples():
    keys = torch.arange(3.0).repeat_interleave(4).view(3, 4, 1) * 10 + torch.arange(4.0).view(1, 4, 1)
    everything = other_locations(keys, 100)
    for sample in range(3):
        expected = sorted(keys[[s for s in range(3) if s != sample]].flatten().tolist())
        assert sorted(everything[sample].flatten().tolist()) == expected
    some = other_locations(keys, 5)
    assert some.shape == (3, 5, 1)
    assert all(int(v) // 10 != sample for sample in range(3) for v in some[sample].flatten())
    assert other_locations(keys[:1], 5).shape == (1, 0, 1)

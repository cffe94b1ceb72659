"""The strongest class on a finer grid: as interpolated at once, and no class outside of where it can win."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from contrastiveseg.segmentation import strongest
from contrastiveseg.segmentation.strongest import classes_of, strongest_classes


def smooth(classes: int, shape: tuple[int, ...]) -> Tensor:
    coarse = torch.randn(1, classes, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=shape, mode="trilinear")[0]


def in_boxes(classes: int, shape: tuple[int, ...]) -> Tensor:
    """Logits of which each structure's are above the background's in a box of its own."""
    random = torch.Generator().manual_seed(0)
    logits = torch.full((classes, *shape), -3.0)
    logits[0] = 0
    for index in range(1, classes):
        z, y, x = (int(torch.randint(0, n - 3, (), generator=random)) for n in shape)
        logits[index, z : z + 3, y : y + 3, x : x + 3] = 3 * torch.randn(3, 3, 3, generator=random)
    return logits


@pytest.mark.parametrize("made", [smooth, in_boxes])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("shape", "fine"),
    [((6, 9, 8), (27, 30, 20)), ((7, 5, 9), (7, 11, 9)), ((12, 10, 8), (9, 20, 5)), ((4, 4, 4), (1, 9, 4))],
)
def test_it_is_the_largest_of_the_interpolated_logits(made, shape, fine, dtype):
    logits = made(6, shape).to(dtype)
    found = strongest_classes(logits, fine)
    expected = F.interpolate(logits[None].float(), size=fine, mode="trilinear")[0]
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, fine)
    largest, held = expected.max(0).values, expected.gather(0, found[None].long())[0]
    assert torch.allclose(held, largest, atol=1e-5), "but for ties within rounding"
    assert len(found.unique()) > 1


def test_a_structure_between_the_voxels_of_a_coarser_grid():
    """As where a scan of 9 mm is segmented by a network that works at 1 mm."""
    logits = torch.zeros(3, 8, 8, 8)
    logits[1, 4, 4, 5] = 1
    logits[2, 7:, 7:, 7:] = 1
    found = strongest_classes(logits, (2, 2, 2))
    assert found.flatten().tolist() == [0] * 8
    logits[2, 5:, 5:, 5:] = 1
    assert strongest_classes(logits, (2, 2, 2)).flatten().tolist() == [0] * 7 + [2]


def test_slabs_do_not_show(monkeypatch):
    logits = smooth(4, (9, 8, 7))
    found = strongest_classes(logits, (33, 20, 21))
    monkeypatch.setattr(strongest, "_SMALL", 0)
    for slab in (1, 8):
        monkeypatch.setattr(strongest, "_SLAB", slab)
        assert torch.equal(found, strongest_classes(logits, (33, 20, 21)))


def test_each_structure_is_interpolated_in_its_own_box_alone(monkeypatch):
    logits = torch.full((3, 16, 16, 16), -1.0)
    logits[0] = 0
    logits[1, 2:4, 2:4, 2:4] = 1
    logits[2, 9:12, 9:12, 9:12] = 1
    computed, interpolated = [], strongest._interpolated

    def counted(values, axes, fine):
        result = interpolated(values, axes, fine)
        computed.append(result.numel())
        return result

    monkeypatch.setattr(strongest, "_interpolated", counted)
    monkeypatch.setattr(strongest, "_SMALL", 0)
    found = strongest_classes(logits, (64, 64, 64))
    assert found.unique().tolist() == [0, 1, 2]
    # Twice each: the structure and the background. A box reaches to the next voxels. Eight slices lie between four
    # of the coarse grid, which are those computed.
    slabs = 4 * (4 * 4 * 4 * 4) + 4 * (5 * 5 * 4 * 4)
    assert sum(computed) <= 2 * 4 * slabs
    assert max(computed) <= 4 * 20 * 20


def test_equal_logits_are_the_first_class_s():
    assert strongest_classes(torch.zeros(3, 2, 2, 2), (4, 4, 4)).eq(0).all()
    logits = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1, 1).expand(3, 2, 2, 2)
    assert strongest_classes(logits, (4, 4, 4)).eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_of_equal_values_at_a_voxel_the_first_class_holds_it(dtype):
    logits = torch.randn(4, 9, 9, 9, generator=torch.Generator().manual_seed(0)).round().to(dtype)
    assert torch.equal(classes_of(logits), logits.argmax(0))
    assert ((logits == logits.amax(0)).sum(0) > 1).any(), "or nothing is equal"


def test_between_slices_only_what_different_classes_hold_is_computed(monkeypatch):
    logits = torch.zeros(2, 4, 8, 8)
    logits[1] = -1
    logits[1, :, 2:6, 2:6] = 1
    logits[1, 2, 2:6, 2:4] = -1  # in one slice a part of the structure is not there
    gathered, index_select = [], Tensor.index_select

    def counted(values, axis, places):
        if values.dim() == 1:
            gathered.append(len(places))
        return index_select(values, axis, places)

    monkeypatch.setattr(Tensor, "index_select", counted)
    assert strongest_classes(logits, (16, 16, 16)).unique().tolist() == [0, 1]
    assert len(gathered) == 4, "two slices of the background and of the structure"
    assert 0 < max(gathered) <= 16**3 / 16


def test_slices_that_nothing_is_interpolated_from_are_not_computed(monkeypatch):
    """As where a scan of 9 mm is segmented by a network that works at 1 mm."""
    computed, interpolated = [], strongest._interpolated
    monkeypatch.setattr(
        strongest, "_interpolated", lambda values, *more: (computed.append(len(values)), interpolated(values, *more))[1]
    )
    strongest_classes(smooth(2, (36, 8, 8)), (4, 8, 8))
    assert computed
    assert max(computed) <= 2 * 4

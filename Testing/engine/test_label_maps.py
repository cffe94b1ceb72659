"""Random label maps: what is labeled stays, everything else is filled, and shapes are walls around cavities."""

import pytest
import torch
from scipy import ndimage

from contrastiveseg.errors import InputError
from contrastiveseg.synthetic import label_maps as module
from contrastiveseg.synthetic.label_maps import ShapeSettings, fill_parts, paint_shapes

#: One shape, a ball unless said otherwise.
BALL = ShapeSettings(painted=(1, 1), radius=(0.5, 0.5), bend=0.0, hollow=0.0, wobble=0.0)


@pytest.mark.parametrize("shape", [(20, 24), (12, 16, 20)])
def test_only_what_is_unlabeled_is_filled(shape):
    torch.manual_seed(0)
    labels = torch.zeros(3, *shape, dtype=torch.long)
    labels[0, :5] = 7
    labels[1] = 3
    filled = fill_parts(labels, ShapeSettings(parts=(4, 4)))
    assert (filled[0, :5] == 7).all()
    assert set(filled[0, 5:].unique().tolist()) <= {8, 9, 10, 11}
    assert (filled[1] == 3).all()
    assert filled.dtype == labels.dtype
    assert 2 <= len(filled[2].unique()) <= 4
    assert (labels[2] == 0).all(), "the input stays as it is"


def test_parts_are_as_many_as_asked_for():
    torch.manual_seed(1)
    empty, settings = torch.zeros(1, 24, 24, 24).long(), ShapeSettings(parts=(2, 9))
    found = [len(fill_parts(empty, settings).unique()) for _ in range(12)]
    assert min(found) <= 4
    assert max(found) >= 6


def test_a_ball_has_the_volume_of_one(monkeypatch):
    # In the middle: outside half the map it would be cut.
    monkeypatch.setattr(module, "_uniform", lambda low, high: (low + high) / 2)
    painted = paint_shapes(torch.ones(1, 40, 40, 40).long(), BALL)[0]
    assert painted.unique().tolist() == [1, 2]
    assert float((painted == 2).sum()) == pytest.approx(4 / 3 * 3.14159 * 10**3, rel=0.03)


def test_a_hollow_shape_is_a_wall_around_a_cavity(monkeypatch):
    monkeypatch.setattr(module, "_uniform", lambda low, high: (low + high) / 2)
    settings = ShapeSettings(painted=(1, 1), radius=(0.5, 0.5), bend=0.0, hollow=1.0, wall=(0.3, 0.3), wobble=0.0)
    painted = paint_shapes(torch.ones(1, 40, 40, 40).long(), settings)[0]
    assert painted.unique().tolist() == [1, 2, 3]
    assert float((painted == 3).sum()) == pytest.approx(4 / 3 * 3.14159 * 7**3, rel=0.05)
    # The cavity touches nothing but its wall.
    around = ndimage.binary_dilation(painted.numpy() == 3) & (painted.numpy() != 3)
    assert set(painted.numpy()[around]) == {2}


@pytest.mark.parametrize("shape", [(32, 24), (16, 24, 32)])
def test_every_shape_has_a_label_of_its_own(shape):
    torch.manual_seed(2)
    labels = torch.randint(1, 4, (4, *shape))
    painted = paint_shapes(labels, ShapeSettings(painted=(4, 4)))
    for before, after in zip(labels, painted, strict=True):
        new = after[after > 3].unique()
        assert len(new) >= 2
        assert (after[after <= 3] == before[after <= 3]).all()
    untouched = paint_shapes(labels, ShapeSettings(painted=(0, 0)))
    assert torch.equal(untouched, labels)


def test_the_same_seed_gives_the_same_maps():
    def made(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return paint_shapes(fill_parts(torch.zeros(2, 16, 16, 16).long(), ShapeSettings()), ShapeSettings())

    assert torch.equal(made(5), made(5))
    assert not torch.equal(made(5), made(6))


@pytest.mark.parametrize(
    "wrong", [{"parts": (0, 3)}, {"knots": (1, 3)}, {"radius": (0.0, 0.5)}, {"hollow": 2.0}, {"wall": (0.5, 1.0)}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        ShapeSettings(**wrong)

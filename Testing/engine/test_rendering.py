"""Images made up from label maps: looks by label, on one scale, and never twice the same."""

import pytest
import torch

from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.errors import InputError
from contrastiveseg.synthetic.rendering import RenderingSettings, render, standardized

NEVER = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)
#: A look is one intensity, and there is no scanner.
FLAT = RenderingSettings(noise=0.0, texture=0.0, distinct=1.0, intensity=NEVER)


def halves(*shape: int) -> torch.Tensor:
    labels = torch.zeros(2, *shape, dtype=torch.long)
    labels[:, : shape[0] // 2] = 5
    return labels


@pytest.mark.parametrize("shape", [(16, 12), (16, 12, 10)])
def test_two_flat_labels_are_one_above_and_one_below(shape):
    torch.manual_seed(0)
    images = render(halves(*shape), FLAT)
    assert images.shape == (2, 1, *shape)
    assert images.dtype == torch.float32
    # Half of the voxels each, mean 0 and deviation 1: plus and minus 1.
    torch.testing.assert_close(images.abs(), torch.ones_like(images), atol=0.01, rtol=0)
    assert all(len(image[0, : shape[0] // 2].unique()) == 1 for image in images)


def test_every_image_is_on_one_scale_and_unlike_the_others():
    torch.manual_seed(1)
    labels = torch.randint(0, 9, (4, 4, 4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
    images = render(labels, RenderingSettings())
    assert torch.isfinite(images).all()
    torch.testing.assert_close(images.mean((1, 2, 3, 4)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std((1, 2, 3, 4)), torch.ones(4), atol=1e-3, rtol=0)
    assert not torch.allclose(images, render(labels, RenderingSettings()), atol=0.1)


def test_labels_share_looks_where_there_are_few():
    labels = torch.arange(27).view(1, 3, 3, 3)
    torch.manual_seed(2)
    assert len(render(labels, FLAT).unique()) == 27
    few = RenderingSettings(looks=(3, 3), distinct=0.0, noise=0.0, texture=0.0, intensity=NEVER)
    assert len(render(labels, few).unique()) <= 3


def test_the_same_seed_gives_the_same_image():
    def made(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return render(halves(12, 12, 12), RenderingSettings())

    assert torch.equal(made(3), made(3))
    assert not torch.equal(made(3), made(4))


def test_a_flat_image_stays_flat():
    assert torch.equal(standardized(torch.full((1, 1, 4, 4), 7.0)), torch.zeros(1, 1, 4, 4))
    assert torch.isfinite(render(torch.zeros(1, 8, 8, 8).long(), FLAT)).all()


@pytest.mark.parametrize("wrong", [{"looks": (1, 3)}, {"distinct": -0.1}, {"grain": 0}, {"noise": -1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError):
        RenderingSettings(**wrong)

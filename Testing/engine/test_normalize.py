"""Every volume comes out with mean about 0 and deviation about 1, whatever its scale."""

import numpy as np
import pytest

from contrastiveseg.errors import InputError
from contrastiveseg.planning.normalize import looks_like_ct, normalize, sample, window_from
from contrastiveseg.planning.plan import Channel, Normalization

RNG = np.random.default_rng(0)
BODY = RNG.normal(100, 20, (1, 20, 30, 30)).clip(1, None)


@pytest.mark.parametrize(
    "array",
    [
        BODY.astype(np.int16),
        (BODY * 10_000).astype(np.float32),
        (BODY - 200).astype(np.int16),
        (BODY * 2).clip(0, 255).astype(np.uint8),
        BODY / 1e6,
    ],
)
def test_foreground_has_mean_0_and_deviation_1(array):
    array = array.copy()
    array[:, :, :10] = array.min() - (1 if array.min() >= 1 or array.dtype != np.uint8 else 0)
    result = normalize(array, (Channel(),))
    foreground = result[array > array.min()]
    assert result.dtype == np.float32
    assert abs(foreground.mean()) < 1e-3
    assert abs(foreground.std() - 1) < 1e-3


def test_outliers_are_clipped():
    array = BODY.copy()
    array[0, 0, 0, 0] = 1e9
    assert normalize(array, (Channel(),)).max() < 4


def test_constant_channel_is_zero_and_channels_are_apart():
    both = np.concatenate([BODY, np.full_like(BODY, 5)])
    result = normalize(both, (Channel("a"), Channel("b")))
    assert (result[1] == 0).all()
    np.testing.assert_array_equal(result[:1], normalize(BODY, (Channel(),)))


def test_nearly_empty_and_mask_like_volumes_stay_finite():
    array = np.zeros((1, 10, 20, 20))
    array[0, 0, 0, :5] = 7
    assert np.isfinite(normalize(array, (Channel(),))).all()
    array[0, :5] = 7
    result = normalize(array, (Channel(),))
    assert result.max() == pytest.approx(1, abs=1e-3)
    assert result.min() == pytest.approx(-1, abs=1e-3)


def test_window():
    window = Channel(normalization=Normalization("window", -100, 300, 50, 100))
    array = np.array([-1000, -100, 50, 150, 2000], np.int16).reshape(1, 1, 1, 5)
    np.testing.assert_allclose(normalize(array, (window,)).ravel(), [-1.5, -1.5, 0, 1, 2.5])


def test_channel_count_must_match():
    with pytest.raises(InputError, match=r"takes 2 channel.*has 1"):
        normalize(BODY, (Channel("T1"), Channel("T2")))


def test_window_from_body_only():
    samples = np.concatenate([np.full(5000, -1000), np.arange(0, 1001)]).astype(np.int16)
    window = window_from(samples)
    assert (window.scheme, window.low, window.high) == ("window", 5.0, 995.0)
    body = np.arange(0, 1001).clip(5, 995)
    assert window.mean == pytest.approx(body.mean())
    assert window.deviation == pytest.approx(body.std())
    with pytest.raises(InputError, match="no body"):
        window_from(np.full(10, -1000))


def test_looks_like_ct():
    ct = np.full((1, 10, 20, 20), -1000, np.int16)
    ct[:, :, 5:15, 5:15] = RNG.integers(-100, 200, (10, 10, 10))
    assert looks_like_ct(ct)
    assert looks_like_ct(ct.astype(np.float64))
    assert not looks_like_ct(ct + 1000)
    assert not looks_like_ct(ct + 0.25)
    assert not looks_like_ct(BODY)


def test_sample_is_bounded_and_repeatable():
    array = np.arange(4_000_000, dtype=np.int32).reshape(1, 10, 400, 1000)
    first = sample(array)
    assert 500_000 < first.size <= 1_400_000
    np.testing.assert_array_equal(first, sample(array))
    assert len(np.unique(first % 1000)) == 1000

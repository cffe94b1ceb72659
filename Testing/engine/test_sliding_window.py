"""Sliding window: against MONAI's, on identities, mirrored, cancelled, and when memory runs out."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

import contrastiveseg.segmentation.sliding_window as window_module
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.networks.backbone import NetworkSpec
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.segmentation.sliding_window import sliding_window
from contrastiveseg.segmentation.tile_memory import within_memory
from contrastiveseg.segmentation.tiles import fit_tiles

CPU = torch.device("cpu")


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def network(dimensions: int) -> Segmenter:
    torch.manual_seed(0)
    spec = NetworkSpec("unet", dimensions, 2, {"widths": [4, 8], "strides": [[2] * dimensions]})  # type: ignore[arg-type]
    return Segmenter(build(spec), classes=3).eval()


@pytest.mark.parametrize("shape", [(20, 30, 22), (3, 17, 40), (1, 16, 16), (2, 3, 5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_identity_network_gives_the_image_back(shape, batch) -> None:
    image = noise(2, *shape)
    tiling = fit_tiles(shape, (4, 4, 4), (8, 8, 8))
    result = sliding_window(lambda x: x, image, tiling, 2, batch=batch, device=CPU)
    torch.testing.assert_close(result, image, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_slices_along_any_axis_come_back_in_place(slice_axis: int) -> None:
    image = noise(2, 9, 10, 11)
    plane = [n for axis, n in enumerate((9, 10, 11)) if axis != slice_axis]
    tiling = fit_tiles(plane, (4, 4), (4, 4))
    assert tiling.count > 1
    result = sliding_window(lambda x: x, image, tiling, 2, batch=4, device=CPU, dimensions=2, slice_axis=slice_axis)
    torch.testing.assert_close(result, image, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_it_agrees_with_monai_on_the_same_tiles(batch: int) -> None:
    # MONAI steps by whole intervals: 24 voxels in tiles of 16 with half overlap is where both grids are the same
    image, model = noise(2, 24, 16, 24), network(3)
    tiling = fit_tiles((24, 16, 24), (8, 8, 8), (16, 16, 16), 0.5)
    assert tiling.starts == ((0, 8), (0,), (0, 8))
    centered = torch.arange(16) - 7.5
    bell = torch.exp(-0.5 * (centered / 2) ** 2)
    with torch.inference_mode():
        expected = sliding_window_inference(
            image[None], (16, 16, 16), 1, model, overlap=0.5, roi_weight_map=bell[:, None, None] * bell[:, None] * bell
        )[0]
    result = sliding_window(model, image, tiling, 3, batch=batch, device=CPU)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_one_tile_is_the_network_itself() -> None:
    image, model = noise(2, 8, 12, 8), network(3)
    result = sliding_window(model, image, fit_tiles((8, 12, 8), (2, 2, 2), (8, 12, 8)), 3, batch=1, device=CPU)
    with torch.inference_mode():
        torch.testing.assert_close(result, model(image[None])[0], rtol=1e-5, atol=1e-6)


def test_slices_are_the_network_slice_by_slice() -> None:
    image, model = noise(2, 5, 8, 12), network(2)
    tiling = fit_tiles((8, 12), (2, 2), (8, 12))
    result = sliding_window(model, image, tiling, 3, batch=2, device=CPU, dimensions=2)
    with torch.inference_mode():
        expected = torch.stack([model(image[None, :, n])[0] for n in range(5)], dim=1)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_mirroring_averages_over_all_flips() -> None:
    image, model = noise(2, 8, 8, 8), network(3)
    tiling = fit_tiles((8, 8, 8), (2, 2, 2), (8, 8, 8))
    result = sliding_window(model, image, tiling, 3, batch=1, device=CPU, mirror_axes=(0, 2))
    with torch.inference_mode():
        answers = [model(image[None].flip(f)).flip(f)[0] for f in ([], [2], [4], [2, 4])]
    torch.testing.assert_close(result, torch.stack(answers).mean(0), rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_close_to_float32_and_comes_back_as_float32() -> None:
    image, model = noise(2, 8, 16, 16), network(3)
    tiling = fit_tiles((8, 16, 16), (2, 2, 2), (8, 8, 8))
    exact = sliding_window(model, image, tiling, 3, batch=2, device=CPU)
    rough = sliding_window(model, image, tiling, 3, batch=2, device=CPU, autocast=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05


def test_many_classes_are_blended_in_half_the_memory(monkeypatch) -> None:
    monkeypatch.setattr(window_module, "_MOST_FLOAT32", 1000)
    image = noise(3, 9, 20, 20)
    tiling = fit_tiles((9, 20, 20), (4, 4, 4), (8, 8, 8))
    result = sliding_window(lambda x: x, image, tiling, 3, batch=1, device=CPU)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float(), image, rtol=5e-3, atol=5e-3)


def test_progress_counts_to_the_end_and_an_exception_stops() -> None:
    image, seen, calls = noise(1, 8, 24, 24), [], []
    tiling = fit_tiles((8, 24, 24), (4, 4, 4), (8, 8, 8), 0.0)

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x

    sliding_window(model, image, tiling, 1, batch=2, device=CPU, on_tile=lambda *n: seen.append(n))
    assert seen == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    calls.clear()

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        sliding_window(model, image, tiling, 1, batch=2, device=CPU, on_tile=stop)
    assert calls == [2, 2]


def test_results_may_be_changed_in_place_and_need_no_gradient() -> None:
    tiling = fit_tiles((8, 8, 8), (2, 2, 2), (8, 8, 8))
    result = sliding_window(network(3), noise(2, 8, 8, 8), tiling, 3, batch=1, device=CPU)
    assert not result.requires_grad
    result.exp_()


def limited(voxels: int) -> tuple[list[tuple[int, ...]], object]:
    tried: list[tuple[int, ...]] = []

    def model(x: Tensor) -> Tensor:
        tried.append(tuple(x.shape))
        if x.numel() > voxels:
            raise torch.OutOfMemoryError("out of memory")
        return x

    return tried, model


def test_out_of_memory_halves_the_batch() -> None:
    image = noise(1, 16, 32, 32)
    tried, model = limited(8 * 8 * 8)
    tiling = fit_tiles((16, 32, 32), (4, 4, 4), (8, 8, 8))

    def blended(batch: int) -> Tensor:
        return sliding_window(model, image, tiling, 1, batch=batch, device=CPU)  # type: ignore[arg-type]

    result = within_memory(blended, 4, tiling.tile, CPU)
    torch.testing.assert_close(result, image, rtol=1e-6, atol=1e-6)
    assert [shape[0] for shape in tried[:4]] == [4, 2, 1, 1]
    assert tried[-1][2:] == (8, 8, 8)


def test_out_of_memory_with_one_tile_is_an_input_error() -> None:
    tried = []

    def hungry(batch: int) -> Tensor:
        tried.append(batch)
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(InputError, match="8x8x8"):
        within_memory(hungry, 4, (8, 8, 8), CPU)
    assert tried == [4, 2, 1]


def test_other_errors_of_the_network_pass_through() -> None:
    def broken(batch: int) -> Tensor:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        within_memory(broken, 1, (8, 8, 8), CPU)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_flat_tiles_are_computed_once_and_nothing_else_changes(batch, dimensions, monkeypatch) -> None:
    image, model, seen = torch.full((2, 40, 24, 24), -1.5), network(dimensions), []
    image[1] = 0.25
    image[:, 18:21, 9:12, 9:12] = noise(2, 3, 3, 3)
    tiling = fit_tiles((40, 24, 24)[3 - dimensions :], (2,) * dimensions, (8,) * dimensions)
    handle = model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))

    def window() -> Tensor:
        seen.clear()
        return sliding_window(model, image, tiling, 3, batch=batch, device=CPU, dimensions=dimensions, mirror_axes=(1,))

    found = window()
    computed = sum(seen) // 2
    monkeypatch.setattr(window_module, "flat_values", lambda tile: None)
    torch.testing.assert_close(found, window(), rtol=0 if batch == 1 else 1e-5, atol=0 if batch == 1 else 1e-6)
    tiles = sum(seen) // 2
    handle.remove()
    assert tiles == tiling.count * (40 if dimensions == 2 else 1)
    assert computed < tiles / 3


def test_a_tile_is_flat_only_if_every_voxel_and_channel_is() -> None:
    tile = torch.zeros(2, 9, 9, 9)
    tile[1] = 3
    assert window_module.flat_values(tile) == (0, 3)
    tile[1, 5, 5, 5] = 3.001
    assert window_module.flat_values(tile) is None
    assert window_module.flat_values(torch.full((1, 4, 4), torch.nan)) is None


def test_the_answer_of_another_value_or_of_later_tiles_is_not_taken() -> None:
    a, b = (0.0,), (1.0,)
    assert window_module._sources([None, a, a, b, None, b, a, None]) == [0, 1, 1, 3, 4, 3, 6, 7]
    groups = list(window_module._groups([0, 1, 1, 3, 4, 3, 6, 7], 2))
    assert [group for group, _ in groups] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [computed for _, computed in groups] == [[0, 1], [3, 4], [6, 7]]

"""The overlay picture: right planes, right way up, right proportions, and a clear refusal without matplotlib."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import image as pictures
from matplotlib.colors import to_rgb

from contrastiveseg.errors import InputError
from contrastiveseg.evaluation import overlay
from contrastiveseg.volumes.volume import Geometry, LabelMap, Volume

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GEOMETRY = Geometry((20, 24, 8), (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), LPS)


@pytest.fixture
def case():
    """A cube labeled 1 on the patient's left, in front and toward the head; bright there too."""
    image = np.zeros((8, 24, 20), np.int16)
    image[4:8, 2:8, 14:19] = 100
    image[0] += 1
    return Volume(image[None], GEOMETRY, "case"), LabelMap((image == 100).astype(np.uint8), GEOMETRY, "case")


def panels(monkeypatch, volume, label_map, path):
    """The arguments of each plane drawn: (plane axis, slice, spacing)."""
    drawn = []
    draw = overlay._draw_plane
    monkeypatch.setattr(overlay, "_draw_plane", lambda *a: (drawn.append((a[0], *a[3:6])), draw(*a)))
    overlay.overlay_figure(volume, [("reference", label_map)], path)
    return drawn


def test_planes_go_through_the_label_and_keep_millimeters(case, monkeypatch, tmp_path):
    volume, label_map = case
    drawn = panels(monkeypatch, volume, label_map, tmp_path / "a.png")
    assert [axis for _, axis, _, _ in drawn] == [0, 1, 2]
    assert 4 <= drawn[0][2] < 8
    assert 2 <= drawn[1][2] < 8
    assert 14 <= drawn[2][2] < 19
    for panel, (width, height) in zip([d[0] for d in drawn], [(20, 24), (20, 32), (24, 32)], strict=True):
        assert abs(np.ptp(panel.get_xlim())) == pytest.approx(width)
        assert abs(np.ptp(panel.get_ylim())) == pytest.approx(height)
        assert panel.get_aspect() in (1, "equal")


def test_left_is_right_front_is_up_and_head_is_up(case, monkeypatch, tmp_path):
    volume, label_map = case
    for axes, letters in zip(
        panels(monkeypatch, volume, label_map, tmp_path / "a.png"), ("RLAP", "RLSI", "APSI"), strict=True
    ):
        panel = axes[0]
        shown = panel.get_images()[0].get_array()
        row, column = np.unravel_index(int(np.argmax(shown)), shown.shape)
        x0, x1, bottom, top = panel.get_images()[0].get_extent()
        upper = panel.get_images()[0].origin == "upper"
        height = (row + 0.5) / shown.shape[0]
        height = 1 - height if upper else height
        assert (top < bottom) == upper
        assert x0 < x1
        assert height > 0.5
        assert ((column + 0.5) / shown.shape[1] > 0.5) == (letters[0] == "R")
        assert "".join(t.get_text() for t in panel.texts) == letters


def test_storage_order_does_not_change_the_picture(case, tmp_path):
    volume, label_map = case
    # The same voxels, stored with x running to the right.
    turned = replace(GEOMETRY, origin=(19.0, 0.0, 0.0), direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    other = Volume(volume.array[..., ::-1], turned, "case")
    overlay.overlay_figure(volume, [("a", label_map)], tmp_path / "one.png")
    overlay.overlay_figure(other, [("a", label_map)], tmp_path / "two.png")
    assert np.array_equal(pictures.imread(tmp_path / "one.png"), pictures.imread(tmp_path / "two.png"))


def test_each_label_has_its_contour_in_its_color(case, tmp_path):
    volume, label_map = case
    two = LabelMap(label_map.array.copy(), GEOMETRY)
    two.array[2:4, 10:20, 3:9] = 5
    overlay.overlay_figure(volume, [("a", two), ("b", label_map)], tmp_path / "a.png", {1: "organ", 5: "other"})
    picture = pictures.imread(tmp_path / "a.png")[..., :3]
    for color in overlay.COLORS[:2]:
        assert (np.abs(picture - to_rgb(color)).max(-1) < 0.05).sum() > 30


def test_more_labels_than_told_apart_at_once_have_colors_of_their_own():
    colors = overlay._colors(120)
    assert tuple(colors[:8]) == overlay.COLORS
    assert overlay._colors(3) == colors[:3]
    values = np.array([to_rgb(color) for color in colors[:24]])
    apart = np.linalg.norm(values[:, None] - values, axis=2) + 9 * np.eye(24)
    assert apart.min() > 0.1
    assert len(set(colors)) == 120


def test_no_label_and_a_flat_image_still_make_a_picture(tmp_path):
    volume = Volume(np.zeros((1, 8, 24, 20), np.int16), GEOMETRY)
    overlay.overlay_figure(volume, [("empty", LabelMap(np.zeros((8, 24, 20), np.uint8), GEOMETRY))], tmp_path / "a.png")
    assert pictures.imread(tmp_path / "a.png").size


def test_without_matplotlib_the_extra_is_named(case, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"contrastiveseg\[plots\]"):
        overlay.overlay_figure(case[0], [("a", case[1])], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_another_grid_is_refused(case, tmp_path):
    moved = LabelMap(case[1].array, replace(GEOMETRY, origin=(0.0, 0.0, 9.0)))
    with pytest.raises(InputError, match="apart"):
        overlay.overlay_figure(case[0], [("a", moved)], tmp_path / "a.png")

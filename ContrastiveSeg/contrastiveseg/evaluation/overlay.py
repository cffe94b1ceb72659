"""Pictures to check a segmentation by eye: three planes through it, with contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import replacing
from ..volumes.alignment import aligned
from ..volumes.orientation import canonical_axes
from ..volumes.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Distinguishable also with red-green color blindness (Okabe and Ito).
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#FFFFFF")

#: Canonical array axis a plane is cut across -> its name and the letters at left, right, top and bottom.
_PLANES = {
    0: ("axial", ("R", "L", "A", "P")),
    1: ("coronal", ("R", "L", "S", "I")),
    2: ("sagittal", ("A", "P", "S", "I")),
}


def overlay_figure(
    volume: Volume,
    label_maps: Sequence[tuple[str, LabelMap]],
    path: Path,
    names: Mapping[int, str] | None = None,
) -> None:
    """Write a PNG: rows axial, coronal and sagittal, a column for each of ``label_maps`` (title, labels).

    Slices go through the largest area labeled by any map, and are the same in all columns. Radiological view: the
    patient's right is at the picture's left. Aspect follows the spacing in mm. Oblique volumes are shown along their
    nearest axes.

    Args:
        names: label value -> name for the legend; by default the value.

    Raises:
        InputError: matplotlib is not installed, no label map, or one on another grid than ``volume``.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as problem:
        raise InputError('Pictures need matplotlib. Install it with: pip install "contrastiveseg[plots]"') from problem
    if not label_maps:
        raise InputError("A picture needs at least one label map.")
    axes = canonical_axes(volume.geometry)
    image = axes.apply(volume.array[0])
    maps = [axes.apply(aligned(labels, volume.geometry, volume.name or "the image")) for _, labels in label_maps]
    spacing = axes.spacing_zyx(volume.geometry)
    extent = [n * s for n, s in zip(image.shape, spacing, strict=True)]
    slices = _most_informative(maps)
    values = sorted({int(v) for m in maps for v in np.unique(m)} - {0})
    colors = dict(zip(values, _colors(len(values)), strict=True))
    window = gray_window(image)

    # Column width and row heights in the proportion of the planes' millimeters, so that nothing is stretched.
    widest = max(extent[2], extent[1])
    heights = [extent[1], extent[0], extent[0]]
    column = 5.5 if len(maps) == 1 else 3.8
    width = column * len(maps) + 0.4
    entries = max(1, int(width / 1.6))
    size = (width, column * sum(heights) / widest + 0.9 + 0.2 * -(-len(values) // entries))
    figure = Figure(figsize=size, dpi=110, facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, len(maps), squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, axis in enumerate(_PLANES):
        for col, ((title, _), labels) in enumerate(zip(label_maps, maps, strict=True)):
            panel = panels[row, col]
            _draw_plane(panel, image, labels, axis, slices[axis], spacing, window, colors)
            panel.set_title(f"{title} · {_PLANES[axis][0]} {slices[axis]}", color="white", fontsize=9)
    handles = [
        Line2D([], [], color=colors[v], linewidth=2, label=names.get(v, f"label {v}") if names else f"label {v}")
        for v in values
    ]
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(len(handles), entries),
            fontsize=8,
            facecolor="black",
            edgecolor="none",
            labelcolor="white",
        )
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _colors(count: int) -> list[str]:
    """:data:`COLORS`, and behind them hues of golden angle's distance in three brightnesses, so that none repeats."""
    colors = [*COLORS[:count]]
    for index in range(count - len(colors)):
        parts = hsv_to_rgb((index * 0.618034) % 1, (1.0, 0.55, 0.8)[index % 3], (1.0, 1.0, 0.65)[index % 3])
        colors.append("#" + "".join(f"{round(255 * part):02X}" for part in parts))
    return colors


def _draw_plane(
    panel: Axes,
    image: np.ndarray,
    labels: np.ndarray,
    axis: int,
    index: int,
    spacing: tuple[float, float, float],
    window: tuple[float, float],
    colors: Mapping[int, str],
) -> None:
    plane, outline = np.take(image, index, axis), np.take(labels, index, axis)
    rows, columns = (s for a, s in enumerate(spacing) if a != axis)
    # Canonical z grows to the head; coronal and sagittal planes are shown head up.
    origin: Any = "upper" if axis == 0 else "lower"
    extent = (0, plane.shape[1] * columns, plane.shape[0] * rows, 0)
    if origin == "lower":
        extent = (0, plane.shape[1] * columns, 0, plane.shape[0] * rows)
    panel.imshow(
        plane, cmap="gray", vmin=window[0], vmax=window[1], origin=origin, extent=extent, interpolation="bilinear"
    )
    x = (np.arange(-1, plane.shape[1] + 1) + 0.5) * columns
    y = (np.arange(-1, plane.shape[0] + 1) + 0.5) * rows
    # Largest first: where a wall meets its cavity both contours coincide, and the cavity's should be seen.
    area = np.bincount(outline.ravel())
    for value in sorted(np.flatnonzero(area[1:]) + 1, key=lambda v: -area[v]):
        mask = np.pad(outline == value, 1)  # so that contours close at the image's border
        panel.contour(x, y, mask, levels=[0.5], colors=[colors[int(value)]], linewidths=1.1)
    panel.set_xlim(extent[0], extent[1])
    panel.set_ylim(extent[2], extent[3])
    panel.set_axis_off()
    style: dict[str, Any] = {"transform": panel.transAxes, "color": "#9fd3ff", "fontsize": 9}
    left, right, top, bottom = _PLANES[axis][1]
    panel.text(0.02, 0.5, left, ha="left", va="center", **style)
    panel.text(0.98, 0.5, right, ha="right", va="center", **style)
    panel.text(0.5, 0.98, top, ha="center", va="top", **style)
    panel.text(0.5, 0.02, bottom, ha="center", va="bottom", **style)


def _most_informative(maps: Sequence[np.ndarray]) -> list[int]:
    """For each axis the slice with the largest labeled area over all maps; the middle one if nothing is labeled."""
    chosen = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        area = sum(np.count_nonzero(m, axis=others) for m in maps)
        chosen.append(int(np.argmax(area)) if np.any(area) else maps[0].shape[axis] // 2)
    return chosen


def gray_window(image: np.ndarray) -> tuple[float, float]:
    """Gray values shown as black and white: the 0.5 and 99.5 percentiles."""
    low, high = np.percentile(image, (0.5, 99.5))
    return float(low), float(high) if high > low else float(low) + 1.0

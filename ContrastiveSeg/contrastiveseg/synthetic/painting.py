"""Tissue and label of every voxel of a subject: the atlas, deformed, with individual detail below it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation

from .anatomy import REGIONS, Organ, Tissue
from .noise import smooth_noise
from .settings import SyntheticSettings


def _coordinates(
    random: np.random.Generator, shape: tuple[int, ...], settings: SyntheticSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atlas coordinates (x, y, z) of every voxel: field of view, then affine variation, then a smooth warp."""
    _, center, half = REGIONS[settings.region]
    amount = settings.variation * max(half)
    axes = []
    part = random.uniform(settings.zoom, 1)
    for axis in range(3):
        shift = random.uniform(-1, 1) * (1 - part)
        line = (np.arange(shape[2 - axis]) + 0.5) / shape[2 - axis] * 2 - 1
        axes.append((line * part + shift) * half[axis])
    grid = np.stack(np.meshgrid(*axes[::-1], indexing="ij")[::-1]).astype(np.float32)
    matrix = np.diag(1 + settings.variation * random.normal(0, 0.05, 3))
    matrix += settings.variation * random.normal(0, 0.03, (3, 3)) * (1 - np.eye(3))
    grid = np.tensordot(matrix.astype(np.float32), grid, 1)
    for axis in range(3):
        grid[axis] += center[axis] + amount * random.normal(0, 0.02)
        # Small against the knots' distance, so that the map stays one to one.
        grid[axis] += 0.03 * amount * smooth_noise(random, shape, 5) + 0.009 * amount * smooth_noise(random, shape, 10)
    return grid[0], grid[1], grid[2]


def paint(
    random: np.random.Generator, shape: tuple[int, ...], settings: SyntheticSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tissue, label and number of the organ (left and right are one) of every voxel."""
    organs = REGIONS[settings.region][0]
    names = [organ.group.removeprefix("left ").removeprefix("right ") for organ in organs]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    x, y, z = _coordinates(random, shape, settings)
    tissues = np.zeros(shape, np.uint8)
    labels = np.zeros(shape, np.uint8)
    painted = np.zeros(shape, np.uint8)
    moved = {}
    for organ, name in zip(organs, names, strict=True):
        if organ.group not in moved:
            shift = settings.variation * random.normal(0, 0.018, 3)
            moved[organ.group] = (shift, np.exp(settings.variation * random.normal(0, 0.06)))
        inside = _paint_organ(organ, *moved[organ.group], (x, y, z), tissues, labels)
        if inside is not None:
            painted[inside[0]][inside[1]] = numbers[name]
    _add_detail(random, settings, (x, y, z), tissues)
    return tissues, labels, painted


def _paint_organ(
    organ: Organ,
    shift: np.ndarray,
    scale: float,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    tissues: np.ndarray,
    labels: np.ndarray,
) -> tuple[tuple[slice, ...], np.ndarray] | None:
    """Paint one organ; returns a window and where in it the organ lies, None if it is out of the field of view."""
    center, half = np.asarray(organ.shape.center), np.asarray(organ.shape.half)
    # Whole-body shapes stay put, since everything else lies in them.
    if half.max() > 0.8:
        shift, scale = np.zeros(3), 1.0
    step = 4
    near = np.ones(tuple(-(-n // step) for n in tissues.shape), bool)
    for axis in range(3):
        coarse = grid[axis][::step, ::step, ::step]
        margin = max(float(np.abs(np.diff(coarse, axis=a)).max()) if coarse.shape[a] > 1 else 0.0 for a in range(3))
        near &= np.abs(coarse - center[axis] - shift[axis]) < half[axis] * scale + 1.5 * margin
    if not near.any():
        return None
    window = []
    for axis in range(3):
        hit = np.flatnonzero(near.any(tuple(a for a in range(3) if a != axis)))
        window.append(slice(max(0, (hit[0] - 1) * step), (hit[-1] + 2) * step))
    part = tuple(window)
    local = [(grid[a][part] - shift[a] - center[a]) / scale + center[a] for a in range(3)]
    inside = organ.shape.level(*(a.astype(np.float32, copy=False) for a in local)) < 0
    tissues[part][inside] = organ.tissue
    labels[part][inside] = organ.label
    return part, inside


def _add_detail(
    random: np.random.Generator,
    settings: SyntheticSettings,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    tissues: np.ndarray,
) -> None:
    """Individual structure below the atlas, in ``tissues`` alone: vessel trees, bowel loops, sulci."""
    shape = tissues.shape
    knots = {"torso": 14, "heart": 8, "head": 20, "temporal": 6, "knee": 10}[settings.region]
    first, second = smooth_noise(random, shape, knots), smooth_noise(random, shape, knots)
    # Two noise fields vanish together along curves: a cheap vessel tree.
    vessels = first**2 + second**2 < 0.03
    tissues[vessels & np.isin(tissues, (Tissue.LUNG, Tissue.LIVER))] = Tissue.VENOUS
    if settings.region in ("head", "temporal"):
        _fold_cortex(first, grid[2], tissues)
        return
    if settings.region != "knee":
        x, y, z = grid
        loops = (z < -0.35) & (tissues == Tissue.FAT) & (np.abs(x) < 0.62) & (y < 0.12) & (y > -0.5)
        tissues[loops & (first > 0.15)] = Tissue.BOWEL
        tissues[loops & (np.abs(first - 0.15) < 0.2)] = Tissue.MYOCARDIUM
        tissues[loops & (first > 1.3)] = Tissue.AIR
    # Fat planes between muscles.
    tissues[(np.abs(second) < 0.07) & (tissues == Tissue.MUSCLE)] = Tissue.FAT


def _fold_cortex(sheets: np.ndarray, z: np.ndarray, tissues: np.ndarray) -> None:
    """Sulci where a noise field vanishes; gray matter within a cortex's thickness of fluid, white matter beneath."""
    cortex = tissues == Tissue.GRAY
    tissues[cortex & (np.abs(sheets) < 0.14)] = Tissue.FLUID
    voxel = float(np.abs(np.diff(z[:, z.shape[1] // 2, z.shape[2] // 2])).mean())
    near = binary_dilation(tissues == Tissue.FLUID, iterations=max(1, round(0.065 / voxel)))
    tissues[cortex & (tissues == Tissue.GRAY) & ~near] = Tissue.WHITE

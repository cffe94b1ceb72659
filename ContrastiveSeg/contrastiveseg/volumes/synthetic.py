"""Synthetic subjects: the atlas of :mod:`.anatomy` deformed, given an appearance, and imaged.

One normalized position shows the same anatomy, with variation, in every subject of a region; appearance is drawn
anew for each. Made by us from formulas alone, so free of any patient and of any license.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_dilation, gaussian_filter

from ..errors import InputError
from ..files import replacing, write_text
from .anatomy import LABEL_NAMES, REGIONS, Organ, Region, Tissue
from .appearance import CT_UNIT_HU, Contrast, tissue_intensities
from .itk import image_on
from .volume import Geometry, LabelMap, Volume


@dataclass(frozen=True)
class SyntheticSettings:
    """What a subject looks like and how it is imaged.

    Attributes:
        region: the part of the body in the field of view.
        size: voxels (z, y, x).
        spacing: mm (z, y, x). Slices much thicker than pixels are imaged as such: averaged over their thickness.
        contrast: family of intensities; "random" draws a family, or entirely random tissues, for each subject.
        labels: how many of :data:`.anatomy.LABEL_NAMES` are kept, counted from 1.
        noise: standard deviation as a fraction of the contrast range.
        bias: strength of the multiplicative field (standard deviation of its logarithm); none on CT.
        texture: standard deviation of the tissues' own mottling, as a fraction of the contrast range.
        variation: how much subjects differ in shape; 1 is natural, 0 none.
        zoom: smallest part of the region's extent a subject's field of view may show; below 1 it is a random crop.
    """

    region: Region = "torso"
    size: tuple[int, int, int] = (48, 64, 64)
    spacing: tuple[float, float, float] = (6.0, 5.0, 6.0)
    contrast: Contrast = "cine"
    labels: int = 3
    noise: float = 0.04
    bias: float = 0.15
    texture: float = 0.06
    variation: float = 1.0
    zoom: float = 1.0


def synthesize(seed: int, settings: SyntheticSettings) -> tuple[Volume, LabelMap]:
    """Subject ``seed``: an int16 volume (1, z, y, x) and its uint8 label map. The same seed gives the same voxels."""
    _check(settings)
    random = np.random.default_rng(seed)
    z, y, x = settings.spacing
    # Thick slices: the subject is made on thinner ones and averaged, which is what partial volume is.
    averaged = int(np.clip(round(z / min(y, x)), 1, 4))
    shape = (settings.size[0] * averaged, settings.size[1], settings.size[2])
    tissues, labels = _paint(random, shape, settings)
    image, ct = _render(random, tissues, settings)
    image = image.reshape(settings.size[0], averaged, *shape[1:]).mean(1)
    labels = labels[averaged // 2 :: averaged]
    labels = np.where(labels <= settings.labels, labels, 0).astype(np.uint8)
    image = _acquire(random, image, ct, settings)
    origin = tuple(-0.5 * (n - 1) * s for n, s in zip(settings.size[::-1], settings.spacing[::-1], strict=True))
    geometry = Geometry(
        size=settings.size[::-1],
        spacing=settings.spacing[::-1],
        origin=(origin[0], origin[1], origin[2]),
        direction=(1, 0, 0, 0, 1, 0, 0, 0, 1),
    )
    name = f"synthetic_{seed:05d}"
    array = np.clip(np.rint(image), -32768, 32767).astype(np.int16)[None]
    return Volume(array, geometry, name), LabelMap(labels, geometry, name)


def write_dataset(folder: Path, cases: int, seed: int, settings: SyntheticSettings, labeled: int | None = None) -> None:
    """Write subjects ``seed`` .. ``seed + cases - 1`` as a dataset.

    ``folder`` gets ``imagesTr``, ``labelsTr`` (the first ``labeled`` cases; all by default) and a ``dataset.json``
    with the keys of the Medical Segmentation Decathlon and of nnU-Net v2.

    Raises:
        InputError: ``labeled`` exceeds ``cases``, a negative seed, settings that cannot be imaged, or a folder not
            writable.
    """
    labeled = cases if labeled is None else labeled
    if cases < 1 or not 0 <= labeled <= cases:
        raise InputError(f"Cannot make {cases} cases of which {labeled} are labeled.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, not {seed}.")

    training, dataset = [], {}
    for index in range(cases):
        volume, label_map = synthesize(seed + index, settings)
        entry = {"image": f"./imagesTr/{volume.name}.nii.gz"}
        _write(folder / entry["image"], volume.array[0], volume.geometry)
        if index < labeled:
            entry["label"] = f"./labelsTr/{volume.name}.nii.gz"
            _write(folder / entry["label"], label_map.array.astype(np.int16), label_map.geometry)
        training.append(entry)
        dataset[volume.name] = dict(entry)
    names = {k: v for k, v in LABEL_NAMES.items() if k <= settings.labels}
    description = {
        "name": "Synthetic anatomy",
        "description": f"Synthetic {settings.region}, contrast {settings.contrast}, seed {seed}",
        "tensorImageSize": "3D",
        "modality": {"0": _channel(settings)},
        "channel_names": {"0": _channel(settings)},
        "labels": {"background": 0, **{name: value for value, name in names.items()}},
        "numTraining": cases,
        "numTest": 0,
        "file_ending": ".nii.gz",
        "training": training,
        "test": [],
        "dataset": dataset,
    }
    write_text(folder / "dataset.json", json.dumps(description, indent=2) + "\n")


def _write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    with replacing(path) as temporary:
        sitk.WriteImage(image_on(array, geometry), str(temporary), useCompression=True)


def _channel(settings: SyntheticSettings) -> str:
    return "CT" if settings.contrast == "CT" else "MRI"


def _check(settings: SyntheticSettings) -> None:
    if min(settings.size) < 8 or min(settings.spacing) <= 0:
        raise InputError(f"A synthetic volume needs 8 voxels an axis and positive spacing, not {settings.size}.")
    if not 1 <= settings.labels <= len(LABEL_NAMES):
        raise InputError(f"There are 1 to {len(LABEL_NAMES)} synthetic labels to keep, not {settings.labels}.")
    if not 0 < settings.zoom <= 1:
        raise InputError(f"zoom is a part of the region in (0, 1], not {settings.zoom}.")


def _field(random: np.random.Generator, shape: tuple[int, ...], knots: int) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1 with ``knots`` random values along each axis."""
    coefficients = random.standard_normal((knots,) * 3).astype(np.float32)
    for axis, n in enumerate(shape):
        # A separable Gaussian basis: three small matrix products instead of a filter over the volume.
        distance = np.linspace(0, knots - 1, n)[:, None] - np.arange(knots)[None]
        basis = np.exp(-1.5 * distance**2).astype(np.float32)
        basis /= np.sqrt((basis**2).sum(1, keepdims=True))
        coefficients = np.moveaxis(np.tensordot(basis, coefficients, (1, axis)), 0, axis)
    return coefficients


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
        grid[axis] += 0.03 * amount * _field(random, shape, 5) + 0.009 * amount * _field(random, shape, 10)
    return grid[0], grid[1], grid[2]


def _paint(
    random: np.random.Generator, shape: tuple[int, ...], settings: SyntheticSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue and label of every voxel."""
    organs = REGIONS[settings.region][0]
    x, y, z = _coordinates(random, shape, settings)
    tissues = np.zeros(shape, np.uint8)
    labels = np.zeros(shape, np.uint8)
    moved = {}
    for organ in organs:
        if organ.group not in moved:
            shift = settings.variation * random.normal(0, 0.018, 3)
            moved[organ.group] = (shift, np.exp(settings.variation * random.normal(0, 0.06)))
        _paint_organ(organ, *moved[organ.group], (x, y, z), tissues, labels)
    _add_detail(random, settings, (x, y, z), tissues, labels)
    return tissues, labels


def _paint_organ(
    organ: Organ,
    shift: np.ndarray,
    scale: float,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    tissues: np.ndarray,
    labels: np.ndarray,
) -> None:
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
        return
    window = []
    for axis in range(3):
        hit = np.flatnonzero(near.any(tuple(a for a in range(3) if a != axis)))
        window.append(slice(max(0, (hit[0] - 1) * step), (hit[-1] + 2) * step))
    part = tuple(window)
    local = [(grid[a][part] - shift[a] - center[a]) / scale + center[a] for a in range(3)]
    inside = organ.shape.level(*(a.astype(np.float32, copy=False) for a in local)) < 0
    tissues[part][inside] = organ.tissue
    labels[part][inside] = organ.label


def _add_detail(
    random: np.random.Generator,
    settings: SyntheticSettings,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray],
    tissues: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Individual structure below the atlas: vessel trees, bowel loops, sulci. Never changes a label."""
    shape = tissues.shape
    knots = {"torso": 14, "heart": 8, "head": 20, "temporal": 6}[settings.region]
    first, second = _field(random, shape, knots), _field(random, shape, knots)
    # Two noise fields vanish together along curves: a cheap vessel tree.
    vessels = first**2 + second**2 < 0.03
    tissues[vessels & np.isin(tissues, (Tissue.LUNG, Tissue.LIVER))] = Tissue.VENOUS
    if settings.region in ("head", "temporal"):
        _fold_cortex(first, grid[2], tissues)
        return
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


def _render(random: np.random.Generator, tissues: np.ndarray, settings: SyntheticSettings) -> tuple[np.ndarray, bool]:
    """Noise-free image of range about 1, and whether it is CT."""
    table, ct = tissue_intensities(random, settings.contrast)
    mottling = settings.texture * random.uniform(0.3, 1.7, len(table)) * (0.5 if ct else 1)
    mottling[[Tissue.LUNG, Tissue.FAT, Tissue.BOWEL, Tissue.MARROW]] *= 1.6
    mottling[Tissue.AIR] = 0
    coarse, fine = _field(random, tissues.shape, 9), _field(random, tissues.shape, 28)
    image = table.astype(np.float32)[tissues] + mottling.astype(np.float32)[tissues] * (0.6 * coarse + 0.8 * fine)
    return image, ct


def _acquire(random: np.random.Generator, image: np.ndarray, ct: bool, settings: SyntheticSettings) -> np.ndarray:
    """Point spread, then noise: correlated Gaussian on CT (result in HU), coil sensitivity and Rician on MR."""
    image = gaussian_filter(image, random.uniform(0.35, 0.75) * np.array([0.8, 1, 1]), mode="nearest", truncate=3)
    noise = settings.noise * random.uniform(0.6, 1.4)
    if ct:
        grain = gaussian_filter(random.standard_normal(image.shape, np.float32), (0, 0.7, 0.7))
        return np.maximum((image + noise * grain / grain.std()) * CT_UNIT_HU, -1024)
    image = image * np.exp(settings.bias * _field(random, image.shape, 3))
    real = image + noise * random.standard_normal(image.shape, np.float32)
    # MR has no unit: one scanner's 300 is another's 3000.
    unit = np.exp(random.uniform(np.log(150), np.log(2500)))
    return np.hypot(real, noise * random.standard_normal(image.shape, np.float32)) * unit

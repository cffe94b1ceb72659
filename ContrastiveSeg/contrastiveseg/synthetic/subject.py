"""Synthetic subjects: the atlas of :mod:`.anatomy` deformed, given an appearance, and imaged.

One normalized position shows the same anatomy, with variation, in every subject of a region; appearance is drawn
anew for each. Made by us from formulas alone, so free of any patient and of any license.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from ..volumes.volume import Geometry, LabelMap, Volume
from .anatomy import LABEL_NAMES, Tissue
from .appearance import CT_UNIT_HU, tissue_intensities
from .noise import smooth_noise
from .painting import paint
from .settings import SyntheticSettings


def synthesize(seed: int, settings: SyntheticSettings) -> tuple[Volume, LabelMap]:
    """Subject ``seed``: an int16 volume (1, z, y, x) and its uint8 label map. The same seed gives the same voxels."""
    random = np.random.default_rng(seed)
    z, y, x = settings.spacing
    # Thick slices: the subject is made on thinner ones and averaged, which is what partial volume is.
    averaged = int(np.clip(round(z / min(y, x)), 1, 4))
    shape = (settings.size[0] * averaged, settings.size[1], settings.size[2])
    tissues, labels, _ = paint(random, shape, settings)
    image, ct = _render(random, tissues, settings)
    image = image.reshape(settings.size[0], averaged, *shape[1:]).mean(1)
    labels = labels[averaged // 2 :: averaged]
    labels = np.where(labels <= settings.labels, labels, 0).astype(np.uint8)
    image = _acquire(random, image, ct, settings)
    geometry = _centered(settings)
    name = f"synthetic_{seed:05d}"
    array = np.clip(np.rint(image), -32768, 32767).astype(np.int16)[None]
    return Volume(array, geometry, name), LabelMap(labels, geometry, name)


def structures(seed: int, settings: SyntheticSettings) -> LabelMap:
    """Everything in subject ``seed`` told apart: each tissue of each organ is a label, and nothing is background.

    The right and the left of a pair are one. Values are above 0 and the same in every subject of a region.
    """
    tissues, labels, organs = paint(np.random.default_rng(seed), settings.size, settings)
    values = 1 + (organs.astype(np.int16) * len(Tissue) + tissues) * (len(LABEL_NAMES) + 1) + labels
    return LabelMap(values.astype(np.int16), _centered(settings), f"structures_{seed:05d}")


def _centered(settings: SyntheticSettings) -> Geometry:
    """The grid of ``settings`` around the world's origin."""
    origin = tuple(-0.5 * (n - 1) * s for n, s in zip(settings.size[::-1], settings.spacing[::-1], strict=True))
    return Geometry(
        size=settings.size[::-1],
        spacing=settings.spacing[::-1],
        origin=(origin[0], origin[1], origin[2]),
        direction=(1, 0, 0, 0, 1, 0, 0, 0, 1),
    )


def _render(random: np.random.Generator, tissues: np.ndarray, settings: SyntheticSettings) -> tuple[np.ndarray, bool]:
    """Noise-free image of range about 1, and whether it is CT."""
    table, ct = tissue_intensities(random, settings.contrast)
    mottling = settings.texture * random.uniform(0.3, 1.7, len(table)) * (0.5 if ct else 1)
    mottling[[Tissue.LUNG, Tissue.FAT, Tissue.BOWEL, Tissue.MARROW]] *= 1.6
    mottling[Tissue.AIR] = 0
    coarse, fine = smooth_noise(random, tissues.shape, 9), smooth_noise(random, tissues.shape, 28)
    image = table.astype(np.float32)[tissues] + mottling.astype(np.float32)[tissues] * (0.6 * coarse + 0.8 * fine)
    return image, ct


def _acquire(random: np.random.Generator, image: np.ndarray, ct: bool, settings: SyntheticSettings) -> np.ndarray:
    """Point spread, then noise: correlated Gaussian on CT (result in HU), coil sensitivity and Rician on MR."""
    image = gaussian_filter(image, random.uniform(0.35, 0.75) * np.array([0.8, 1, 1]), mode="nearest", truncate=3)
    noise = settings.noise * random.uniform(0.6, 1.4)
    if ct:
        grain = gaussian_filter(random.standard_normal(image.shape, np.float32), (0, 0.7, 0.7))
        return np.maximum((image + noise * grain / grain.std()) * CT_UNIT_HU, -1024)
    image = image * np.exp(settings.bias * smooth_noise(random, image.shape, 3))
    real = image + noise * random.standard_normal(image.shape, np.float32)
    # MR has no unit: one scanner's 300 is another's 3000.
    unit = np.exp(random.uniform(np.log(150), np.log(2500)))
    return np.hypot(real, noise * random.standard_normal(image.shape, np.float32)) * unit

"""How bright each tissue of a synthetic subject is: families of contrast, and contrasts no scanner has."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .anatomy import Tissue

Contrast = Literal["T1", "T2", "LGE", "cine", "CT", "random"]

# One column a family; MR in arbitrary units of 0 to 1, CT in HU.
_FAMILIES = ("T1", "T2", "LGE", "cine", "CT")
_INTENSITIES: dict[Tissue, tuple[float, float, float, float, float]] = {
    Tissue.AIR: (0.02, 0.02, 0.03, 0.03, -1000),
    Tissue.SKIN: (0.45, 0.35, 0.40, 0.45, 20),
    Tissue.FAT: (0.90, 0.75, 0.48, 0.62, -100),
    Tissue.MUSCLE: (0.36, 0.22, 0.25, 0.30, 55),
    Tissue.LUNG: (0.07, 0.06, 0.09, 0.08, -820),
    Tissue.BLOOD: (0.30, 0.20, 0.72, 0.90, 190),
    Tissue.VENOUS: (0.32, 0.24, 0.68, 0.85, 150),
    Tissue.MYOCARDIUM: (0.42, 0.32, 0.30, 0.38, 95),
    Tissue.LIVER: (0.55, 0.28, 0.42, 0.42, 110),
    Tissue.CORTEX: (0.48, 0.60, 0.60, 0.60, 185),
    Tissue.MEDULLA: (0.36, 0.72, 0.48, 0.68, 120),
    Tissue.SPLEEN: (0.38, 0.55, 0.50, 0.55, 125),
    Tissue.BONE: (0.10, 0.08, 0.12, 0.10, 550),
    Tissue.MARROW: (0.65, 0.48, 0.42, 0.45, 230),
    Tissue.DISC: (0.32, 0.60, 0.30, 0.55, 85),
    Tissue.FLUID: (0.15, 0.95, 0.20, 0.95, 10),
    Tissue.BOWEL: (0.28, 0.65, 0.35, 0.60, 35),
    Tissue.GRAY: (0.48, 0.55, 0.48, 0.52, 38),
    Tissue.WHITE: (0.68, 0.40, 0.55, 0.42, 28),
    Tissue.NUCLEUS: (0.56, 0.48, 0.52, 0.48, 36),
    Tissue.HIPPOCAMPUS: (0.50, 0.57, 0.47, 0.54, 36),
}

#: CT is made in this unit, so that its contrast range is about 1 like MR's.
CT_UNIT_HU = 400.0


def tissue_intensities(random: np.random.Generator, contrast: Contrast) -> tuple[np.ndarray, bool]:
    """One subject's intensity for each :class:`Tissue`, of range about 1, and whether it is CT (unit 400 HU).

    "random" is, half of the time each, a family drawn at random and independent uniform intensities.
    """
    family: str = contrast
    if family == "random":
        if random.random() < 0.5:
            table = random.uniform(0.05, 1, len(Tissue))
            # Mostly dark air, as in nearly every scan; now and then anything.
            if random.random() < 0.8:
                table[Tissue.AIR] = 0.03
            return table, False
        family = _FAMILIES[random.integers(len(_FAMILIES))]
    ct = family == "CT"
    table = np.array([_INTENSITIES[t][_FAMILIES.index(family)] for t in Tissue]) / (CT_UNIT_HU if ct else 1)
    return table + random.normal(0, 0.025 if ct else 0.05, len(table)) * (table > table.min()), ct

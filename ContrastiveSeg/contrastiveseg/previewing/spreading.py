"""From strokes to scores everywhere: the classifier of the preview, and what it takes for background."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .classifier import balanced_shares, fit
from .feature_maps import FeatureMaps
from .strokes import Strokes

#: The penalty of the ridge classifier, for features whose groups have a variance of 1 each.
PENALTY = 0.07
#: Voxels drawn from the whole volume that count as background although nobody said so: most of a volume is. They count
#: this much against the painted ones, all together; more where no background was painted. Without them a classifier
#: knows nothing of all that lies far from the strokes (docs/benchmarks.md).
DRAWN = 2000
SHARE, SHARE_ALONE = 0.6, 1.5


def class_scores(features: FeatureMaps, strokes: Strokes) -> Tensor:
    """Scores (classes, z, y, x) on the working grid; class 0 is background, n the n-th of the strokes' values."""
    drawn = _drawn(strokes)
    voxels = np.concatenate([strokes.voxels, drawn])
    classes = np.concatenate([strokes.classes, np.zeros(len(drawn), np.intp)])
    share = SHARE if strokes.background else SHARE_ALONE
    shares = np.concatenate([balanced_shares(strokes.classes), np.full(len(drawn), share / max(len(drawn), 1))])
    scale = features.scale()
    rows = (features.at(voxels, strokes.grid) - features.mean) * scale
    found = fit(rows, classes, shares, len(strokes.values) + 1, PENALTY)
    weights = found.weights * scale
    return features.scores(weights, found.bias - weights @ features.mean)


def _drawn(strokes: Strokes) -> np.ndarray:
    """Voxels (N, 3) of the whole volume that are not painted, the same ones each time."""
    total = int(np.prod(strokes.grid))
    flat = np.random.default_rng(0).integers(0, total, DRAWN)
    painted = np.ravel_multi_index(tuple(strokes.voxels.T), strokes.grid)
    return np.stack(np.unravel_index(np.setdiff1d(flat, painted), strokes.grid), 1)

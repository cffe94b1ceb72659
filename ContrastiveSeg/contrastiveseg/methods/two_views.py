"""What pre-training methods share that contrast two views of each crop. Not a method itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..contrast.geometry import View
from ..contrast.positions import cut_crops, random_positions
from ..data.augment_intensity import NEVER, IntensitySettings, RandomRange
from ..data.augment_spatial import SpatialSettings, augment_spatial
from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..networks.backbone import Backbone
from ..parameters import ParameterError
from ..planning.patch import PatchRule
from .method import Method

#: Bias fields and curves, ours in every method that has them. Networks with instance norm are blind to brightness and
#: contrast alone; where tissues change places on the gray scale, what two views have in common is the anatomy.
BIAS, CURVE = RandomRange(0.7, 0.2, 0.8), RandomRange(0.8, 4, 8)


def strong_changes(reach: float, blur: float) -> IntensitySettings:
    """Brightness and contrast by up to ``reach``, gamma, noise, curves, bias fields; blur in a share ``blur``."""
    return IntensitySettings(
        brightness=RandomRange(0.8, -reach, reach),
        contrast=RandomRange(0.8, 1 - reach, 1 + reach),
        gamma=RandomRange(0.3, 0.7, 1.5),
        noise=RandomRange(0.5, 0.0, 0.2),
        blur=RandomRange(blur, 0.5, 1.0),
        low_resolution=NEVER,
        bias=BIAS,
        curve=CURVE,
    )


def check_moves(spatial: SpatialSettings) -> None:
    """Of methods that find the places of one view in the other by the views' matrices.

    Raises:
        ParameterError: views would be displaced by what the matrices do not know, and wrong places contrasted.
    """
    if spatial.elastic:
        raise ParameterError(
            "spatial.elastic",
            f"must be 0, not {spatial.elastic}: places of one view could not be found in the other.",
        )


class TwoViews(Method):
    """Of the settings, ``batch`` and ``margin`` say which crops are drawn, and ``spatial`` how each view is moved."""

    @classmethod
    def patch_rule(cls, backbone: Backbone, settings: Any) -> PatchRule:
        """A bottleneck of two voxels an axis or more: one could not be normalized."""
        return PatchRule(backbone.total_stride, least=2)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        """Crops of different volumes, with a margin around the patch."""
        crops = random_positions(source, self.plan, self.settings.batch, random)
        return cut_crops(source, self.plan, crops, self.settings.margin)

    def moved_twice(self, images: Tensor, labels: Tensor | None = None) -> View:
        """Two views of each of ``images`` (B, C, ...), each moved on its own with its ``labels``; first views first."""

        def twice(x: Tensor) -> Tensor:
            return x.repeat(2, *[1] * (x.ndim - 1))

        known = None if labels is None else twice(labels)
        settings, plan = self.settings.spatial, self.plan
        return View(*augment_spatial(twice(images), known, settings, plan.aspect, plan.patch_shape))

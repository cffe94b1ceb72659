"""A segmentation task of MONAI Label around a network of ours; needs the package monailabel (the extra bench).

Steps and settings are those of the task "segmentation" in the radiology app of MONAI Label 0.8.5
(sample-apps/radiology/lib/infers), but that intensities are normalized as the network wants them and that the axes lie
as it sees them. The centroids of labels, for a viewer, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from monai.inferers import Inferer, SlidingWindowInferer
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Spacingd,
)
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask
from monailabel.transform.post import Restored
from torch import nn

from contrastiveseg.checkpoints.card import Card


class SegmentationTask(BasicInferTask):
    """For networks of one channel that is normalized by its mean and standard deviation."""

    def __init__(self, card: Card, network: nn.Module) -> None:
        names = [label.name for label in card.labels]
        super().__init__(None, network, InferType.SEGMENTATION, names, 3, "", roi_size=card.plan.patch)
        self.spacing = card.plan.spacing
        self.axes = card.plan.conventions.orientation[::-1]  # arrays lie as (z, y, x)

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        return [
            LoadImaged("image"),
            EnsureTyped("image", device=data.get("device") if data else None),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes=self.axes, labels=None),
            Spacingd("image", pixdim=self.spacing),
            NormalizeIntensityd("image"),
        ]

    def inferer(self, data: Any = None) -> Inferer:
        return SlidingWindowInferer(
            self.roi_size, sw_batch_size=2, overlap=0.4, padding_mode="replicate", mode="gaussian"
        )

    def inverse_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        return []  # all that can be inverted

    def post_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        return [
            EnsureTyped("image", device=data.get("device") if data else None),
            Activationsd("pred", softmax=True),
            AsDiscreted("pred", argmax=True),
            Restored("pred", ref_image="image"),
        ]

"""Images rendered from label maps, on the compute device: every label gets a random appearance, then imaging follows.

A network that is to tell structures apart in any sequence has to see them in every appearance: after SynthSeg (Billot
et al., Medical Image Analysis 2023) and anatomix (Dey et al., ICLR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.augment_intensity import NEVER, IntensitySettings, RandomRange, augment_intensity
from ..parameters import Parameters, parameter

_IMAGING = IntensitySettings(
    brightness=NEVER,
    contrast=NEVER,
    gamma=RandomRange(0.5, 0.5, 2.0),
    noise=RandomRange(0.5, 0.0, 0.25),
    blur=RandomRange(0.5, 0.4, 1.2),
    low_resolution=RandomRange(0.25, 0.4, 1.0),
    bias=RandomRange(0.6, 0.2, 0.8),
)


@dataclass(frozen=True)
class RenderingSettings(Parameters):
    """What a rendered image looks like; the range of intensities before imaging is 1."""

    # Neighbors may look alike, as blood and liver do in some sequences; shape and surroundings tell them apart.
    looks: tuple[int, int] = parameter(
        (4, 16), help="how many appearances an image has, of which each label draws one", at_least=2
    )
    distinct: float = parameter(
        0.5, help="share of the images in which every label has an appearance of its own", at_least=0, at_most=1
    )
    noise: float = parameter(
        0.08, help="largest standard deviation of an appearance's voxels", unit="range of intensities", at_least=0
    )
    texture: float = parameter(
        0.1, help="largest standard deviation of an appearance's mottling", unit="range of intensities", at_least=0
    )
    grain: int = parameter(3, help="size of the mottles", unit="voxels", at_least=1)
    intensity: IntensitySettings = parameter(_IMAGING, help="imaging: bias field, blur, low resolution, gamma, noise")


def render(labels: Tensor, settings: RenderingSettings) -> Tensor:
    """Images (B, 1, ...) of label maps (B, ...) of 0 and more, of mean 0 and deviation 1; each call draws anew."""
    with torch.autocast(labels.device.type, enabled=False):
        count, shape = len(labels), labels.shape[1:]
        appearances = _appearances(count, int(labels.max()) + 1, settings).to(labels.device)
        flat = labels.flatten(1)
        mean, noise, texture = (table.gather(1, flat) for table in appearances)
        mottles = torch.randn(count, 1, *[max(2, n // settings.grain) for n in shape], device=labels.device)
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        mottled = F.interpolate(mottles, size=shape, mode=mode).flatten(1)
        images = mean.addcmul_(noise, torch.randn_like(mean)).addcmul_(texture, mottled)
        images = standardized(images).view(count, 1, *shape)
        return standardized(augment_intensity(images, settings.intensity))


def standardized(images: Tensor) -> Tensor:
    """``images`` (B, ...), each with mean 0 and deviation 1; a constant one stays constant."""
    flat = images.flatten(1)
    deviation, mean = torch.std_mean(flat, 1, keepdim=True)
    return ((flat - mean) / deviation.clamp_min(1e-3)).view(images.shape)


def _appearances(count: int, labels: int, settings: RenderingSettings) -> Tensor:
    """(3, count, labels): mean, noise and texture of every label in every image."""
    scale = torch.tensor([1.0, settings.noise, settings.texture]).view(3, 1, 1)
    drawn = torch.rand(3, count, labels) * scale
    for image in range(count):
        if float(torch.rand(())) >= settings.distinct:
            number = int(torch.randint(settings.looks[0], settings.looks[1] + 1, ()))
            drawn[:, image] = drawn[:, image, torch.randint(min(number, labels), (labels,))]
    return drawn

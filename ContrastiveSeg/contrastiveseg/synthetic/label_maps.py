"""Random label maps on the compute device: parts divided by smooth noise, and bent, hollow ellipsoids over them.

What a structure is called does not matter to a first convolution; that borders, walls, cavities and tubes of every size
occur does. No atlas is used. Random numbers come from torch's global generators, decisions from that of the CPU, so
that a GPU never waits for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..parameters import Parameters, parameter


@dataclass(frozen=True)
class ShapeSettings(Parameters):
    """How random label maps are made; numbers are drawn uniformly from their ranges, radii by their logarithm."""

    parts: tuple[int, int] = parameter((3, 10), help="how many parts unlabeled voxels are divided into", at_least=1)
    knots: tuple[int, int] = parameter(
        (3, 6), help="knots an axis of the noise that divides them; few make large parts", at_least=2
    )
    painted: tuple[int, int] = parameter((0, 6), help="how many shapes are painted over a map", at_least=0)
    radius: tuple[float, float] = parameter(
        (0.08, 0.6),
        help="half axes of a shape, drawn for each axis, so that tubes and plates are among them",
        unit="half the map's longest side",
        above=0,
    )
    bend: float = parameter(1.5, help="largest curvature of a shape, so that tubes are arcs", at_least=0)
    hollow: float = parameter(
        0.4,
        help="share of the shapes that are a wall around a cavity of another label",
        at_least=0,
        at_most=1,
    )
    wall: tuple[float, float] = parameter(
        (0.15, 0.5), help="thickness of the wall of a hollow shape", unit="the shape's radius", above=0, below=1
    )
    wobble: float = parameter(
        0.15,
        help="largest smooth displacement of a map's shapes",
        unit="half the map's longest side",
        at_least=0,
    )


def fill_parts(labels: Tensor, settings: ShapeSettings) -> Tensor:
    """``labels`` (B, ...) with every 0 replaced by the number of a random part, above all labels there are."""
    shape, filled = labels.shape[1:], labels.clone()
    first = int(labels.max()) + 1
    for label_map in filled:
        if not bool((label_map == 0).any()):
            continue
        parts, knots = _integer(settings.parts), _integer(settings.knots)
        noise = torch.randn(1, parts, *[knots] * len(shape)).to(labels.device)
        # A part is where its noise is the highest, so that borders are smooth and parts touch each other.
        enlarged = F.interpolate(noise, size=shape, mode=_linear(shape), align_corners=True)[0]
        # Not argmax, which takes five times as long.
        number = enlarged.max(0).indices
        label_map.copy_(torch.where(label_map == 0, number + first, label_map))
    return filled


def paint_shapes(labels: Tensor, settings: ShapeSettings) -> Tensor:
    """``labels`` (B, ...) with random shapes over them; each shape, and each cavity, has a label of its own."""
    shape, painted = labels.shape[1:], labels.clone()
    coordinates = _coordinates(shape, labels.device)
    for label_map in painted:
        number = int(labels.max()) + 1
        count = _integer(settings.painted)
        position = coordinates + settings.wobble * _displacement(shape, labels.device) if count else coordinates
        for _ in range(count):
            level, wall = _level(position, shape, settings), _uniform(*settings.wall)
            label_map.masked_fill_(level < 1, number)
            if _uniform(0, 1) < settings.hollow:
                label_map.masked_fill_(level < (1 - wall) ** 2, number + 1)
            number += 2
    return painted


def _coordinates(shape: Sequence[int], device: torch.device) -> Tensor:
    """(d, *shape): from -1 to 1 along the longest side, and in the same unit along the others."""
    longest = max(shape)
    axes = [(torch.arange(n, device=device) * 2 + 1 - n) / longest for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _level(position: Tensor, shape: Sequence[int], settings: ShapeSettings) -> Tensor:
    """(*shape): squared distance from the center of a random bent ellipsoid in units of its radii; inside below 1."""
    d, longest = len(shape), max(shape)
    center = torch.tensor([_uniform(-n / longest, n / longest) for n in shape])
    low, high = (math.log(r) for r in settings.radius)
    radii = torch.tensor([math.exp(_uniform(low, high)) for _ in shape])
    rotation = torch.linalg.qr(torch.randn(d, d))[0]
    ones = [1] * d
    offset = (position - center.to(position.device).view(-1, *ones)).flatten(1)
    along = (rotation.to(position.device) @ offset).view(position.shape)
    # The thinnest axis bends along the thickest one.
    thin, thick = int(radii.argmin()), int(radii.argmax())
    if thin != thick:
        along[thin] += settings.bend * _uniform(-1, 1) * along[thick] ** 2
    return ((along / radii.to(position.device).view(-1, *ones)) ** 2).sum(0)


def _displacement(shape: Sequence[int], device: torch.device) -> Tensor:
    """(d, *shape): smooth noise between -1 and 1."""
    knots = (2 * torch.rand(1, len(shape), *[4] * len(shape)) - 1).to(device)
    return F.interpolate(knots, size=tuple(shape), mode=_linear(shape), align_corners=True)[0]


def _linear(shape: Sequence[int]) -> str:
    return "bilinear" if len(shape) == 2 else "trilinear"


def _integer(limits: tuple[int, int]) -> int:
    return int(torch.randint(limits[0], limits[1] + 1, ()))


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))

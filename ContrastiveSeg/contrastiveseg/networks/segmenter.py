"""Backbone and head: what is fine-tuned, stored and run; and taking over pre-trained sub-modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..results import TransferReport
from .backbone import Backbone

_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


class Segmenter(nn.Module):
    """A backbone with a 1x1 convolution to class logits.

    Args:
        backbone: any backbone.
        classes: number of classes, background included.
        auxiliary: at most so many lower decoder levels get a head of their own for deep supervision; they serve
            :meth:`forward_deep` only.
    """

    def __init__(self, backbone: Backbone, classes: int, auxiliary: int = 0) -> None:
        super().__init__()
        convolution = nn.Conv2d if len(backbone.strides[0]) == 2 else nn.Conv3d
        widths = backbone.decoder_channels[::-1]
        self.backbone = backbone
        self.head = convolution(widths[0], classes, 1)
        self.auxiliary = nn.ModuleList(convolution(w, classes, 1) for w in widths[1 : auxiliary + 1])

    @torch.no_grad()
    def set_prior(self, frequencies: Sequence[float]) -> None:
        """Let every head predict each class in proportion to the square root of its frequency before it has learned.

        With as much probability for a rare structure as for the background, the first steps only teach the network
        that there is no structure anywhere; in a short training some are not found again. The frequencies themselves
        would cost where structures are not rare (docs/explanation/what-we-tried.md).

        Args:
            frequencies: share of each class's voxels, background first; none above 0 counts as 1 in 10,000.
        """
        prior = torch.tensor(frequencies, dtype=torch.float32).clamp_min(1e-4).sqrt().log()
        for head in (self.head, *self.auxiliary):
            assert head.bias is not None
            head.bias.copy_(prior)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes, *spatial) of ``x`` (B, Cin, *spatial)."""
        return self.head(self.backbone.decode(self.backbone.encode(x))[-1])

    def forward_deep(self, x: Tensor) -> list[Tensor]:
        """Logits at full resolution and at each auxiliary level, finest first."""
        return self.deep_logits(self.backbone.decode(self.backbone.encode(x)))

    def deep_logits(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """:meth:`forward_deep`, from the decoder's maps, deepest first."""
        return [head(m) for head, m in zip((self.head, *self.auxiliary), maps[::-1], strict=False)]


def load_transferred(
    backbone: Backbone, tensors: Mapping[str, Tensor], modules: Sequence[str], thinner: bool = False
) -> TransferReport:
    """Copy exactly the named sub-modules from ``tensors`` into ``backbone``; nothing is copied unless all of it fits.

    Args:
        tensors: named as in ``backbone.state_dict()``; entries of other sub-modules are ignored.
        modules: "encoder", "decoder" (all blocks) or "decoder.0" (deepest) .. "decoder.L-1".
        thinner: ``backbone`` was made for thick slices (:func:`.presets.for_thick_slices`), the tensors were not.

    A convolution over one input channel is repeated over several and divided by their number, so that equal channels
    give the old response; one over several channels is summed into one. With ``thinner`` a kernel that has one voxel
    along an axis here and several there is summed along it, so that what does not change along that axis gives the old
    response; that of a transposed convolution, of which each gives another voxel, is averaged.

    Raises:
        InputError: a sub-module that is not there, or tensors that are missing, unexpected or of another shape.
    """
    known = ("encoder", *(f"decoder.{n}" for n in range(len(backbone.decoder))))
    unknown = sorted(set(modules) - {*known, "decoder"})
    if unknown:
        raise InputError(f"The network has no {', '.join(unknown)}. It has: {', '.join(known)}.")
    loaded = tuple(name for name in known if name in modules or name.partition(".")[0] in modules)
    own = backbone.state_dict()
    wanted = {name for name in own if _inside(name, loaded)}
    given = {name for name in tensors if _inside(name, loaded)}
    problems = [f"missing {name}" for name in sorted(wanted - given)]
    problems += [f"unexpected {name}" for name in sorted(given - wanted)]

    fitted = {name: tensors[name] for name in wanted & given}
    transposed = {f"{name}.weight" for name, module in backbone.named_modules() if isinstance(module, _TRANSPOSED)}
    channels = backbone.spec.in_channels
    for name, tensor in fitted.items():
        thin = _fit_kernel(tensor, own[name], name in transposed) if thinner else tensor
        fitted[name] = _fit_channels(thin, channels) if _differs_in_channels(thin, own[name], channels) else thin
    adapted = tuple(name for name in sorted(fitted) if fitted[name].shape != tensors[name].shape)
    for name in sorted(fitted):
        if fitted[name].shape != own[name].shape:
            problems.append(f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}")
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise InputError(
            f"The pre-trained weights do not fit this network: {'; '.join(problems[:8])}{more}. "
            "Use the network they were trained with."
        )
    with torch.no_grad():
        for name, tensor in fitted.items():
            own[name].copy_(tensor)
    sizes = {name: p.numel() for name, p in backbone.named_parameters()}
    taken = sum(n for name, n in sizes.items() if name in fitted)
    fresh = tuple(name for name in known if name not in loaded)
    return TransferReport(loaded, fresh, taken, sum(sizes.values()) - taken, adapted)


def _inside(name: str, modules: Sequence[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _fit_kernel(weight: Tensor, ours: Tensor, transposed: bool) -> Tensor:
    """``weight`` with one voxel along the axes where ``ours`` has one."""
    for axis in range(2, weight.ndim if weight.ndim == ours.ndim else 2):
        if ours.shape[axis] == 1 < weight.shape[axis]:
            weight = weight.mean(axis, keepdim=True) if transposed else weight.sum(axis, keepdim=True)
    return weight


def _differs_in_channels(theirs: Tensor, ours: Tensor, channels: int) -> bool:
    """Whether both are weights of a convolution over the input's channels, of which we have ``channels``."""
    same = theirs.ndim == ours.ndim > 2 and theirs.shape[0] == ours.shape[0] and theirs.shape[2:] == ours.shape[2:]
    return same and ours.shape[1] == channels != theirs.shape[1]


def _fit_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution weight (out, in, ...) for another number of input channels, where that is meaningful."""
    if weight.ndim > 1 and weight.shape[1] == 1:
        return weight.expand(-1, channels, *weight.shape[2:]) / channels
    if weight.ndim > 1 and channels == 1:
        return weight.sum(1, keepdim=True)
    return weight

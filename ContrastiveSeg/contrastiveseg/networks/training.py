"""Networks in training on a CPU: the same results through the faster of torch's kernels, and sound gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .backbone import Backbone
from .channels_last import channels_last, has_fast_convolutions, has_instance_norms_only, keep_channels_last


def for_training(module: nn.Module) -> None:
    """Make ``module`` quick and safe to train on a CPU, in place; weights and their names stay.

    On x86 processors the maps of backbones whose norms are instance norms are kept with their channels last: a step
    takes an eighth less (Testing/benchmarks/beside_trainer.py), in 2D up to a fifth. Results differ by rounding alone.

    For a 3-wide kernel on a map 2 voxels thick, torch 2.13's CPU bfloat16 weight gradient holds uninitialized memory
    (Testing/engine/test_training_networks.py shows it). Such maps are tiny, and stay in float32.

    For a transposed convolution's bfloat16 gradient oneDNN takes five times as long with that of a bias as without it,
    3 % of a step. So the bias gets its own from a sum.
    """
    for part in module.modules():
        if type(part) is nn.Conv3d:
            part.__class__ = _ThinSafeConv3d
        elif type(part) is nn.ConvTranspose3d and has_fast_convolutions():
            part.__class__ = _SummedBiasConvTranspose3d
    for part in module.modules():
        if isinstance(part, Backbone) and has_fast_convolutions() and has_instance_norms_only(part):
            _with_channels_last(part)


def _with_channels_last(backbone: Backbone) -> None:
    for part in backbone.modules():
        if isinstance(part, _ThinSafeConv3d):
            part.__class__ = _ChannelsLastConv3d
        elif type(part) is nn.Conv2d:
            part.__class__ = _ChannelsLastConv2d
        elif type(part) is nn.ConvTranspose2d:
            part.__class__ = _SummedBiasConvTranspose2d
        elif isinstance(part, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
            keep_channels_last(part)


class _ThinSafeConv3d(nn.Conv3d):
    """A convolution that leaves autocast where its input is fewer than 3 voxels thick."""

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 3 and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return self._convolved(x)

    def _convolved(self, x: Tensor) -> Tensor:
        return super().forward(x)


class _ChannelsLastConv3d(_ThinSafeConv3d):
    """One whose output has its channels last. The weights lie as they did: optimizer and files want them so."""

    def _convolved(self, x: Tensor) -> Tensor:
        if len(x) == 1 and not torch.is_autocast_enabled("cpu"):
            return super()._convolved(x)  # of one sample in float32, torch does not use oneDNN
        return self._conv_forward(x, channels_last(self.weight), self.bias)


class _ChannelsLastConv2d(nn.Conv2d):
    """A convolution whose output has its channels last; its weights lie as they did."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, channels_last(self.weight), self.bias)


class _SummedBiasConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution whose bias gets its gradient from a sum."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.bias is None or output_size is not None or not torch.is_grad_enabled():
            return super().forward(x, output_size)
        return _transposed(self, x, self.bias)


class _SummedBiasConvTranspose3d(nn.ConvTranspose3d):
    """A transposed convolution whose bias gets its gradient from a sum."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.bias is None or output_size is not None or not torch.is_grad_enabled():
            return super().forward(x, output_size)
        return _transposed(self, x, self.bias)


def _transposed(layer: nn.ConvTranspose2d | nn.ConvTranspose3d, x: Tensor, bias: Tensor) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    given = (x.to(dtype), layer.weight.to(dtype), bias.to(dtype))
    where = (layer.stride, layer.padding, layer.dilation, True, layer.output_padding, layer.groups)
    return _WithSummedBias.apply(*given, where)


class _WithSummedBias(torch.autograd.Function):
    """``aten::convolution``, whose backward pass leaves the bias to a sum over samples and voxels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, where: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.where = where
        return torch.convolution(x, weight, bias, *where)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = [*ctx.needs_input_grad[:2], False]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(given, x, weight, None, *ctx.where, wanted)
        return to_x, to_weight, given.sum([0, *range(2, given.ndim)]), None

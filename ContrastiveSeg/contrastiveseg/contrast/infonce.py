"""InfoNCE and its supervised variants: one log-sum-exp, in float32, computed in pieces.

The pieces bound the memory of similarities; boolean masks, a byte a pair, are not divided.

l(a) = log sum_{k in C(a)} exp(<a, k> / tau) - mean_{b in P(a)} <a, b> / tau, averaged over the anchors with a positive:
with one positive an anchor it is InfoNCE, with several SupCon with the logarithm inside the sum ("out"). Every
contrastive loss of the engine is this one with other rows, positives P and compared rows C, but for those in which
classes are balanced (:mod:`.balanced_contrast`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Similarities held at once; more are computed piece by piece.
CHUNK = 2**21


def unit(rows: Tensor, eps: float = 1e-12) -> Tensor:
    """``rows`` (..., P) at unit length, at least in float32; rows shorter than ``eps`` are divided by ``eps``."""
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1, eps=eps)


def infonce(
    anchors: Tensor,
    keys: Tensor,
    positive: Tensor,
    compared: Tensor | None = None,
    temperature: float = 0.1,
    together: bool = False,
) -> Tensor:
    """l(a) averaged over the anchors that have a positive.

    Args:
        anchors: (..., A, P) and keys: (..., M, P), of unit length (see :func:`unit`). Leading dimensions are
            independent problems.
        positive: boolean, (A, M) or (..., A, M), true where key k is a positive of anchor a; or the number of its only
            positive, integers (A) or (..., A), -1 for none.
        compared: boolean like ``positive``, true for the keys in the denominator, positives among them; None for all.
        together: an anchor's positives (a mask) count as one, by the mean of their exponentials p, against all other
            compared keys: l(a) = -log(p / (p + sum_{k compared, not positive} exp(<a, k> / tau))).

    Returns:
        Scalar, whatever autocast says in the rows' own type; 0 with gradients of 0 if no anchor has a positive.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        problems = anchors.shape[:-2].numel()
        by_mask = positive.dtype == torch.bool
        has_positive = positive.any(-1) if by_mask else positive >= 0
        counted = has_positive.sum() * (problems // has_positive.shape[:-1].numel())
        rows, all_keys = _problems(anchors / temperature, 2), _problems(keys, 2)
        positives = _problems(positive, 2 if by_mask else 1)
        denominators = None if compared is None else _problems(compared, 2)
        return _Sum.apply(rows, all_keys, positives, denominators, together) / counted.clamp_min(1)


class _Sum(torch.autograd.Function):
    """l(a) summed over (N, A, P) anchors that come divided by the temperature.

    The gradient is computed in the same pass over the pieces: none of them is kept, and none computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, keys: Tensor, positive: Tensor, compared: Tensor | None, together: bool
    ) -> Tensor:
        total = anchors.new_zeros(())
        slopes = [
            torch.zeros_like(x) if n else None for x, n in zip((anchors, keys), ctx.needs_input_grad, strict=False)
        ]
        for piece in _pieces(anchors.shape[0], anchors.shape[1], keys.shape[1]):
            rows, columns = anchors[piece], keys[piece[0]]
            similarity = rows @ columns.transpose(-1, -2)
            given = (_piece(positive, piece), None if compared is None else _piece(compared, piece))
            value, slope = (_together if together else _apart)(similarity, *given)
            total += value
            if slopes[0] is not None:
                slopes[0][piece] = slope @ columns
            if slopes[1] is not None:
                slopes[1][piece[0]] += slope.transpose(-1, -2) @ rows
        ctx.save_for_backward(*slopes)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes = (None if slope is None else gradients[0] * slope for slope in ctx.saved_tensors)
        return (*slopes, None, None, None)


# Where nothing is to be compared, the lowest number stands instead of minus infinity: no row may become NaN. Both
# functions overwrite ``similarity`` (N, A, M) and return the sum over anchors and its derivative by the similarities.


def _apart(similarity: Tensor, positive: Tensor, compared: Tensor | None) -> tuple[Tensor, Tensor]:
    """Each positive against all compared keys."""
    if positive.dtype == torch.bool:
        number = positive.sum(-1, keepdim=True)
        has_positive, weight = number > 0, positive / number.clamp_min(1).to(similarity.dtype)
        attracted = (similarity * weight).sum(-1, keepdim=True)
    else:
        has_positive = (positive >= 0).unsqueeze(-1)
        index = positive.clamp_min(0).unsqueeze(-1).expand(*similarity.shape[:-1], 1)
        attracted = similarity.gather(-1, index)
    if compared is not None:
        similarity.masked_fill_(~compared, torch.finfo(similarity.dtype).min)
    total = similarity.logsumexp(-1, keepdim=True)
    slope = similarity.sub_(total).exp_()
    if positive.dtype == torch.bool:
        slope.sub_(weight)
    else:
        slope.scatter_add_(-1, index, slope.new_full((), -1.0).expand_as(index))
    return ((total - attracted) * has_positive).sum(), slope.mul_(has_positive)


def _together(similarity: Tensor, positive: Tensor, compared: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean exponential of the positives against all other compared keys."""
    lowest, number = torch.finfo(similarity.dtype).min, positive.sum(-1, keepdim=True)
    near = similarity.masked_fill(~positive, lowest)
    far = similarity.masked_fill_(positive if compared is None else positive | ~compared, lowest)
    attracted, repelled = near.logsumexp(-1, keepdim=True), far.logsumexp(-1, keepdim=True)
    gap = repelled - attracted + number.clamp_min(1).to(similarity.dtype).log()
    slope = far.sub_(repelled).exp_().sub_(near.sub_(attracted).exp_())
    return (F.softplus(gap) * (number > 0)).sum(), slope.mul_(gap.sigmoid() * (number > 0))


def _problems(x: Tensor, kept: int) -> Tensor:
    """``x`` with its leading dimensions, all but the last ``kept``, flattened to one."""
    leading = x.shape[: x.ndim - kept]
    return x.reshape(leading.numel(), *x.shape[len(leading) :])


def _piece(mask: Tensor, piece: tuple[slice, slice]) -> Tensor:
    """A piece of a mask that holds for each problem, or for all of them."""
    return mask[piece if len(mask) > 1 else (slice(None), piece[1])]


def _pieces(problems: int, anchors: int, keys: int) -> Iterator[tuple[slice, slice]]:
    """(problems, anchors) to compute at once: all anchors where they fit, else some anchors of one problem."""
    if anchors * keys <= CHUNK:
        step = max(1, CHUNK // max(1, anchors * keys))
        for start in range(0, problems, step):
            yield slice(start, start + step), slice(None)
        return
    step = max(1, CHUNK // keys)
    for problem in range(problems):
        for start in range(0, anchors, step):
            yield slice(problem, problem + 1), slice(start, start + step)

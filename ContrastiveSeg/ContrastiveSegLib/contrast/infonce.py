"""InfoNCE and its supervised variants: one log-sum-exp, in float32, computed in pieces that bound the memory.

l(a) = log sum_{k in C(a)} exp(<a, k> / tau) - mean_{b in P(a)} <a, b> / tau, averaged over the anchors with a positive:
with one positive an anchor it is InfoNCE, with several SupCon with the logarithm inside the sum ("out"). Every
contrastive loss of the engine is this one with other rows, positives P and compared rows C.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Similarities held at once; more are computed piece by piece, and again in the backward pass.
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
        pieces = list(_pieces(problems, rows.shape[1], all_keys.shape[1]))
        total = 0.0 * anchors.sum()
        for piece in pieces:
            part = (
                rows[piece],
                all_keys[piece[0]],
                _piece(positives, piece),
                None if denominators is None else _piece(denominators, piece),
                together,
            )
            total = total + (_sum(*part) if len(pieces) == 1 else checkpoint(_sum, *part, use_reentrant=False))
        return total / counted.clamp_min(1)


def _sum(anchors: Tensor, keys: Tensor, positive: Tensor, compared: Tensor | None, together: bool) -> Tensor:
    """l(a) summed over (N, A) anchors that come divided by the temperature."""
    similarity = anchors @ keys.transpose(-1, -2)
    # The lowest number instead of minus infinity: an anchor with nothing to compare must not make gradients NaN.
    lowest = torch.finfo(similarity.dtype).min
    among = similarity if compared is None else similarity.masked_fill(~compared, lowest)
    if together:
        number = positive.sum(-1)
        attracted = similarity.masked_fill(~positive, lowest).logsumexp(-1) - number.clamp_min(1).to(similarity.dtype).log()
        repelled = among.masked_fill(positive, lowest).logsumexp(-1)
        return (F.softplus(repelled - attracted) * (number > 0)).sum()
    if positive.dtype == torch.bool:
        number = positive.sum(-1)
        has_positive = number > 0
        attracted = (similarity * positive).sum(-1) / number.clamp_min(1)
    else:
        has_positive = positive >= 0
        index = positive.clamp_min(0).unsqueeze(-1).expand(*similarity.shape[:-1], 1)
        attracted = similarity.gather(-1, index).squeeze(-1)
    return ((among.logsumexp(-1) - attracted) * has_positive).sum()


def _problems(x: Tensor, kept: int) -> Tensor:
    """``x`` with its leading dimensions, all but the last ``kept``, made one."""
    leading = x.shape[: x.ndim - kept]
    return x.reshape(leading.numel(), *x.shape[len(leading) :])


def _piece(mask: Tensor, piece: tuple[slice, slice]) -> Tensor:
    """A piece of a mask that holds for each problem, or for all of them."""
    return mask[piece if len(mask) > 1 else (slice(None), piece[1])]


def _pieces(problems: int, anchors: int, keys: int) -> Iterator[tuple[slice, slice]]:
    """(problems, anchors) to compute at once: whole problems where they fit, else some anchors of one problem."""
    if anchors * keys <= CHUNK:
        step = max(1, CHUNK // max(1, anchors * keys))
        for start in range(0, problems, step):
            yield slice(start, start + step), slice(None)
        return
    step = max(1, CHUNK // keys)
    for problem in range(problems):
        for start in range(0, anchors, step):
            yield slice(problem, problem + 1), slice(start, start + step)

"""Position-supervised contrast: samples from nearly the same position in different volumes attract each other.

PC of the MACL specification, section 3 (Zeng et al., eq. 9 and 10, as in the public code), itself SupCon with
positives by position (PCL). It serves single embeddings and dense maps alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .gather import gather as gather_rows
from .gather import rank
from .infonce import infonce, unit


def position_contrast(
    first: Tensor,
    second: Tensor,
    positions: Tensor,
    threshold: float,
    temperature: float = 0.1,
    base_temperature: float | None = None,
    gather: bool = False,
    data_sets: Tensor | None = None,
) -> Tensor:
    """PC over the rows of two branches; every row of both is an anchor against all others (section 3).

    Args:
        first, second: (..., B, P), row i of both is sample i; not necessarily normalized. Leading dimensions (cells of
            a dense map) are independent problems over the same samples; the mean over them is returned.
        positions: (B, d), the samples' positions in [0, 1]^d.
        threshold: two samples attract when |dp| < threshold strictly on every axis. Both rows of one sample always do.
        base_temperature: multiplies the loss by temperature / base_temperature; None for a factor of 1.
        gather: with several processes, contrast this process's rows with the rows of all of them. The mean of the
            processes' losses is then the loss of the joint batch; without it each sees only its own negatives.
        data_sets: (B,) integers; samples of different data sets do not attract, wherever they lie. None for one data
            set.

    Returns:
        Scalar, at least in float32 whatever autocast says.
    """
    anchors = torch.cat([unit(first), unit(second)], dim=-2)
    count = len(positions)
    sample = torch.arange(count, device=positions.device).repeat(2) + (rank() * count if gather else 0)
    position = positions.repeat(2, 1)
    data_set = torch.zeros_like(sample) if data_sets is None else data_sets.repeat(2)
    rows, all_samples, all_positions, all_data_sets, start = anchors, sample, position, data_set, 0
    if gather:
        rows, start = gather_rows(anchors, -2), rank() * 2 * count
        all_samples, all_positions = gather_rows(sample, 0), gather_rows(position, 0)
        all_data_sets = gather_rows(data_set, 0)
    near = torch.cdist(position, all_positions, p=torch.inf) < threshold
    near &= data_set[:, None] == all_data_sets[None]
    index = torch.arange(len(all_samples), device=positions.device)
    others = index[start : start + len(sample), None] != index
    positive = (near | (sample[:, None] == all_samples[None])) & others
    kappa = 1.0 if base_temperature is None else temperature / base_temperature
    return kappa * infonce(anchors, rows, positive, others, temperature)


def dense_position_contrast(
    first: Tensor,
    second: Tensor,
    positions: Tensor,
    threshold: float,
    temperature: float = 0.1,
    base_temperature: float | None = None,
    gather: bool = False,
    data_sets: Tensor | None = None,
) -> Tensor:
    """L_d: PC of every cell with the same cell of the other branch and samples, averaged over cells (section 3).

    ``first`` and ``second`` are maps (B, C, [D,] H, W) of one shape; the rest as in :func:`position_contrast`.
    """
    one, other = (maps.flatten(2).permute(2, 0, 1) for maps in (first, second))
    return position_contrast(one, other, positions, threshold, temperature, base_temperature, gather, data_sets)

"""Contrast along the feature dimension, which decorrelates the dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from .infonce import infonce, unit


def dimension_contrast(first: Tensor, second: Tensor, temperature: float = 0.1, symmetric: bool = True) -> Tensor:
    """Ldim of the CVRL specification, section 2.3: InfoNCE of columns instead of rows.

    Columns are centered over the samples and brought to unit length, so that similarities are correlations. The same
    dimension of both matrices is positive, every other one negative.

    Args:
        first, second: (R, M), aligned rows are samples and columns feature dimensions. R should be 3 M or more: fewer
            rows leave no room for M columns that differ (see :func:`fitting_width`).
        symmetric: the mean of both directions.
    """
    columns, others = (
        unit((rows - rows.mean(0)).t(), eps=1e-6) for rows in (first.to(_wide(first)), second.to(_wide(second)))
    )
    same = torch.arange(len(columns), device=columns.device)
    loss = infonce(columns, others, same, temperature=temperature)
    return (loss + infonce(others, columns, same, temperature=temperature)) / 2 if symmetric else loss


def fitting_width(wanted: int, rows: int) -> int:
    """The most feature dimensions up to ``wanted`` that ``rows`` samples can tell apart: a third of their number."""
    return max(2, min(wanted, rows // 3))


def _wide(rows: Tensor) -> torch.dtype:
    return torch.promote_types(rows.dtype, torch.float32)

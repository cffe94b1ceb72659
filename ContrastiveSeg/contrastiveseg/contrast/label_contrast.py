"""Supervised contrast of cells by their labels, inside each data set, where some or all labels may be missing."""

from __future__ import annotations

import torch
from torch import Tensor

from .infonce import infonce, unit

#: More than any label value: separates the classes of different data sets.
_APART = 2**16


def label_contrast(rows: Tensor, labels: Tensor, data_sets: Tensor, temperature: float = 0.1) -> Tensor:
    """L_lab of the MixCL specification, section 3: cells of one class attract each other, all others repel.

    Background (0) repels but is no anchor, and cells are compared inside their own data set only: with partial labels,
    background in one is an organ in another. Cells without label (below 0) are left out.

    Args:
        rows: (E, P) embeddings, not necessarily normalized. labels, data_sets: (E) integers.

    Returns:
        Scalar; exactly 0, with gradients of 0, where no two cells share a class above 0.
    """
    known = labels >= 0
    compared = known[None] & (data_sets[:, None] == data_sets[None])
    compared &= ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    positive = compared & (labels[:, None] == labels[None])
    anchors = labels > 0
    cells = unit(rows)
    return infonce(cells[anchors], cells, positive[anchors], compared[anchors], temperature)


def draw_cells(labels: Tensor, data_sets: Tensor, most: int) -> Tensor:
    """Numbers of at most ``most`` labeled cells of each (data set, class), drawn at random; both arguments are (N)."""
    known = (labels >= 0).nonzero().squeeze(1)
    known = known[torch.randperm(len(known)).to(known.device)]
    group, order = (data_sets[known].long() * _APART + labels[known].long()).sort(stable=True)
    rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
    return known[order[rank < most]]


def balanced_cells(labels: Tensor, most: int) -> Tensor:
    """(B, N): N cells of each map of ``labels`` (B, cells) of 0 and more, drawn at random, each once.

    Every label of a map is as likely as any other, so that small ones are not outnumbered; N is ``most``, or all cells
    where there are fewer.
    """
    number = torch.stack([torch.bincount(row, minlength=int(labels.max()) + 1) for row in labels])
    return torch.multinomial(1 / number.gather(1, labels).float(), min(most, labels.shape[1]))

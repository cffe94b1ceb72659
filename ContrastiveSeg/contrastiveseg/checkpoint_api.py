"""Checkpoints as functions of ``import contrastiveseg``: what one is, its tensors, and how weights become one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .calling import call
from .checkpoints.starters import checkpoint_path
from .descriptions import ImportJob
from .results import ImportResult

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoints.card import Card


def inspect(checkpoint: str | Path) -> Card:
    """What a checkpoint is, what it expects and where it comes from. The weights are not read; torch is not needed.

    Args:
        checkpoint: a path, or ``starter:NAME``.

    Raises:
        InputError: it cannot be read, or is no checkpoint of ours.

    >>> import contrastiveseg as cs
    >>> card = cs.inspect("starter:macl-3d-tiny")
    >>> card.method, card.network.name, card.plan.dimensions
    ('macl', 'unet', 3)
    """
    from .checkpoints.header import read_card

    return read_card(checkpoint_path(checkpoint))


def load_checkpoint(checkpoint: str | Path) -> tuple[Card, dict[str, Tensor]]:
    """A checkpoint's card and its tensors by name, on the CPU.

    Args:
        checkpoint: a path, or ``starter:NAME``.

    Raises:
        InputError: it cannot be read, is no checkpoint of ours, or holds values that are not numbers.

    >>> import contrastiveseg as cs
    >>> card, weights = cs.load_checkpoint("starter:macl-3d-tiny")
    >>> sorted({name.partition(".")[0] for name in weights})
    ['decoder', 'encoder']
    """
    from .checkpoints.format import load

    return load(checkpoint_path(checkpoint))


def import_checkpoint(
    path: str | Path,
    source: str,
    output: str | Path,
    *,
    overwrite: bool = False,
    license: str = "",
    configuration: str | None = None,
    fold: str | None = None,
    orientation: str | None = None,
) -> ImportResult:
    """Make a checkpoint from other people's weights: to segment with, or to fine-tune.

    Args:
        path: ``.pth`` or ``.pt`` of tensors alone (no code in it is run), or ``.safetensors``; of nnU-Net a results
            folder, a fold, or an exported ``.zip``.
        source: whose layout it has: "nnunet" (a trained nnU-Net v2), "macl" (released 2D weights), "vnet" (left-atrium
            literature), "segresnet" or "dynunet" (MONAI), "nnssl" (OpenMind's ResEnc-L) and others.
        output: the checkpoint to write. overwrite: replace an existing one. license: of the weights.
        configuration, fold: which of several a trained nnU-Net has. orientation: that its training data were stored in;
            None takes volumes as they are stored, as nnU-Net does.

    Returns:
        the names of their tensors that were taken and that were left, and of ours that stay as initialized.

    Raises:
        InputError: the file does not have that layout, or the output cannot be written.

    >>> import contrastiveseg as cs
    >>> import torch
    >>> from monai.networks.nets import SegResNet
    >>> torch.save(SegResNet(init_filters=8).state_dict(), "theirs.pth")
    >>> report = cs.import_checkpoint("theirs.pth", "segresnet", "ours.safetensors")
    >>> cs.inspect("ours.safetensors").network.name
    'segresnet'
    """
    return call(
        ImportJob,
        file=path,
        source=source,
        output=output,
        overwrite=overwrite,
        license=license,
        configuration=configuration,
        fold=fold,
        orientation=orientation,
    )

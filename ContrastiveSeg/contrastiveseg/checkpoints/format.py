"""Reading and writing the checkpoint file: safetensors with the card as JSON in its header. Never a pickle."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import InputError
from ..files import replacing
from ..printable import shortened
from ..serialization import to_json
from .card import Card
from .header import CARD_KEY, read_card
from .network_size import check_network_size


def save(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write a checkpoint by write-then-rename, with the checksum of its tensors in the ``card``.

    Tensors are stored as they are; shared storage is copied apart.
    """
    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    card = dataclasses.replace(card, checksum=_checksum(held))
    with replacing(path, durable=True) as temporary:
        # The library's own writing of files leaves one of its own where the process is killed.
        temporary.write_bytes(safetensors.torch.save(held, {CARD_KEY: json.dumps(to_json(card))}))


def load(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """The card and all tensors, on the CPU.

    Raises:
        InputError: as :func:`read_card`, the tensors cannot be read, hold NaN or infinity or are not those that were
            written, or the card's network is far larger than they.
    """
    card = read_card(path)
    try:
        tensors = safetensors.torch.load_file(str(path))
    except (safetensors.SafetensorError, OSError) as problem:
        raise InputError(f"{path} cannot be read as a checkpoint ({shortened(problem)}). Copy it again.") from problem
    if bad := not_finite(tensors):
        raise InputError(
            f"{path}: the weights hold values that are not numbers ({bad[0]}). Copy it again, or use another."
        )
    check_network_size(card.network, sum(tensor.numel() for tensor in tensors.values()), path)
    if card.checksum and card.checksum != _checksum(tensors):
        raise InputError(f"{path}: the weights are damaged: they are not those that were written. Copy it again.")
    return card, tensors


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 over the names and bytes of the tensors, in the order of their names."""
    total = 0
    for name in sorted(tensors):
        content = tensors[name].reshape(-1).view(torch.uint8).numpy().data
        total = zlib.crc32(content, zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the floating ``tensors`` that hold NaN or infinity, as float32, in which they are used."""
    return [n for n, t in tensors.items() if t.is_floating_point() and not bool(t.float().isfinite().all())]

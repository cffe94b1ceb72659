"""Keys of past steps as negatives, each with the volume it came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .gather import gather
from .infonce import infonce


class KeyQueue(nn.Module):
    """The last ``length`` keys of ``width`` numbers, first in first out.

    It starts empty, and entries not filled yet are never contrasted against. Its state lies in buffers, so a resumed
    run goes on with the same keys. With several processes all of them hold the keys of all.
    """

    keys: Tensor
    ids: Tensor
    written: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(length, width))
        self.register_buffer("ids", torch.full((length,), -1))
        self.register_buffer("written", torch.tensor(0))
        self._held: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def push(self, keys: Tensor, ids: Tensor) -> None:
        """Append ``keys`` (N, width), which come from the volumes ``ids`` (N) >= 0, replacing the oldest."""
        length = len(self.keys)
        keys, ids = gather(keys.detach().to(self.keys.dtype), 0)[-length:], gather(ids, 0)[-length:]
        entries = (self.written + torch.arange(len(keys), device=keys.device)) % length
        self.keys[entries], self.ids[entries] = keys, ids
        self.written += len(keys)

    def hold(self, keys: Tensor, ids: Tensor) -> None:
        """Keep a step's own keys for :meth:`push_held` after the step: nothing is contrasted with itself."""
        self._held = (keys, ids)

    def push_held(self) -> None:
        """Push the keys of :meth:`hold`, if there are any."""
        if self._held:
            self.push(*self._held)
            self._held = None

    def foreign(self, ids: Tensor) -> Tensor:
        """(N, length): whether an entry holds a key of another volume than ``ids`` (N)."""
        return (self.ids >= 0) & (self.ids != ids[:, None])


def instance_contrast(
    anchors: Tensor, keys: Tensor, ids: Tensor, queue: KeyQueue, temperature: float, in_batch: bool
) -> Tensor:
    """InfoNCE of images: each anchor against its own key, and keys of other volumes as negatives.

    Args:
        anchors, keys: (B, P) of unit length; row i of both is one image.
        ids: (B), the volumes the images come from; no key of an anchor's own volume is its negative.
        in_batch: keys of the batch's other volumes are negatives too, not only the queue's.
    """
    count = len(ids)
    own = torch.eye(count, dtype=torch.bool, device=ids.device)
    batch = own | (ids[:, None] != ids) if in_batch else own
    compared = torch.cat([batch, queue.foreign(ids)], dim=1)
    rows = torch.cat([keys, queue.keys.to(keys.dtype)])
    return infonce(anchors, rows, torch.arange(count, device=ids.device), compared, temperature)

"""A watch on the recall of each structure during fine-tuning, which intervenes where one is not being learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..networks.registry import build
from ..networks.segmenter import Segmenter

#: A structure is missed while the network finds less than this share of its voxels.
_MISSED = 0.1
#: Shares of the budget at which a missed structure gets more weight, and at which the last layers begin anew.
_WEIGHT_AT, _RENEW_AT = 0.3, 0.5
#: Factor on the cross-entropy of a missed structure.
_FACTOR = 4.0
#: Memory of the running recall, a step, and crops of a structure before it is judged.
_MEMORY, _LEAST = 0.9, 10


class RecallWatch(nn.Module):
    """Running recall of every class on the crops that training sees.

    All of it lies in buffers, so that a resumed run has it, and several processes decide alike: they share the first
    one's buffers at the beginning of a step, when :meth:`intervene` is called.

    Attributes:
        weights: (classes,) of the cross-entropy. recall: (classes,), and ``seen``, from how many steps.
        frequencies: (classes,) with which a head that begins anew predicts each class.
        weighted_at, renewed_at: share of the budget at which a class was intervened for, 0 if it was not.
    """

    weights: Tensor
    recall: Tensor
    seen: Tensor
    frequencies: Tensor
    weighted_at: Tensor
    renewed_at: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(classes))
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))
        for name in ("recall", "seen", "weighted_at", "renewed_at"):
            self.register_buffer(name, torch.zeros(classes))

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in a step: ``logits`` (B, classes, ...) of crops with ``labels`` (B, ...); voxels of -1 do not count."""
        # Every second voxel of each axis: all of them would take a twelfth of a step's time.
        coarse = (slice(None), *[slice(None, None, 2)] * (labels.ndim - 1))
        of_logits = (slice(None), *coarse)
        labels = labels[coarse]
        # Where channels come first, argmax takes ten times as long.
        found = logits[of_logits].max(1).indices == labels
        classes = len(self.recall)
        count = torch.bincount(labels[labels >= 0], minlength=classes)
        now = torch.bincount(labels[found], minlength=classes) / count.clamp_min(1)
        # A mean at first, then a moving one.
        pace = (1 / (self.seen + 1)).clamp_min(1 - _MEMORY)
        self.recall += (count > 0) * pace * (now - self.recall)
        self.seen += count > 0

    @torch.no_grad()
    def intervene(self, network: Segmenter, progress: float) -> None:
        """Help the structures that are missed after a share ``progress`` of the budget, each in each way once."""
        if progress < _WEIGHT_AT:
            return
        missed = (self.recall < _MISSED) & (self.seen >= _LEAST)
        missed[0] = False
        if not missed.any():
            return
        fresh = missed & (self.weighted_at == 0)
        self.weights[fresh] *= _FACTOR
        self.weighted_at[fresh] = progress
        late = missed & (self.weighted_at > 0) & (self.weighted_at < progress)
        if progress >= _RENEW_AT and late.any() and not self.renewed_at.any():
            self.renewed_at[late] = progress
            renew(network, self.frequencies.tolist())

    def interventions(self, names: Sequence[str] = ()) -> tuple[str, ...]:
        """What was done, in order; ``names`` are the structures', class 1 first."""
        done = []
        for at, what in (
            (self.weighted_at, f"is hardly found yet: it weighs {_FACTOR:g} times as much in the loss from here on"),
            (self.renewed_at, "is still hardly found: the head and the finest decoder level begin anew"),
        ):
            for index in at.nonzero().flatten().tolist():
                name = names[index - 1] if index <= len(names) else f"class {index}"
                done.append((float(at[index]), f"{name} {what} ({at[index]:.0%} of the budget)."))
        return tuple(text for _, text in sorted(done, key=lambda entry: entry[0]))


@torch.no_grad()
def renew(network: Segmenter, frequencies: Sequence[float]) -> None:
    """Initialize the head and the finest decoder level anew, in every process alike."""
    with torch.random.fork_rng(devices=[]):
        # Not a seed that a user is likely to have begun with: the same weights would fail again.
        torch.manual_seed(1_000_003)
        fresh = Segmenter(build(network.backbone.spec), network.head.out_channels)
    network.backbone.decoder[-1].load_state_dict(fresh.backbone.decoder[-1].state_dict())
    network.head.load_state_dict(fresh.head.state_dict())
    network.set_prior(frequencies)

"""Mean teacher (Tarvainen and Valpola, NeurIPS 2017), in the form that UA-MT gave it for volumes.

Specification: docs/methods/mean_teacher.md.
"""

from __future__ import annotations

from torch import Tensor

from ..data.batch import Batch, certain
from .registry import register_method
from .semisupervised import Taught, TaughtSettings


@register_method("mean-teacher", stage="finetune")
class MeanTeacher(Taught):
    """Student and teacher see the same crops in other intensities, and are to predict the same for unlabeled voxels."""

    Settings = TaughtSettings
    description = "Mean teacher: supervised, and consistent on unlabeled volumes with an average of its own past."
    citation = "Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017."

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = self.moved(batch)
        levels = self.segmenter.forward_deep(self.augment_intensity(images))
        supervised, finest = self.deep_loss(levels, labels, batch.missing)
        self.watch.update(levels[0], labels)
        consistency = supervised.new_zeros(())
        unlabeled = certain(labels, batch.missing) < 0
        crops = unlabeled.flatten(1).any(1)
        if crops.any():
            wanted = self.taught(self.augment_intensity(images[crops])).softmax(1)
            difference = (levels[0][crops].float().softmax(1) - wanted).square().mean(1)
            consistency = difference[unlabeled[crops]].mean()
        total = supervised / 2 + self.unsupervised_weight * consistency
        return {"loss": total, "dice_ce": finest.detach(), "consistency": consistency.detach()}

"""Mean teacher (Tarvainen and Valpola, NeurIPS 2017), in the form that UA-MT gave it for volumes."""

from __future__ import annotations

from torch import Tensor

from ..data.batch import Batch
from .registry import register_method
from .semisupervised import Taught, TaughtSettings, labeled_count


@register_method("mean-teacher", stage="finetune")
class MeanTeacher(Taught):
    """Student and teacher see the same unlabeled crops in other intensities, and are to predict the same."""

    Settings = TaughtSettings
    description = "Mean teacher: supervised, and consistent on unlabeled volumes with an average of its own past."
    citation = "Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017."

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = self.augment_spatial(batch)
        known = labeled_count(labels)
        levels = self.segmenter.forward_deep(self.augment_intensity(images))
        supervised, finest = self.deep_loss([level[:known] for level in levels], labels[:known])
        self.watch.update(levels[0][:known], labels[:known])
        consistency = supervised.new_zeros(())
        if known < len(labels):
            wanted = self.taught(self.augment_intensity(images[known:])).softmax(1)
            consistency = (levels[0][known:].float().softmax(1) - wanted).square().mean()
        total = supervised / 2 + self.unsupervised_weight * consistency
        return {"loss": total, "dice_ce": finest.detach(), "consistency": consistency.detach()}

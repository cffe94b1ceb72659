"""Every fine-tuning method on crops that are labeled in part: no gradient, no class and no place from what is not."""

from dataclasses import replace

import numpy as np
import pytest
import semi
import torch

from contrastiveseg.data.sampling import class_frequencies, draw_patches
from contrastiveseg.methods.configuration import method_settings
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.testing.volumes import ToyVolumes

METHODS = [name for stage, name in available_methods() if stage == "finetune"]
SMALL = {"embedding": 12, "heads": 2, "depth": 2, "width": 8, "fine_block": 4, "coarse_block": 2}
#: Settings with which only the labels teach.
LABELS_ALONE = {
    "supervised": {},
    "mean-teacher": {"weight": 0.0},
    "cvrl": {"weight": 0.0, "beta_low": 0.0, "beta_high": 0.0, "width": 8, "voxels": 16},
    "ideal": {"weight": 0.0},
    "mcsc": {"weight": 0.0, "contrast": 0.0, **SMALL},
    "bcp": {"first": 0.9},
}


def test_every_method_is_looked_at():
    assert set(LABELS_ALONE) == set(METHODS)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_labels_give_no_gradient_where_there_are_none(name, dimensions):
    """At the voxels without a label, which lie in the same rows of all crops, as some methods mix crops."""
    cls = find_method("finetune", name)
    made = semi.method(cls, replace(method_settings(cls, LABELS_ALONE[name]), **semi.STILL), dimensions=dimensions)
    given, answers = semi.batch(dimensions=dimensions), []
    given.labels[:, :3] = -1

    def keep(module, images, answer):
        if answer.requires_grad:
            answer.retain_grad()
            answers.append(answer)

    made.segmenter.head.register_forward_hook(keep)
    made.step(given)["loss"].backward()
    (answer,) = answers
    assert not answer.grad[:, :, :3].any()
    assert answer.grad[:2, :, 3:].any()


def constant(value: float):
    """Logits of a teacher that says class 1 of everything, as sure as ``value``."""
    return lambda images: torch.tensor([0.0, value, 0.0]).view(1, 3, 1, 1, 1).expand(len(images), 3, *images.shape[2:])


def test_the_mean_teacher_teaches_unlabeled_voxels_of_labeled_crops():
    cls = find_method("finetune", "mean-teacher")
    made, given = semi.method(cls, cls.Settings(**semi.STILL)), semi.batch(2, 0)
    given.labels[0, :3] = -1
    made.taught = constant(1.0)
    with torch.no_grad():
        student = made.segmenter(given.images)[0, :, :3].softmax(0)
    wanted = torch.tensor([0.0, 1.0, 0.0]).softmax(0).view(3, 1, 1, 1)
    assert made.step(given)["consistency"].item() == pytest.approx((student - wanted).square().mean().item(), rel=1e-4)


@pytest.mark.parametrize("unlabeled", [0, 2])
def test_pasting_fills_unlabeled_voxels_of_labeled_crops_with_the_teachers_classes(unlabeled):
    cls = find_method("finetune", "bcp")
    made, given, seen = semi.method(cls, cls.Settings(**semi.STILL)), semi.batch(2, unlabeled), []
    given.labels[:, :3] = -1
    given.labels[given.labels == 1] = 2  # so that class 1 is the teacher's alone
    made.taught = constant(9.0)
    loss = made.deep_loss

    def deep_loss(levels, labels, missing=None, region=None):
        seen.append((labels, region))
        return loss(levels, labels, missing, region)

    made.deep_loss = deep_loss
    made.step(given)
    (targets, labeled), (_, pasted) = seen
    assert torch.equal(labeled, ~pasted)
    assert (targets[pasted] == 1).all()
    assert (targets[labeled] != 1).all()
    assert not labeled[:, :3].any()


def test_crops_are_centered_on_what_is_labeled():
    source = ToyVolumes(partly=True)
    for foreground in (0.0, 1.0):
        batch = draw_patches(source, (1, 1, 1), 200, foreground, np.random.default_rng(0))
        assert batch.labels.min() >= 0
    assert (batch.labels > 0).all()
    assert [row.tolist() for row in batch.missing.unique(dim=0)] == [[False] * 3, [False, False, True]]
    assert torch.equal(batch.missing[:, 2], batch.cases == 0)


def test_the_share_of_a_class_is_that_of_labeled_voxels_where_it_was_looked_for():
    source = ToyVolumes(count=2, partly=True)
    inside = [labels[labels >= 0] for labels in source.labels]
    one = sum((values == 1).sum() for values in inside) / sum(len(values) for values in inside)
    two = (inside[1] == 2).mean()
    assert class_frequencies(source, 3) == pytest.approx([1 - one - two, one, two])

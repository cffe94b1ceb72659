"""CVRL-style fine-tuning: the class contrast by hand, who teaches whom, and labels that must not matter."""

import math

import pytest
import semi
import torch
from semi import batch

from contrastiveseg.contrast.infonce import unit
from contrastiveseg.contrast.momentum import WARM
from contrastiveseg.errors import InputError
from contrastiveseg.methods import cvrl_semisupervised as module
from contrastiveseg.methods.cvrl_semisupervised import (
    CVRLTuning,
    CVRLTuningSettings,
    class_contrast,
    trusted,
)
from contrastiveseg.testing.steps import check_a_step_in_bfloat16

SETTINGS = CVRLTuningSettings(**semi.STILL, width=8, voxels=16)


def method(share: float = 0.5, dimensions: int = 3, **changes) -> CVRLTuning:
    settings = CVRLTuningSettings(**(semi.STILL | {"width": 8, "voxels": 16} | changes))
    return semi.method(CVRLTuning, settings, share, dimensions=dimensions)


def by_hand(rows, keys, classes, temperature):
    """The definition, voxel by voxel."""
    a, k = (torch.nn.functional.normalize(x, dim=1) for x in (rows, keys))
    losses = []
    for u, c in enumerate(classes.tolist()):
        if c < 0:
            continue
        mean = torch.nn.functional.normalize(k[classes == c].sum(0), dim=0)
        attracted = (math.exp(a[u] @ k[u] / temperature) + math.exp(a[u] @ mean / temperature)) / 2
        repelled = sum(math.exp(a[u] @ k[q] / temperature) for q, d in enumerate(classes.tolist()) if d not in (c, -1))
        losses.append(-math.log(attracted / (attracted + repelled)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.5, 0.01])
@pytest.mark.parametrize("classes", [[0, 0, 1, 2, 2, 2, -1, -1, 1], [1, 0, 0], [0, 1], [2, 2, 2], [-1, 5]])
def test_class_contrast_equals_its_definition(classes, temperature):
    torch.manual_seed(0)
    rows, keys = torch.randn(2, len(classes), 4, dtype=torch.float64)
    classes = torch.tensor(classes)
    expected = by_hand(rows, keys, classes, temperature)
    assert class_contrast(rows, keys, classes, temperature).item() == pytest.approx(expected, abs=1e-8)
    with torch.autocast("cpu", torch.bfloat16):
        found = class_contrast(rows.float(), keys.float(), classes, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_voxels_without_class_play_no_part():
    torch.manual_seed(0)
    rows, keys = torch.randn(2, 6, 4, dtype=torch.float64)
    classes = torch.tensor([0, 1, 1, -1, 0, -1])
    known = classes >= 0
    alone = class_contrast(rows[known], keys[known], classes[known], 0.1)
    torch.testing.assert_close(class_contrast(rows, keys, classes, 0.1), alone)
    nothing = class_contrast(rows.requires_grad_(), keys, torch.full((6,), -1), 0.1)
    nothing.backward()
    assert nothing.item() == 0


def test_one_class_alone_has_no_negatives():
    rows, keys = torch.randn(2, 5, 4, dtype=torch.float64)
    assert class_contrast(rows, keys, torch.ones(5, dtype=torch.long), 0.1).item() == pytest.approx(0, abs=1e-9)


def test_the_teacher_names_unlabeled_voxels_it_is_sure_of():
    labels = torch.tensor([[2, 0], [-1, -1]])
    probabilities = torch.tensor([[[0.0, 0.0], [1, 1]], [[0.95, 0.6], [0.05, 0.4]]])
    assert trusted(labels, probabilities, 0.9).tolist() == [[2, 0], [0, -1]]


def test_terms_add_up(monkeypatch):
    made, dimensions = method(beta_low=0.2, beta_high=0.3, lambda_dimension=0.4, deep_levels=0), []
    contrast = module.dimension_contrast
    monkeypatch.setattr(
        module, "dimension_contrast", lambda *given: dimensions.append(contrast(*given)) or dimensions[-1]
    )
    terms = {name: float(value.detach()) for name, value in made.step(batch()).items()}
    low, high = (float(value.detach()) for value in dimensions)
    total = terms["dice_ce"] / 2 + made.unsupervised_weight * terms["consistency"]
    total += 0.2 * (terms["volume"] + 0.4 * low) + 0.3 * (terms["voxel"] + 0.4 * high)
    assert terms["consistency"] == pytest.approx(0, abs=1e-9)
    assert min(low, high) > 0
    assert terms["dimension"] == pytest.approx(low + high, rel=1e-4)
    assert terms["loss"] == pytest.approx(total, rel=1e-4)


def test_everything_but_the_teacher_learns():
    made = method(deep_levels=0)
    made.step(batch())["loss"].backward()
    for name, parameter in made.named_parameters():
        reached = parameter.grad is not None and parameter.grad.abs().max() > 0
        assert reached != name.startswith("teacher"), name


def seen_classes(monkeypatch, made: CVRLTuning, given) -> torch.Tensor:
    """(crops, voxels): the classes by which a step contrasts its voxels."""
    seen = {}
    contrast = module.class_contrast
    monkeypatch.setattr(
        module,
        "class_contrast",
        lambda rows, keys, classes, t: seen.update(c=classes) or contrast(rows, keys, classes, t),
    )
    made.step(given)
    return seen["c"].view(len(given.labels), -1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_unsure_teacher_leaves_unlabeled_voxels_out(monkeypatch, dimensions):
    made, given = method(dimensions=dimensions), batch(dimensions=dimensions)
    whole = made.taught_maps
    for certainty, expected in ((0.89, {-1}), (0.91, {1})):
        likely = math.log(certainty / (1 - certainty) * 2)

        def taught_maps(images, likely=likely):
            logits, *maps = whole(images)
            return torch.zeros_like(logits).index_fill_(1, torch.tensor(1), likely), *maps

        made.taught_maps = taught_maps
        classes = seen_classes(monkeypatch, made, given)
        assert set(classes[2:].flatten().tolist()) == expected
        assert set(classes[:2].flatten().tolist()) == {0, 1, 2}


def test_voxels_keep_their_own_labels(monkeypatch):
    """A crop whose labels say where a voxel is: what is contrasted there carries that label."""
    made, given = method(voxels=64), batch(4, 0)
    given.labels[:] = torch.arange(8).view(8, 1, 1) // 4
    classes = seen_classes(monkeypatch, made, given)
    # One voxel of each of 4 x 4 x 4 strata, in order: the first half lies in the upper half of the crop.
    assert classes.tolist() == [[0] * 32 + [1] * 32] * 4


def test_student_and_teacher_see_the_same_crops_in_other_intensities():
    made, given, seen = method(), batch(), {}
    brighter = iter((1.0, 2.0))
    made.augment_intensity = lambda images: images + next(brighter)
    encode, taught_maps = made.segmenter.backbone.encode, made.taught_maps
    made.segmenter.backbone.encode = lambda images: encode(seen.setdefault("student", images))
    made.taught_maps = lambda images: taught_maps(seen.setdefault("teacher", images))
    made.step(given)
    assert torch.equal(seen["student"], given.images + 1)
    assert torch.equal(seen["teacher"], given.images + 2)


def test_the_teacher_is_fed_the_students_crops_and_begins_as_the_student():
    made, given = method(), batch()
    for parameter in made.segmenter.parameters():
        parameter.data.normal_(0, 0.3)
    logits, deep, last = made.taught_maps(given.images)
    features = made.segmenter.backbone.encode(given.images)
    torch.testing.assert_close(deep, features[-1])
    torch.testing.assert_close(last, made.segmenter.backbone.decode(features)[-1])
    torch.testing.assert_close(logits, made.segmenter(given.images))
    mine, theirs = unit(made.high(last.flatten(2).mT)), unit(made.teacher_high.network(last.flatten(2).mT))
    torch.testing.assert_close((mine * theirs).sum(-1), torch.ones(4, 512))


def test_teachers_follow_and_get_no_gradient():
    made = method()
    made.step(batch())["loss"].backward()
    made.after_step()
    pairs = ((made.segmenter, made.teacher), (made.low, made.teacher_low), (made.high, made.teacher_high))
    before = [[p.clone() for p in teacher.network.parameters()] for _, teacher in pairs]
    for student, _ in pairs:
        for parameter in student.parameters():
            parameter.data.add_(1.0)
    updates = [int(teacher.updates) for _, teacher in pairs]
    made.after_step()
    for (student, teacher), old, count in zip(pairs, before, updates, strict=True):
        momentum = min(count / (count + WARM), made.settings.momentum)
        for own, past, theirs in zip(teacher.network.parameters(), old, student.parameters(), strict=True):
            assert own.grad is None
            assert not own.requires_grad
            torch.testing.assert_close(own, momentum * past + (1 - momentum) * theirs)


def test_step_under_autocast():
    check_a_step_in_bfloat16(method(), batch())


def test_it_trains_without_unlabeled_volumes():
    assert torch.isfinite(method().step(batch(4, 0))["loss"])


def test_keys_join_the_queue_after_the_step():
    made, given = method(), batch()
    made.step(given)
    assert int(made.queue.written) == 0
    made.after_step()
    assert made.queue.ids[: len(given.cases)].tolist() == given.cases.tolist()


def test_impossible_settings_are_refused():
    for wrong in ({"temperature": 0}, {"confidence": 2.0}, {"queue": 0}):
        with pytest.raises(InputError):
            CVRLTuningSettings(**wrong)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    assert semi.falls(method(dimensions=dimensions), batch(dimensions=dimensions), steps=25, to=0.9)

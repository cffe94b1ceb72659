"""MCSC as a whole: M5, M6 and M9 of its specification's section 8 (M7 is the loop's), and who gets which gradient."""

import math
from dataclasses import replace

import pytest
import semi
import torch
from semi import batch

from contrastiveseg.contrast.ramps import ramp
from contrastiveseg.methods import mcsc
from contrastiveseg.methods.mcsc import MCSC, MCSCSettings
from contrastiveseg.training.optimizer import make_optimizer

SMALL = MCSCSettings(**semi.STILL, fine_block=4, coarse_block=2, width=8, embedding=12, heads=2, depth=2)


def method(settings: MCSCSettings = SMALL, share: float = 0.5, norm: str = "batch", dimensions: int = 3) -> MCSC:
    return semi.method(MCSC, settings, share, norm, dimensions)


def moved(made: MCSC) -> set[str]:
    """The parts with a gradient that is not zero."""
    named = made.named_parameters()
    return {n.partition(".")[0] for n, p in named if p.grad is not None and p.grad.abs().sum() > 0}


def test_every_part_learns():
    made = method()
    made.step(batch())["loss"].backward()
    without = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    # A constant added to all logits of a channel vanishes behind the norm that follows it.
    assert [n for n in without if not n.endswith("bias")] == []
    assert moved(made) == {"segmenter", "rival", "projectors"}


def test_the_total_weighs_its_terms_as_published():
    """M9, and the ramp's values at iterations 0, 15 000 and 30 000 of 40 000."""
    weights = [MCSCSettings().weight * ramp(t / 40_000, MCSCSettings().ramp) for t in (0, 15_000, 30_000)]
    assert weights == pytest.approx([6.74e-4, 0.02865, 0.1], abs=1e-5)
    made = method()
    made.contrast = lambda scales, targets: [torch.ones(()), torch.ones(())]
    terms = made.step(batch(2, 0))
    assert float(terms["loss"].detach() - 2 * terms["supervised"].detach()) == pytest.approx(0.004, abs=1e-6)
    assert terms["pseudo"] == 0


def test_each_network_teaches_the_other():
    """M5: a network's pseudo-label loss is the other's business alone, and the contrast carries crossed labels."""
    made = method()
    seen, taught = {}, []

    def contrast(scales, targets):
        seen["targets"] = targets
        return [torch.zeros(()), torch.zeros(())]

    made.contrast = contrast
    dice = made.pseudo
    made.pseudo = lambda logits, wanted, region: taught.append((logits, wanted, region)) or dice(logits, wanted, region)
    with torch.no_grad():
        images = batch().images
        cnn, transformer = (net(images)[2:].argmax(1) for net in (made.segmenter, made.rival))
    terms = made.step(batch())
    assert torch.equal(seen["targets"][0][2:], transformer)
    assert torch.equal(seen["targets"][1][2:], cnn)
    assert torch.equal(seen["targets"][0][:2], batch().labels[:2])

    for given, pupil, teacher in zip(taught, ("segmenter", "rival"), (transformer, cnn), strict=True):
        assert torch.equal(given[1], teacher)
        made.zero_grad()
        dice(*given).backward(retain_graph=True)
        assert moved(made) == {pupil}
    assert terms["pseudo"].item() == pytest.approx(sum(dice(*given).item() for given in taught) / 2)


@pytest.mark.parametrize(("dimensions", "sides"), [(2, (19, 14)), (3, (7, 7))])
def test_blocks_are_as_published_in_2d_and_as_many_voxels_in_3d(monkeypatch, dimensions, sides):
    seen = []
    real = mcsc.sample_blocks
    monkeypatch.setattr(
        mcsc, "sample_blocks", lambda labels, block, groups: seen.append((block, groups)) or real(labels, block, groups)
    )
    settings = replace(SMALL, fine_block=None, coarse_block=None, fine_groups=2)
    method(settings, dimensions=dimensions).step(batch(dimensions=dimensions))
    assert seen == [((sides[0],) * dimensions, 2), ((sides[1],) * dimensions, 2**31)]


@pytest.mark.parametrize(("iteration", "enters"), [(2999, False), (3000, True)])
def test_unlabeled_crops_enter_the_contrast_after_the_warm_start(iteration, enters):
    """M6."""
    # An instance norm: a batch norm mixes the crops of a batch before any loss is taken.
    made = method(replace(SMALL, unlabeled_from=0.075), iteration / 40_000, "instance")
    given = {}
    whole = MCSC.contrast

    def contrast(scales, targets):
        for maps in scales:
            for m in maps:
                m.retain_grad()
        given["scales"] = scales
        return whole(made, scales, targets)

    made.contrast = contrast
    terms = made.step(batch())
    (terms["contrast_fine"] + terms["contrast_coarse"]).backward()
    for maps in given["scales"]:
        for m in maps:
            assert bool(m.grad[2:].any()) == enters
            assert m.grad[:2].any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_features_that_are_the_labels_are_perfect(dimensions):
    """M3: each network's points carry the labels of their own places."""
    made = method(dimensions=dimensions)
    torch.manual_seed(0)
    targets = list(torch.randint(0, 3, (2, 2, *[10] * dimensions)))
    maps = [torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float() for labels in targets]
    loss = made._scale(maps, targets, lambda *points: list(points), side=3, groups=4)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-10)), abs=1e-6)


def test_the_transformer_learns_at_a_fifth_of_the_rate():
    made = method()
    groups = make_optimizer(made, MCSC.optimization, rates=made.rates).param_groups
    factors = {parameter: group["factor"] for group in groups for parameter in group["params"]}
    for name, parameter in made.named_parameters():
        assert factors[parameter] == (0.2 if name.startswith("rival.") else 1.0), name


def test_without_foreground_the_contrast_is_zero_and_differentiable():
    made = method(share=0.0)
    empty = batch()
    empty.labels[:2] = 0
    terms = made.step(empty)
    assert terms["contrast_fine"] == terms["contrast_coarse"] == 0
    terms["loss"].backward()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    assert semi.falls(method(dimensions=dimensions), batch(dimensions=dimensions))

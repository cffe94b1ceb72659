"""IDEAL-style fine-tuning: tests 7 and 8 of its specification's section 8, and who gets which gradient."""

import math
from dataclasses import replace

import pytest
import semi
import torch
import torch.nn.functional as F
from semi import batch

from contrastiveseg.errors import InputError
from contrastiveseg.methods.ideal import IDEALTuning, IDEALTuningSettings
from contrastiveseg.methods.registry import find_method
from contrastiveseg.methods.supervised import Supervised, SupervisedSettings
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter, load_transferred
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Plan
from contrastiveseg.testing.steps import check_a_step_in_bfloat16

SETTINGS = IDEALTuningSettings(**semi.STILL)


def method(
    settings: IDEALTuningSettings = SETTINGS, share: float = 1.0, dimensions: int = 3, norm: str = "instance"
) -> IDEALTuning:
    return semi.method(IDEALTuning, settings, share, norm, dimensions)


def streams(made: IDEALTuning, images: torch.Tensor) -> list[list[torch.Tensor]]:
    features = made.segmenter.backbone.encode(images)
    return [stream.deep_logits(stream.backbone.decode(features)) for stream in (made.segmenter, made.second)]


def parts_reached(made: IDEALTuning) -> set[str]:
    named = {"segmenter.backbone.encoder": "encoder", "segmenter.": "first", "second.": "second"}
    found = [name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()]
    return {next(part for start, part in named.items() if name.startswith(start)) for name in found}


# Cross supervision (test 7)


def taught_by(made: IDEALTuning, logits: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The term over all voxels."""
    return made.taught_by(logits, other, torch.ones_like(logits[:, 0], dtype=torch.bool))


def test_hand_values():
    made = method()
    one, other = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [2.0]]])
    terms = taught_by(made, one, other).item(), taught_by(made, other, one).item()
    assert terms == pytest.approx((1.313262, 2.126928), abs=1e-6)
    assert sum(terms) == pytest.approx(3.440190, abs=1e-6)


@pytest.mark.parametrize(("taught", "teacher", "name"), [(0, 1, "first"), (1, 0, "second")])
def test_the_teaching_stream_gets_no_gradient(taught, teacher, name):
    made = method()
    logits = [levels[0] for levels in streams(made, batch().images)]
    taught_by(made, logits[taught], logits[teacher]).backward()
    assert parts_reached(made) == {"encoder", name}


def test_each_stream_is_taught_by_the_other_on_unlabeled_crops():
    for cross_on, rows in (("unlabeled", slice(2, 4)), ("all", slice(0, 4))):
        made, given = method(replace(SETTINGS, cross_on=cross_on)), batch()
        with torch.no_grad():
            one, other = (levels[0][rows] for levels in streams(made, given.images))
        expected = F.cross_entropy(one, other.argmax(1)) + F.cross_entropy(other, one.argmax(1))
        assert made.step(given)["cross"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_unlabeled_voxels_of_labeled_crops_are_cross_supervised():
    made, given = method(), batch(2, 0)
    given.labels[0, :3] = -1
    with torch.no_grad():
        one, other = (levels[0][:1, :, :3] for levels in streams(made, given.images))
    expected = F.cross_entropy(one, other.argmax(1)) + F.cross_entropy(other, one.argmax(1))
    assert made.step(given)["cross"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_voxels_of_which_the_teaching_stream_is_unsure_are_left_out():
    made = method(replace(SETTINGS, confidence=0.9))
    sure, unsure = math.log(9.1), math.log(8.9)
    other = torch.tensor([[[0.0, 0.0], [sure, unsure]]])
    logits = torch.tensor([[[1.0, 5.0], [0.0, 0.0]]], requires_grad=True)
    loss = taught_by(made, logits, other)
    assert loss.item() == pytest.approx(1.313262, abs=1e-6)
    loss.backward()
    assert not logits.grad[..., 1].any()
    assert taught_by(made, logits, 0 * other).item() == 0


def test_without_unlabeled_crops_it_is_supervised():
    terms = method().step(batch(2, 0))
    assert terms["cross"] == 0
    assert method(replace(SETTINGS, cross_on="all")).step(batch(2, 0))["cross"] > 0


# Ramp, decoders and transfer (test 8)


def test_the_weight_ramps_up():
    weights = [method(share=share).unsupervised_weight for share in (0.0, 0.1, 0.2, 0.4, 1.0)]
    assert weights[0] == pytest.approx(0.006738 * 0.1, rel=1e-4)
    assert weights[-2:] == [0.1, 0.1]
    assert weights == sorted(weights)
    made = method(share=0.2)
    terms, alone = made.step(batch()), method(replace(SETTINGS, weight=0.0)).step(batch())
    added = terms["loss"] - alone["loss"]
    assert added.item() == pytest.approx(made.unsupervised_weight * terms["cross"].item(), rel=1e-3)


def test_the_decoders_differ_in_kind_and_in_output():
    made = method()
    kinds = [{type(m).__name__ for m in s.backbone.decoder.modules()} for s in (made.segmenter, made.second)]
    assert ["ConvTranspose3d" in kind for kind in kinds] == [True, False]
    assert ["Upsample" in kind for kind in kinds] == [False, True]
    one, other = streams(made, batch().images)
    assert [a.shape for a in one] == [b.shape for b in other]
    assert not torch.allclose(one[0], other[0], atol=0.1)


def test_with_no_weight_each_decoder_learns_as_in_supervised_training():
    made, given = method(replace(SETTINGS, weight=0.0)), batch()
    made.step(given)["loss"].backward()
    plain = semi.method(Supervised, SupervisedSettings(**semi.STILL))
    plain.step(batch(2, 0))["loss"].backward()
    own = dict(made.segmenter.named_parameters())
    for name, parameter in plain.segmenter.named_parameters():
        if "encoder" not in name:
            # The streams' losses are averaged.
            torch.testing.assert_close(2 * own[name].grad, parameter.grad, atol=1e-5, rtol=1e-4)
    second = dict(made.second.named_parameters())
    loss, _ = made.deep_loss([level[:2] for level in streams(made, given.images)[1]], given.labels[:2])
    alone = torch.autograd.grad(loss, list(second.values()))
    for parameter, gradient in zip(second.values(), alone, strict=True):
        torch.testing.assert_close(2 * parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_the_encoder_comes_from_the_checkpoint_and_decoders_start_fresh():
    made = method()
    fresh = {name: t.clone() for name, t in made.state_dict().items()}
    saved = {name: torch.randn_like(t) for name, t in made.backbone.state_dict().items()}
    load_transferred(made.backbone, saved, ("encoder",))
    for name, tensor in made.state_dict().items():
        loaded = name.startswith("segmenter.backbone.encoder.")
        expected = saved[name.removeprefix("segmenter.backbone.")] if loaded else fresh[name]
        assert torch.equal(tensor, expected), name


def test_one_encoder_and_a_segmenter_to_keep():
    made = method()
    assert not any("encoder" in name for name, _ in made.second.named_parameters())
    kept = {n.removeprefix("segmenter."): t for n, t in made.state_dict().items() if n.startswith("segmenter.")}
    network = Segmenter(build(made.backbone.spec), 3, auxiliary=1).eval()
    network.load_state_dict(kept)
    images = batch().images
    torch.testing.assert_close(network(images), streams(made, images)[0][0])


# The rest


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_part_learns(dimensions):
    made = method(dimensions=dimensions)
    made.step(batch(dimensions=dimensions))["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for n, p in made.named_parameters() if not n.endswith("bias"))
    assert parts_reached(made) == {"encoder", "first", "second"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vnet", {"width": 4}),
        ("segresnet", {"width": 8}),
        ("unetr", {"widths": [4, 8, 8], "embedding": 12, "heads": 2, "depth": 2}),
        ("unet", {"widths": [4, 8, 8], "strides": [[1, 2], [2, 2]], "norm": "group"}),
    ],
)
def test_any_backbone(name, arguments):
    plan = Plan(2, (Channel(),), (1.0, 1.0, 1.0), (1, 32, 32))
    made = IDEALTuning(build(NetworkSpec(name, 2, 1, arguments)), plan, SETTINGS, classes=3)
    given = replace(batch(dimensions=2), images=torch.randn(4, 1, 32, 32))
    labels = given.labels.repeat(1, 4, 4)
    made.step(replace(given, labels=labels))["loss"].backward()
    assert parts_reached(made) == {"encoder", "first", "second"}


def test_step_under_autocast():
    check_a_step_in_bfloat16(method(share=0.5), batch())


def test_registered_and_impossible_settings_are_refused():
    assert find_method("finetune", "ideal") is IDEALTuning
    with pytest.raises(InputError):
        IDEALTuningSettings(confidence=1.0)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_loss_falls(dimensions, norm):
    assert semi.falls(method(share=0.5, dimensions=dimensions, norm=norm), batch(dimensions=dimensions), to=0.9)

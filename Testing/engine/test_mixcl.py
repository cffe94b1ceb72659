"""MixCL-style pre-training against its specification, section 10 (the losses' values are tested with the parts)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from key_encoder import check_the_key_encoder_follows

from contrastiveseg import serialization
from contrastiveseg.contrast.infonce import unit
from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.data.batch import Batch
from contrastiveseg.errors import InputError
from contrastiveseg.methods import mixcl as module
from contrastiveseg.methods.mixcl import MixCL, MixCLSettings
from contrastiveseg.methods.registry import find_method
from contrastiveseg.testing.steps import check_a_step_in_bfloat16, mean_of, parts_with_gradient, trained
from contrastiveseg.testing.volumes import ToyVolumes, toy_backbone, toy_plan

SMALL = MixCLSettings(projection=16, pixel_projection=16, queue=32)
FLIPS = SpatialSettings(probability=0.0, flip=0.5)
NEVER = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)


def made(dimensions: int = 3, settings: MixCLSettings = SMALL) -> MixCL:
    return MixCL(toy_backbone(dimensions), toy_plan(dimensions), settings)


def drawn(mixcl: MixCL, source: ToyVolumes | None = None, seed: int = 0) -> Batch:
    return mixcl.draw(source or ToyVolumes(), np.random.default_rng(seed))


def filled(mixcl: MixCL) -> MixCL:
    """With keys of other volumes in the queue: without them the identity loss is 0."""
    mixcl.queue.push(torch.randn(8, 16), torch.arange(100, 108))
    return mixcl


def terms_of(mixcl: MixCL, batch: Batch, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return mixcl.step(batch)


# Gradients (test 7)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1.0, 0.0, 0.0), {"encoder", "identity"}),
        ((0.0, 1.0, 0.0), {"encoder", "decoder.0", "pixels"}),
        ((0.0, 0.0, 1.0), {"encoder", "decoder.0", "decoder.1", "reconstruction"}),
    ],
    ids=["identity", "label", "reconstruction"],
)
def test_gradients_of_each_term(dimensions, weights, expected):
    names = ("weight_identity", "weight_label", "weight_reconstruction")
    mixcl = filled(made(dimensions, replace(SMALL, **dict(zip(names, weights, strict=True)))))
    terms_of(mixcl, drawn(mixcl))["loss"].backward()
    assert parts_with_gradient(mixcl) == expected
    assert all(p.grad is None for name, p in mixcl.named_parameters() if name.startswith("teacher"))


def test_the_key_network_follows():
    check_the_key_encoder_follows(made(), SMALL.momentum)


# Terms (tests 4 and 6)


def test_total_is_the_weighted_sum():
    weights = {"weight_identity": 0.7, "weight_label": 0.3, "weight_reconstruction": 2.0}
    mixcl = filled(made(settings=replace(SMALL, **weights)))
    terms = {name: float(value.detach()) for name, value in terms_of(mixcl, drawn(mixcl)).items()}
    assert set(terms) == {"loss", "identity", "label", "reconstruction", "damage"}
    assert min(terms.values()) > 0
    total = 0.7 * terms["identity"] + 0.3 * terms["label"] + 2 * terms["reconstruction"]
    assert terms["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("how", ["none", "unlabeled volumes"])
def test_without_labels_the_other_two_terms_remain(how):
    mixcl = filled(made())
    batch = drawn(mixcl, ToyVolumes(labeled=()))
    assert (batch.labels == -1).all()
    terms = terms_of(mixcl, replace(batch, labels=None) if how == "none" else batch)
    terms["loss"].backward()
    assert float(terms["label"]) == 0
    assert float(terms["loss"].detach()) == pytest.approx(float(terms["identity"] + terms["reconstruction"]), rel=1e-6)
    assert parts_with_gradient(mixcl) == {"encoder", "decoder.0", "decoder.1", "identity", "reconstruction"}


def test_the_target_is_the_view_before_the_damage():
    mixcl = made(settings=replace(SMALL, spatial=FLIPS))
    batch = drawn(mixcl)
    view = mixcl.views(batch)
    half = len(batch.images)
    middle = batch.images[:, :, 1:-2, 1:-2, 1:-2]
    for images, original in ((view.images[:half], middle), (view.images[half:], middle)):
        torch.testing.assert_close(
            images.flatten(1).sort(1).values.mean(1), original.flatten(1).mean(1), atol=0.1, rtol=0
        )
    assert float(terms_of(mixcl, batch)["damage"]) > 0
    untouched = made(settings=replace(SMALL, intensity=NEVER, lost=(0.0, 0.0)))
    assert float(terms_of(untouched, batch)["damage"]) == 0


def test_a_step_compares_what_belongs_together(monkeypatch):
    mixcl = filled(made())
    drawn_crops = drawn(mixcl)
    subjects, data_sets = torch.tensor([7, 7, 3, 5]), torch.tensor([0, 1, 0, 2])
    batch = replace(drawn_crops, cases=subjects, data_sets=data_sets)
    view, damaged = mixcl.views(batch), torch.randn(8, 1, 16, 16, 16)
    monkeypatch.setattr(mixcl, "views", lambda batch: view)
    monkeypatch.setattr(module, "cut_out", lambda *_: damaged)
    queue, seen = mixcl.queue, {}

    def watch(place: object, name: str) -> None:
        real = getattr(place, name)

        def watched(*given, **more):
            seen.setdefault(name, []).append((*given, int(queue.written)))
            return real(*given, **more)

        monkeypatch.setattr(place, name, watched)

    watch(module, "instance_contrast")
    watch(mixcl, "label_loss")
    watch(module, "reconstruction_loss")
    levels = mixcl.backbone.encode(damaged)
    maps = mixcl.backbone.decode(levels)
    own_keys = unit(mixcl.teacher_identity.network(mixcl.teacher.network.encode(damaged)[-1]))
    mixcl.step(batch)

    anchors, keys, ids, against, _, written = seen["instance_contrast"][0]
    torch.testing.assert_close(anchors, unit(mixcl.identity(levels[-1])))
    torch.testing.assert_close(keys, own_keys[[4, 5, 6, 7, 0, 1, 2, 3]])
    assert ids.tolist() == [7, 7, 3, 5] * 2
    assert against is queue
    embeddings, labels, sets, _ = seen["label_loss"][0]
    torch.testing.assert_close(embeddings, mixcl.pixels(maps[0]))
    assert torch.equal(labels, view.labels)
    assert sets.tolist() == [0, 1, 0, 2] * 2
    rebuilt, target, *_ = seen["reconstruction_loss"][0]
    torch.testing.assert_close(rebuilt, mixcl.reconstruction(maps[-1]))
    assert torch.equal(target, view.images)

    # A step's own keys are nothing that it is contrasted with.
    assert written == int(queue.written) == 8
    mixcl.after_step()
    assert queue.ids[8:16].tolist() == [7, 7, 3, 5] * 2
    torch.testing.assert_close(queue.keys[8:16], own_keys)


# Drawing and data sets (test 5)


def test_half_of_the_crops_have_labels():
    mixcl = made()
    for labeled, expected in (((0, 1), 2), ((), 0), ((0, 1, 2, 3), 4)):
        batch = drawn(mixcl, ToyVolumes(labeled=labeled))
        known = (batch.labels >= 0).flatten(1).all(1)
        assert int(known.sum()) == expected
        assert ((batch.labels == -1).flatten(1).all(1) | known).all()
        assert set(batch.cases[known].tolist()) <= set(labeled)
    few = drawn(made(settings=replace(SMALL, labeled=0.01)), ToyVolumes(labeled=(0, 1)))
    assert int((few.labels >= 0).flatten(1).all(1).sum()) == 1, "the checkpoint says that labels were used"


def test_data_sets_are_compared_apart():
    mixcl = made(settings=replace(SMALL, spatial=FLIPS, intensity=NEVER, lost=(0.0, 0.0), cells=10**6))
    source = ToyVolumes(data_sets=(0, 0, 1, 1))
    batch = drawn(mixcl, source)
    assert sorted(batch.data_sets.tolist()) == [0, 0, 1, 1]
    maps = torch.randn(4, 16, 8, 8, 8)
    labels = torch.randint(0, 3, (4, 16, 16, 16))
    sets = torch.tensor([0, 0, 1, 1])
    joint = mixcl.label_loss(maps, labels, sets)
    parts = [mixcl.label_loss(maps[p], labels[p], sets[p]) for p in (slice(2), slice(2, 4))]
    anchors = [
        int((F.interpolate(labels[p, None].float(), scale_factor=0.5) > 0).sum()) for p in (slice(2), slice(2, 4))
    ]
    expected = (parts[0] * anchors[0] + parts[1] * anchors[1]) / sum(anchors)
    torch.testing.assert_close(joint, expected, rtol=1e-3, atol=0)
    assert not torch.allclose(joint, mixcl.label_loss(maps, labels, torch.zeros(4, dtype=torch.long)), rtol=1e-3)


# Labels follow their view (test 8)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_labels_move_with_their_view(dimensions):
    mixcl = made(dimensions, replace(SMALL, spatial=FLIPS))
    labels = torch.randint(-1, 3, (2, *mixcl.plan.patch_shape))
    images = labels.unsqueeze(1).float()
    zeros, indices = torch.zeros(2, 3), torch.arange(2)
    view = mixcl.views(Batch(images, labels, zeros, zeros, indices, indices))
    assert len(view.images) == 4
    assert torch.equal(view.images[:, 0].round().long(), view.labels)
    assert not torch.equal(view.labels[:2], view.labels[2:])


def test_every_cell_has_the_label_at_its_place():
    mixcl = made(settings=replace(SMALL, cells=10**6, label_temperature=0.01))
    labels = torch.randint(0, 4, (2, 4, 4, 4)).repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    one_hot = F.one_hot(labels[:, ::2, ::2, ::2], 4).movedim(-1, 1).float()
    sets = torch.zeros(2, dtype=torch.long)
    # Embeddings that are the class itself: at this temperature the loss is the log of the class's other cells.
    counts = torch.bincount(labels[:, ::2, ::2, ::2].flatten(), minlength=4)[1:]
    expected = float((counts * (counts - 1).log()).sum() / counts.sum())
    assert float(mixcl.label_loss(one_hot, labels, sets)) == pytest.approx(expected, abs=1e-4)
    assert float(mixcl.label_loss(one_hot.flip(2), labels, sets)) > expected + 1


# The rest


def test_the_tapped_level():
    assert made().tapped == 0
    assert made(settings=replace(SMALL, pixel_level=0)).tapped == 1
    assert made().pixels(torch.randn(1, 16, 8, 8, 8)).shape == (1, 16, 8, 8, 8)


def test_impossible_settings_are_refused():
    for wrong in ({"label_temperature": 0}, {"momentum": 1.0}, {"batch": 1}, {"lost": (0.5, 0.2)}):
        with pytest.raises(InputError):
            MixCLSettings(**wrong)


def test_registered_and_settings_survive_json():
    assert find_method("pretrain", "mixcl") is MixCL
    settings = replace(MixCLSettings(), lost=(0.2, 0.4))
    assert serialization.from_json(MixCLSettings, serialization.to_json(settings)) == settings
    assert made().transferred == ("encoder", "decoder")


def test_step_under_autocast():
    mixcl = filled(made())
    check_a_step_in_bfloat16(mixcl, drawn(mixcl))


def test_learns_in_a_few_steps():
    seen = trained(made(), ToyVolumes(6), 25)
    assert mean_of(seen[-5:], "label") < 0.9 * mean_of(seen[:5], "label")
    assert mean_of(seen[-5:], "reconstruction") < 0.6 * mean_of(seen[:5], "reconstruction")
    assert mean_of(seen[-5:], "reconstruction") < mean_of(seen[-5:], "damage")

"""Trained nnU-Nets: their networks, plans, labels and files; what cannot be represented is refused in words."""

import io
import zipfile
from types import ModuleType

import numpy as np
import pytest
import torch
from nnunet_models import LABELS, description, network, plans, save_model

from contrastiveseg.api import import_checkpoint
from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.cli import main
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.planning.plan import Normalization
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.volumes.volume import Geometry, Volume

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def volume(array, spacing=(1.0, 1.5, 3.0), direction=UPRIGHT):
    z, y, x = array.shape[-3:]
    return Volume(array.reshape(-1, z, y, x), Geometry((x, y, z), spacing, (5.0, -7.0, 9.0), direction))


def predictor(folder, output, **options):
    import_checkpoint(folder, "nnunet", output, overwrite=True, **options)
    return Predictor.open(output, device="cpu", dtype=None)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize(("dimensions", "residual"), [(3, False), (3, True), (2, False), (2, True)])
def test_the_network_gives_the_same_logits(tmp_path, output, dimensions, residual, transpose):
    theirs = network(dimensions, residual)
    found = predictor(save_model(tmp_path, theirs, plans(dimensions, transpose, residual), description()), output)
    plan = found.card.plan
    shown = [axis for axis in range(3) if dimensions == 3 or axis != transpose[0]]
    forward = [shown.index(axis) for axis in transpose if axis in shown]
    x = torch.randn(2, 1, *plan.patch_shape)
    with torch.no_grad():
        expected = theirs(x.permute(0, 1, *(2 + axis for axis in forward)))
        ours = found.network(x).permute(0, 1, *(2 + axis for axis in forward))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert [plan.spacing[axis] for axis in transpose] == [3.0, 1.5, 1.0]
    assert plan.slice_axis == (transpose[0] if dimensions == 2 else 0)
    # The first two axes of theirs are mirrored.
    assert plan.conventions.mirrored == tuple(sorted(forward[:2]))


def test_a_folder_a_fold_a_file_and_an_archive_are_the_same_model(tmp_path, output):
    folder = save_model(tmp_path, network(), plans(), description())
    import_checkpoint(folder, "nnunet", output)
    card, weights = load(output)
    archive, alone = tmp_path / "model.zip", tmp_path / "alone.pth"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in folder.rglob("*.*"):
            if file.is_file():
                packed.write(file, file.relative_to(tmp_path))
    alone.write_bytes((folder / "fold_0" / "checkpoint_final.pth").read_bytes())
    places = (folder.parent, folder / "fold_0", folder / "fold_0" / "checkpoint_final.pth", archive, alone)
    for place in places:
        import_checkpoint(place, "nnunet", output, overwrite=True)
        again, same = load(output)
        assert (again.plan, again.labels, again.provenance.base) == (card.plan, card.labels, card.provenance.base)
        assert all(torch.equal(same[name], weights[name]) for name in weights)
    assert card.kind == "segmenter"
    assert [(label.value, label.name) for label in card.labels] == [(1, "ventricle"), (2, "wall")]
    assert card.provenance.citation.startswith("Isensee")


def test_of_several_folds_and_configurations_one_is_taken_and_the_others_are_named(tmp_path, output, capsys):
    for fold in ("1", "0"):
        save_model(tmp_path, network(), plans(), description(), fold=fold)
    folder = save_model(tmp_path, network(2), plans(2), description())
    arguments = ["import", str(folder.parent), "--from", "nnunet", "--output", str(output)]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "3d_fullres/fold_0/checkpoint_final.pth" in told
    assert "Left: 2d fold 0, 3d_fullres fold 1" in told
    assert main([*arguments, "--overwrite", "--configuration", "2d"]) == 0
    assert read_card(output).network.dimensions == 2
    assert main([*arguments, "--overwrite", "--fold", "3"]) == 2
    assert "There are: 2d fold 0, 3d_fullres fold 0, 3d_fullres fold 1" in capsys.readouterr().err


def test_an_archive_cannot_write_outside_or_fill_the_disk(tmp_path, output, monkeypatch):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("../../m__p__3d_fullres/fold_0/checkpoint_final.pth", bytes(2000))
        packed.writestr("../../m__p__3d_fullres/plans.json", "{}")
    monkeypatch.setattr("contrastiveseg.checkpoints.nnunet_files.MOST_WEIGHTS", 1000)
    with pytest.raises(InputError, match="too much"):
        import_checkpoint(archive, "nnunet", output)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["evil.zip"]
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be opened as an archive"):
        import_checkpoint(archive, "nnunet", output)


def test_volumes_are_taken_as_stored_or_turned_to_the_orientation_that_is_named(tmp_path, output):
    folder = save_model(tmp_path, network(), plans(), description())
    array = np.random.default_rng(0).normal(size=(6, 14, 10)).astype(np.float32)
    turned = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    stored = predictor(folder, output)
    expected = stored.predict(volume(array)).labels.array
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(stored.predict(volume(array, direction=turned)).labels.array, expected)
    ras = predictor(folder, output, orientation="RAS")
    np.testing.assert_array_equal(ras.predict(volume(array, direction=turned)).labels.array, expected)
    flipped = ras.predict(volume(array[:, ::-1, ::-1].copy())).labels.array
    np.testing.assert_array_equal(flipped[:, ::-1, ::-1], expected)


def test_outside_of_what_is_not_zero_is_background_and_changes_nothing(tmp_path, output):
    found = predictor(save_model(tmp_path, network(), plans(), description()), output)
    inside = np.random.default_rng(0).uniform(1, 9, (5, 12, 9)).astype(np.float32)
    whole = np.zeros((11, 20, 30), np.float32)
    whole[3:8, 2:14, 20:29] = inside
    alone, around = found.predict(volume(inside)), found.predict(volume(whole), probabilities=True, uncertainty=True)
    np.testing.assert_array_equal(around.labels.array[3:8, 2:14, 20:29], alone.labels.array)
    assert around.labels.array.sum() == alone.labels.array.sum() > 0
    np.testing.assert_allclose(around.probabilities.sum(0), 1, rtol=1e-5)
    assert around.probabilities[0, 0, 0, 0] == 1
    assert around.uncertainty[0, 0, 0] == 0


def test_regions_overlap_and_the_last_of_them_holds_a_voxel(tmp_path, output):
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    folder = save_model(tmp_path, network(), plans(), description(labels=regions, regions_class_order=[1, 2, 3]))
    found = predictor(folder, output)
    names = [(label.value, label.name) for label in found.card.labels]
    assert names == [(1, "whole without core"), (2, "core without enhancing"), (3, "enhancing")]
    image = torch.randn(1, 4, 12, 8)
    logits = found.logits(image)
    assert (logits[0] == 0).all()
    expected = torch.zeros(4, 12, 8, dtype=torch.uint8)
    for index in (1, 2, 3):
        expected[logits[index] > 0] = index
    array = np.random.default_rng(1).normal(size=(4, 12, 8)).astype(np.float32)
    predicted = found.predict(volume(array), probabilities=True)
    soft = predicted.probabilities[1:]
    last = np.where(soft[2] > 0.5, 3, np.where(soft[1] > 0.5, 2, np.where(soft[0] > 0.5, 1, 0)))
    np.testing.assert_array_equal(predicted.labels.array, last)
    np.testing.assert_allclose(predicted.probabilities[0], 1 - soft.max(0), rtol=1e-5)


def test_intensities_follow_the_plans(tmp_path, output):
    schemes = ["CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization"]
    schemes.append("RGBTo01Normalization")
    masks = [False, True, False, False, False]
    their_plans = plans(channels=5, normalization_schemes=schemes, use_mask_for_norm=masks)
    folder = save_model(tmp_path, network(channels=5), their_plans, description(5))
    found = predictor(folder, output)
    channels = found.card.plan.channels
    assert channels[0].normalization == Normalization("window", -100.0, 300.0, 50.0, 20.0)
    assert [channel.modality for channel in channels] == ["CT", "MR", "other", "other", "other"]
    array = np.random.default_rng(0).uniform(1, 255, (5, 4, 12, 8)).astype(np.float32)
    array[0, 0, 0, 0] = 1000
    array[:, 2, 5, 4] = 0  # a hole, which is filled
    array[:, 0, :, 0] = 0
    prepared = found.prepare(volume(array)).numpy()
    np.testing.assert_allclose(prepared[0], (array[0].clip(-100, 300) - 50) / 20, rtol=1e-5)
    inside = np.ones((4, 12, 8), bool)
    inside[0, :, 0] = False
    mean, deviation = array[1][inside].mean(), array[1][inside].std()
    np.testing.assert_allclose(prepared[1][inside], (array[1][inside] - mean) / deviation, rtol=1e-4, atol=1e-5)
    assert (prepared[1][~inside] == 0).all()
    np.testing.assert_array_equal(prepared[2], array[2])
    np.testing.assert_allclose(prepared[3], array[3] / array[3].max(), rtol=1e-5)
    np.testing.assert_allclose(prepared[4], array[4] / 255, rtol=1e-5)


def test_fine_tuning_keeps_how_volumes_come_to_the_network(tmp_path, output, dataset):
    coarse = plans(spacing=[24.0, 20.0, 20.0])
    import_checkpoint(save_model(tmp_path, network(), coarse, description()), "nnunet", output)
    base, tuned = read_card(output), tmp_path / "tuned.safetensors"
    result = run(
        FinetuneJob(
            checkpoint=str(output), images=(str(dataset),), output=str(tuned), steps=1, precision="32", device="cpu"
        )
    )
    card = read_card(tuned)
    assert result.transfer.fresh == ()
    assert card.plan.conventions == base.plan.conventions
    assert (card.plan.spacing, card.plan.channels) == (base.plan.spacing, base.plan.channels)
    assert card.network == base.network
    assert [label.name for label in card.labels] != [label.name for label in base.labels]
    assert card.decision == "largest"


def changed(theirs, **changes):
    return {**theirs, **changes}


RELU = {"nonlin": "torch.nn.ReLU"}
REFUSED = [
    (plans(previous_stage="3d_lowres"), description(), "second stage of a cascade"),
    (plans(preprocessor_name="MyPreprocessor"), description(), "MyPreprocessor, which is not known here"),
    (plans(normalization_schemes=["MyScheme"]), description(), "normalizes with MyScheme"),
    (
        plans(resampling_fn_data="x" * 5000),
        description(),
        r"resamples images with .{70,90} \(.{1,90}\), which",
    ),
    (plans(resampling_fn_data="my_resampling"), description(), "resamples images with my_resampling"),
    (plans(resampling_fn_data_kwargs={"force_separate_z": True}), description(), "resamples images"),
    (plans(architecture={"network_class_name": "a.Primus"}), description(), "network is Primus"),
    (
        plans(architecture={"network_class_name": "a.PlainConvUNet", "arch_kwargs": RELU}),
        description(),
        "its activation",
    ),
    (
        plans(architecture={"network_class_name": "a.PlainConvUNet", "arch_kwargs": {"nonlin_kwargs": [1]}}),
        description(),
        "not of nnU-Net's form",
    ),
    (plans(patch_size=[4, 12, 10]), description(), "no multiple of"),
    (plans(spacing=[1.0]), description(), "do not fit each other"),
    (plans(spacing=[1.0, 1.0], patch_size=[16, 16]), description(), "dimensions differ"),
    (changed(plans(), transpose_forward=[0, 0, 1]), description(), "do not fit each other"),
    (changed(plans(), image_reader_writer="MyReader"), description(), "MyReader, which is not known here"),
    (changed(plans(), configurations={"2d": {}}), description(), "no complete configuration"),
    (plans(), description(labels={"ventricle": 1, "wall": 2}), 'lacks "background"'),
    (plans(), description(labels={"background": 0, "a": 1, "b": 3}), "must be 1, 2, 3"),
    (plans(), description(labels={"background": 0, "a": [1, 2], "b": 2}), "regions_class_order"),
    (plans(), description(labels={**LABELS, "more": 3}), r"head\.weight is \(3, 4, 1, 1, 1\) instead of \(4,"),
    (plans(), description(2), "differ in their number of channels"),
    (plans(), {}, "labels is missing"),
]


@pytest.mark.parametrize(("their_plans", "described", "words"), REFUSED)
def test_what_cannot_be_represented_is_refused_in_words(tmp_path, output, their_plans, described, words):
    folder = save_model(tmp_path, network(), their_plans, described, configuration="3d_fullres")
    with pytest.raises(InputError, match=words):
        import_checkpoint(folder, "nnunet", output)
    assert not output.exists()


def test_a_network_with_other_parts_is_refused(tmp_path, output):
    theirs = network()
    theirs.decoder.attention = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"decoder\.attention\.weight has no counterpart"):
        import_checkpoint(save_model(tmp_path, theirs, plans(), description()), "nnunet", output)


def test_models_of_several_data_sets_and_none_are_refused(tmp_path, output):
    with pytest.raises(InputError, match="holds no model of nnU-Net v2"):
        import_checkpoint(tmp_path, "nnunet", output)
    save_model(tmp_path, network(), plans(), description())
    (tmp_path / "Dataset001_Heart").rename(tmp_path / "Dataset002_Liver")
    save_model(tmp_path, network(), plans(), description())
    with pytest.raises(InputError, match="several data sets: Dataset001_Heart, Dataset002_Liver"):
        import_checkpoint(tmp_path, "nnunet", output)


class Malicious:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_scalars_are_read_whichever_numpy_wrote_them_and_nothing_else(tmp_path, output, module, capsys):
    folder = save_model(tmp_path, network(), plans(), description())
    path = folder / "fold_0" / "checkpoint_final.pth"
    _replace_in_pickle(path, [f"c{name}\n".encode() for name in ("numpy._core.multiarray", module)])
    import_checkpoint(folder, "nnunet", output)
    content = torch.load(path, weights_only=False)
    torch.save({**content, "logging": Malicious()}, path)
    with pytest.raises(InputError, match="cannot be read as tensors alone"):
        import_checkpoint(folder, "nnunet", output, overwrite=True)
    assert "code was run" not in capsys.readouterr().out


def _replace_in_pickle(path, names):
    """Rewrite the pickle in a file of torch with another name of a module."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(packed, "w") as after:
        for info in before.infolist():
            content = before.read(info)
            if info.filename.endswith("data.pkl"):
                assert any(name in content for name in names)
                content = content.replace(*names)
            after.writestr(info, content)
    path.write_bytes(packed.getvalue())


def test_numpy_scalars_are_read_by_a_numpy_whose_core_is_a_stub(tmp_path, output, monkeypatch):
    folder = save_model(tmp_path, network(), plans(), description())
    monkeypatch.setattr(np, "_core", ModuleType("numpy._core"), raising=False)  # as numpy 1.26 has it
    import_checkpoint(folder, "nnunet", output)
    assert load(output)[1]


def test_mirroring_follows_the_model(tmp_path, output):
    found = predictor(save_model(tmp_path, network(), plans(), description(), mirrored=None), output)
    assert found.mirrored == ()
    image = torch.randn(1, 4, 12, 8)
    torch.testing.assert_close(found.logits(image, mirror=True), found.logits(image))
    both = predictor(save_model(tmp_path / "b", network(), plans(), description(), mirrored=(0, 2)), output)
    x = image[None]
    with torch.no_grad():
        expected = sum(both.network(x.flip(axes)).flip(axes) for axes in ([], [2], [4], [2, 4])) / 4
    torch.testing.assert_close(both.logits(image, mirror=True), expected[0], rtol=1e-4, atol=1e-5)


def test_it_agrees_with_nnunet_itself(tmp_path, output):
    """Needs nnunetv2 (the extra bench); Testing/benchmarks/nnunet_import.py compares trained models."""
    architectures = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet", reason="nnunetv2 is not there"
    )
    torch.manual_seed(0)
    theirs = architectures.ResidualEncoderUNet(
        1,
        3,
        [4, 6, 8],
        torch.nn.Conv3d,
        [[3] * 3] * 3,
        [[1] * 3, [2] * 3, [2] * 3],
        [1, 2, 2],
        3,
        [1, 1],
        True,
        torch.nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    found = predictor(save_model(tmp_path, theirs, plans(residual=True), description()), output)
    x = torch.randn(1, 1, 8, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(found.network(x), theirs(x), rtol=1e-4, atol=1e-5)

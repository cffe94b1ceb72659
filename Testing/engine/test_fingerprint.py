"""The plan follows from the data, and a checkpoint's plan is kept where it must be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.errors import InputError
from contrastiveseg.planning.fingerprint import Fingerprint, adapt_plan, fingerprint_of, make_plan
from contrastiveseg.planning.patch import PatchRule, fit_patch
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.synthetic.subject import synthesize
from contrastiveseg.volumes.dataset import CaseFiles

TINY = 32 * 64 * 80


def save(path: Path, array: np.ndarray, spacing=(1.0, 1.0, 1.0), direction=None) -> CaseFiles:
    """``array`` (z, y, x) or (C, z, y, x) as a case; ``spacing`` (x, y, z)."""
    several = array.ndim == 4
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if several else array, isVector=several)
    image.SetSpacing(spacing)
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return CaseFiles(path.name.partition(".")[0], (path,), None)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 400, shape).astype(np.int16)


@pytest.mark.parametrize(
    ("shape", "rule", "voxels", "patch"),
    [
        pytest.param((36, 50, 35), PatchRule((8, 8, 8)), TINY, (32, 48, 32), id="hippocampus fits whole"),
        pytest.param((88, 320, 320), PatchRule((8, 8, 8)), TINY, (48, 56, 56), id="atrium shrinks to a cube"),
        pytest.param((10, 256, 216), PatchRule((2, 16, 16)), TINY, (10, 128, 128), id="cardiac cine keeps its slices"),
        pytest.param((1, 256, 256), PatchRule((1, 16, 16)), TINY, (1, 256, 256), id="one slice"),
        pytest.param((5, 6, 7), PatchRule((8, 8, 8)), TINY, (8, 8, 8), id="smaller than the multiple"),
        pytest.param((15, 16, 17), PatchRule((8, 8, 8)), TINY, (16, 16, 16), id="rounded to the nearer side"),
        pytest.param((8, 8, 8), PatchRule((8, 8, 8), least=2), TINY, (16, 16, 16), id="at least two multiples"),
        pytest.param((64, 64, 64), PatchRule((8, 8, 8), max_coverage=0.5), TINY, (32, 32, 32), id="half of the volume"),
        pytest.param((200, 200), PatchRule((32, 32)), 192**2, (192, 192), id="slices"),
        pytest.param((64, 64, 64), PatchRule((32, 32, 32)), 10, (32, 32, 32), id="never below one multiple"),
    ],
)
def test_patch(shape, rule, voxels, patch):
    assert fit_patch(shape, rule, voxels) == patch


def test_a_patch_of_a_volume_without_end_is_found_at_once():
    """As a card with a spacing of a nanometer asks for."""
    patch = fit_patch((10**11, 10**11, 10**11), PatchRule((8, 8, 8)), 4096)
    assert patch == (16, 16, 16)


def test_two_dimensional_patch_is_one_voxel_thick_across_the_thick_slices():
    for axis in range(3):
        spacing, shape = [1.5, 1.5, 1.5], [192, 192, 192]
        spacing[axis], shape[axis] = 8.0, 10
        plan = make_plan(Fingerprint((Channel(),), tuple(spacing), tuple(shape), 1), 2, PatchRule((16, 16)), 192**2)
        assert (plan.dimensions, plan.slice_axis, plan.patch[axis]) == (2, axis, 1)
        assert plan.patch_shape == (192, 192)
        assert plan.aspect == (1.5, 1.5)


def test_spacing_and_size_are_medians_in_canonical_orientation(tmp_path):
    turned = (0.0, 0, 1, 1, 0, 0, 0, 1, 0)  # the file's x runs along the patient's y, its y along z, its z along x
    cases = [
        save(tmp_path / "a.nii.gz", noise(10, 20, 30), (1.0, 1.0, 4.0)),
        save(tmp_path / "b.nii.gz", noise(30, 10, 20), (1.0, 4.0, 1.0), turned),
        save(tmp_path / "c.nii.gz", noise(8, 40, 50), (0.5, 0.5, 9.0)),
    ]
    seen = fingerprint_of(cases)
    assert seen.spacing == pytest.approx((4.0, 1.0, 1.0))
    assert seen.shape == (10, 20, 30)
    assert (seen.slice_axis, seen.cases) == (0, 3)


def test_equal_spacing_means_axial_slices():
    assert Fingerprint((Channel(),), (1.0, 1.0, 1.0001), (5, 5, 5), 1).slice_axis == 0


@pytest.mark.parametrize(("contrast", "modality", "scheme"), [("CT", "CT", "window"), ("cine", "MR", "zscore")])
def test_modality_decides_normalization(tmp_path, contrast, modality, scheme):
    cases = []
    for seed in range(2):
        volume, _ = synthesize(seed, SyntheticSettings(size=(12, 24, 24), contrast=contrast))
        cases.append(save(tmp_path / f"{seed}.nii.gz", volume.array[0]))
    (channel,) = fingerprint_of(cases).channels
    assert (channel.name, channel.modality, channel.normalization.scheme) == ("image", modality, scheme)
    if modality == "CT":
        window = channel.normalization
        assert -1000 <= window.low < window.mean < window.high <= 3000
        assert window.deviation > 1


def test_one_volume_without_air_makes_the_set_no_ct(tmp_path):
    ct, _ = synthesize(0, SyntheticSettings(size=(12, 24, 24), contrast="CT"))
    cases = [save(tmp_path / "a.nii.gz", ct.array[0]), save(tmp_path / "b.nii.gz", noise(12, 24, 24))]
    seen = fingerprint_of(cases)
    assert seen.channels[0].modality == "MR"
    assert "some volumes look like CT in Hounsfield units, and others, such as b, do not" in " ".join(seen.doubts)
    assert fingerprint_of(cases[:1]).doubts == fingerprint_of(cases[1:]).doubts == ()


def test_what_is_held_out_is_checked_and_decides_nothing(tmp_path):
    body = noise(8, 16, 16)
    body[:, :4] = -1000
    trained = save(tmp_path / "a.nii", body)
    alone = fingerprint_of([trained])
    assert alone.channels[0].modality == "CT"
    like = fingerprint_of([trained], unseen=[save(tmp_path / "b.nii", body - 100, (2.0, 2.0, 3.0))])
    assert like == alone
    other = save(tmp_path / "c.nii", np.abs(body))
    seen = fingerprint_of([trained], unseen=[other])
    assert (seen.channels, seen.spacing, seen.shape) == (alone.channels, alone.spacing, alone.shape)
    assert "such as c, do not: all are scaled as CT" in seen.doubts[0]
    with pytest.raises(InputError, match="b2 has 2"):
        fingerprint_of([trained], unseen=[save(tmp_path / "b2.nii", noise(2, 8, 16, 16))])


def test_all_volumes_that_cannot_be_read_are_named_at_once(tmp_path):
    """One a run would take as many runs as there are."""
    cases = [save(tmp_path / f"{n}.nii.gz", noise(8, 8, 8)) for n in range(8)]
    for n in (1, 4):
        (tmp_path / f"{n}.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.nii\.gz is empty.*4\.nii\.gz is empty"):
        fingerprint_of(cases)
    for n in (1, 4):  # their headers are whole
        save(tmp_path / f"{n}.nii.gz", np.full((8, 8, 8), np.nan, np.float32))
    with pytest.raises(InputError, match=r"1\.nii\.gz has 512 voxels.*4\.nii\.gz has 512 voxels"):
        fingerprint_of(cases)
    for n in range(8):
        (tmp_path / f"{n}.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="3 more cannot be read"):
        fingerprint_of(cases)


def test_declared_ct_without_values_below_0_is_told(tmp_path):
    """As stored with 1024 added, which the header's intercept would take away."""
    ct, _ = synthesize(0, SyntheticSettings(size=(12, 24, 24), contrast="CT"))
    case, moved = (save(tmp_path / f"{n}.nii.gz", ct.array[0] + n) for n in (0, 2048))
    assert fingerprint_of([case], ["CT"]).doubts == ()
    (doubt,) = fingerprint_of([case, moved], ["CT"]).doubts
    assert "channel 'CT' is CT, and 2048 has no value below 0" in doubt


def test_a_declared_modality_decides(tmp_path):
    ct, _ = synthesize(0, SyntheticSettings(size=(12, 24, 24), contrast="CT"))
    with_air, without = save(tmp_path / "a.nii.gz", ct.array[0]), save(tmp_path / "b.nii.gz", noise(12, 24, 24))
    for case, declared, modality in (
        (without, "ct", "CT"),
        (with_air, "T1-weighted", "MR"),
        (with_air, "first pass", "CT"),
        (without, "CTP", "MR"),
    ):
        (channel,) = fingerprint_of([case], [declared]).channels
        assert (channel.name, channel.modality) == (declared, modality)
    with pytest.raises(InputError, match=r"declares 2 channel\(s\) \(T1, T2\), a has 1"):
        fingerprint_of([with_air], ["T1", "T2"])


def test_channels_are_counted_over_files_and_vectors(tmp_path):
    first, second = save(tmp_path / "a.nrrd", noise(4, 5, 6)), save(tmp_path / "b.nrrd", noise(4, 5, 6))
    both = CaseFiles("both", (*first.images, *second.images), None)
    vector = save(tmp_path / "v.nrrd", noise(2, 4, 5, 6))
    assert [c.name for c in fingerprint_of([both, vector]).channels] == ["image 1", "image 2"]
    with pytest.raises(InputError, match=r"differ in their number of channels \(both has 2, a has 1\)"):
        fingerprint_of([both, first])


def test_nothing_to_look_at():
    with pytest.raises(InputError, match="no volumes"):
        fingerprint_of([])


SEEN = Fingerprint((Channel("image", "MR"),), (2.0, 1.0, 1.0), (32, 64, 64), 3)


def test_a_generic_starter_follows_the_data():
    base = Plan(3, (Channel(),), (9.0, 9.0, 9.0), (16, 16, 16))
    plan = adapt_plan(base, SEEN, PatchRule((8, 8, 8)), TINY)
    assert plan == make_plan(SEEN, 3, PatchRule((8, 8, 8)), TINY)
    assert plan.spacing == (2.0, 1.0, 1.0)


def test_any_other_checkpoint_keeps_spacing_and_normalization():
    channel = Channel("CT", "CT", Normalization("window", -100, 300, 50, 80))
    plan = adapt_plan(Plan(3, (channel,), (4.0, 2.0, 2.0), (16, 16, 16)), SEEN, PatchRule((8, 8, 8)), TINY)
    assert (plan.channels, plan.spacing) == ((channel,), (4.0, 2.0, 2.0))
    assert plan.patch == (16, 32, 32)  # the new data's extent at the checkpoint's spacing


def test_number_of_channels_must_agree():
    with pytest.raises(InputError, match=r"expects 2 channel\(s\) and the volumes have 1"):
        adapt_plan(Plan(3, (Channel("a", "MR"),) * 2, (1, 1, 1), (8, 8, 8)), SEEN, PatchRule((8, 8, 8)), TINY)


def test_a_generic_starter_takes_as_many_channels_as_there_are():
    two = replace(SEEN, channels=(Channel("a", "MR"), Channel("b", "MR")))
    assert (
        adapt_plan(Plan(3, (Channel(),), (1, 1, 1), (8, 8, 8)), two, PatchRule((8, 8, 8)), TINY).channels
        == two.channels
    )


def test_the_window_does_not_come_from_one_column_of_voxels(tmp_path):
    """Every 32nd voxel of rows of 32 voxels would be the air at the border alone."""
    array = np.random.default_rng(0).integers(-100, 200, (100, 1000, 32)).astype(np.int16)
    array[..., :2] = -1000
    (channel,) = fingerprint_of([save(tmp_path / "a.nii", array)]).channels
    assert channel.modality == "CT"
    assert channel.normalization.low == pytest.approx(-98, abs=3)

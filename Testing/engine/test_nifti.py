"""NIfTI: where a header says its voxels lie, and what they are; what is made on that grid says the same."""

import gzip
import re
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.data.cache import preprocess
from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.evaluate import evaluate
from contrastiveseg.events import Log
from contrastiveseg.planning.plan import Channel, Plan
from contrastiveseg.volumes.content import content_digest
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.itk import geometry_of
from contrastiveseg.volumes.reading import read_channels, read_geometry, read_labels, read_volume
from contrastiveseg.volumes.writing import write_labels

ARRAY = np.random.default_rng(0).integers(0, 300, (4, 5, 6)).astype(np.int16)
PLACE = np.array([[-1.5, 0, 0, 90], [0, 2, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1]])
APART = PLACE + np.array([[0, 0, 0, 12], [0, 0, 0, -7], [0, 0, 0, 5], [0, 0, 0, 0]])
SHEARED = np.array([[1.5, 0.5, 0, -30], [0, 2, 0, -30], [0, 0.3, 3, -20], [0, 0, 0, 1]])
LARGE = 1 << 15


def save(path, sform=PLACE, qform=PLACE, codes=(1, 1), array=ARRAY, patch=None, kind=nibabel.Nifti1Image, units="mm"):
    """``codes``: of sform and qform; ``patch``: offset in the header -> bytes."""
    image = kind(np.ascontiguousarray(array.T), None)
    image.header.set_sform(sform, codes[0])
    image.header.set_qform(qform, codes[1])
    image.header.set_xyzt_units(units)
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    for at, new in (patch or {}).items():
        content[at : at + len(new)] = new
    path.write_bytes(content)
    return path


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def written_on(path, source):
    """Labels written on the grid of the image ``source``: its header and that of the image."""
    write_labels(path, np.abs(ARRAY), read_volume(source).geometry)
    return nibabel.load(path).header, nibabel.load(source).header


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 1), (4, 4), (2, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize("qform", [PLACE, APART])
def test_labels_have_the_transforms_of_their_image_and_their_codes(tmp_path, codes, qform):
    ours, theirs = written_on(tmp_path / "l.nii.gz", save(tmp_path / "a.nii", PLACE, qform, codes))
    for name in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "qoffset_x", "quatern_d", "pixdim"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert geometry_of(sitk.ReadImage(str(tmp_path / "l.nii.gz"))) == geometry_of(
        sitk.ReadImage(str(tmp_path / "a.nii"))
    )


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 2), (1, 0), (0, 1), (0, 0)])
def test_the_transform_is_the_one_that_itk_takes(tmp_path, codes):
    path = save(tmp_path / "a.nii", PLACE, APART, codes)
    ours, itk = read_volume(path).geometry, geometry_of(sitk.ReadImage(str(path)))
    for name in ("size", "spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(ours, name), getattr(itk, name), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"qform": APART}, "qform and its sform place it up to 8 voxels apart. The sform is used"),
        ({"qform": APART, "codes": (2, 1)}, "apart. The qform is used"),
        ({"codes": (0, 0)}, "codes of qform and sform are 0"),
        ({"sform": SHEARED}, "the sform of its header is sheared"),
        ({"patch": {80: floats(-1.5, -2, -3)}}, "voxel sizes .*pixdim. are not those of its sform"),
        ({"patch": {80: floats(1, 1, 1)}, "codes": (1, 0)}, "1 x 1 x 1 mm, pixdim. are not those of its sform"),
        ({"patch": {256: floats(np.nan)}}, "the qform of its header holds values that are not numbers"),
    ],
)
def test_contradictions_are_told(tmp_path, changes, words):
    geometry = read_volume(save(tmp_path / "a.nii", **changes)).geometry
    assert re.search(words, geometry.doubt)


def test_contradictions_of_channels_and_label_maps_are_told(tmp_path):
    """Of one file a case they were, and of what lies on it they were not."""
    image = save(tmp_path / "a.nii")
    array = np.zeros_like(ARRAY)
    array[1:4, 2:5, 2:6] = 1
    labels = save(tmp_path / "a_seg.nii", qform=APART, array=array)
    assert "of a_seg.nii: its qform and its sform" in read_channels([image, labels]).doubt
    assert read_channels([image, image]).doubt == ""
    said = []
    plan = Plan(3, (Channel("image", "MR"),), (3.0, 2.0, 1.5), (8, 16, 16))
    preprocess(find_cases([image], [labels]), plan, tmp_path / "cache", emit=said.append)
    other = save(tmp_path / "b.nii", array=array)
    evaluate(labels, other, emit=said.append)
    assert [event.text.split(" its qform")[0] for event in said if isinstance(event, Log)] == [
        "Case a: of its label map:",
        "b: of the prediction:",
    ]


@pytest.mark.parametrize("codes", [(1, 0), (2, 0), (1, 1), (2, 1)])
def test_voxel_sizes_that_are_not_the_sforms_are_taken_as_itk_takes_them(tmp_path, codes):
    # As in ACDC's own files, whose sform says 1 mm.
    path = save(tmp_path / "a.nii", sform=np.diag([1.0, 1, 1, 1]), codes=codes, patch={80: floats(1.5, 2, 10)})
    ours, itk = read_volume(path).geometry, geometry_of(sitk.ReadImage(str(path)))
    for name in ("size", "spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(ours, name), getattr(itk, name), atol=1e-5)
    assert ours.spacing == (1.5, 2, 10)


def test_agreeing_transforms_leave_no_doubt(tmp_path):
    for codes in ((1, 1), (4, 1), (1, 0), (0, 1)):
        assert read_volume(save(tmp_path / "a.nii", codes=codes)).geometry.doubt == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sform": SHEARED, "codes": (2, 0)}, "sform of its header is sheared.*Correct its header"),
        ({"codes": (2, 0), "patch": {280: floats(0, 0, 0), 296: floats(0), 312: floats(0)}}, "sform .* is singular"),
        ({"codes": (1, 0), "patch": {280: floats(np.nan)}}, "sform of its header holds values that are not numbers"),
        ({"codes": (0, 1), "patch": {256: floats(np.nan)}}, "qform of its header holds values that are not numbers"),
        ({"codes": (0, 1), "patch": {268: floats(np.inf)}}, "qform of its header holds values that are not numbers"),
        ({"codes": (0, 1), "patch": {80: floats(-1)}}, "negative voxel sizes"),
        ({"codes": (0, 0), "patch": {80: floats(-1)}}, "negative voxel sizes"),
        ({"codes": (0, 0), "patch": {252: b"\7\0"}}, "qform of its header has the code 7, which there is not"),
        ({"codes": (0, 0), "patch": {254: b"\xfd\xff"}}, "sform of its header has the code -3, which there is not"),
        ({"codes": (1, 0), "patch": {280: floats(1e-38)}}, "sform of its header has voxels of a size that cannot be"),
        ({"codes": (0, 0), "patch": {80: floats(1e30)}}, r"voxel spacing of 1e\+30"),
        ({"patch": {108: floats(256)}}, "its voxels would begin inside it"),
        ({"patch": {344: b"n+9"}}, "lacks the mark"),
        ({"kind": nibabel.Nifti2Image, "patch": {8: b"\n\x1a\n\0"}}, "its line ends differ"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, changes, words):
    path = save(tmp_path / "a.nii", **changes)
    for read in (read_volume, read_geometry):
        with pytest.raises(InputError, match=words):
            read(path)


def test_a_code_that_there_is_not_is_told_and_not_written_on(tmp_path):
    path = save(tmp_path / "a.nii", patch={252: b"\x63\0"})
    assert "qform of its header has the code 99" in read_volume(path).geometry.doubt
    write_labels(tmp_path / "l.nii.gz", np.abs(ARRAY), read_volume(path).geometry)
    ours = nibabel.load(tmp_path / "l.nii.gz").header
    assert (int(ours["qform_code"]), int(ours["sform_code"])) == (0, 1)


def test_micrometers_are_read_as_millimeters_and_written_as_they_were(tmp_path):
    place = PLACE * np.array([[1000], [1000], [1000], [1]])
    path = save(tmp_path / "a.nii", place, place, units="micron")
    assert read_volume(path).geometry.spacing == pytest.approx((1.5, 2.0, 3.0))
    ours, theirs = written_on(tmp_path / "l.nii", path)
    assert ours.get_xyzt_units()[0] == "micron"
    np.testing.assert_array_equal(ours.get_sform(), theirs.get_sform())


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "expected"),
    [
        (ARRAY * 2, 0.5, 0.0, ARRAY),
        (ARRAY, 0.0, 3.0, ARRAY),
        (ARRAY + 1, 1.0, -1.0, ARRAY),
        (ARRAY, np.nan, 0.0, ARRAY),
    ],
)
def test_scaling(tmp_path, stored, slope, intercept, expected):
    path = save(tmp_path / "a.nii", array=stored.astype(np.int16), patch={112: floats(slope, intercept)})
    np.testing.assert_array_equal(read_volume(path).array[0], expected)
    np.testing.assert_array_equal(read_labels(path).array, expected)


@pytest.mark.parametrize("packed", [False, True])
def test_nifti_2(tmp_path, packed):
    path = save(tmp_path / "a.nii", kind=nibabel.Nifti2Image)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    np.testing.assert_allclose(read_geometry(path)[0].origin, (-90, 126, -72))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match="cut short"):
        read_volume(path)


def test_an_axis_too_long_for_nifti_1_is_written_as_nifti_2(tmp_path):
    long = np.zeros((1, 1, LARGE), np.uint8)
    long[..., 5] = 3
    path = save(tmp_path / "a.nii", array=long, kind=nibabel.Nifti2Image)
    write_labels(tmp_path / "l.nii.gz", long, read_volume(path).geometry)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.nii.gz").array, long)


def test_a_file_that_is_packed_twice(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="packed twice"):
        read_volume(path)


def test_a_pair_of_header_and_voxels(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(np.ascontiguousarray(ARRAY.T), PLACE), tmp_path / "a.img")
    volume = read_volume(tmp_path / "a.img")
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert (volume.name, volume.geometry.origin) == ("a", (-90.0, 126.0, -72.0))
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(InputError, match=r"a\.hdr is not beside it"):
        read_volume(tmp_path / "a.img")


def test_the_header_of_a_pair_is_part_of_the_content(tmp_path):
    """By its digest a cache knows whether a volume has changed: a corrected voxel size changes it."""
    digests = []
    for affine in (PLACE, 2 * PLACE):
        nibabel.save(nibabel.Nifti1Pair(np.ascontiguousarray(ARRAY.T), affine), tmp_path / "a.img")
        digests.append(content_digest([tmp_path / "a.img"]))
    assert digests[0] != digests[1]


def test_analyze_is_refused_by_name(tmp_path):
    path = save(tmp_path / "a.nii", patch={344: bytes(4)})
    with pytest.raises(InputError, match="Analyze"):
        read_volume(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "i2", "i8", "f8", "f4", "u4"])
def test_number_types_of_either_byte_order(tmp_path, order, kind):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(order + kind))
    image = nibabel.Nifti1Image(np.ascontiguousarray(ARRAY.T).astype(order + kind), PLACE, header)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.array.dtype == kind
    np.testing.assert_array_equal(volume.array[0], ARRAY)


def test_colors_with_a_slope_are_channels(tmp_path):
    colors = np.stack([ARRAY, ARRAY + 1, ARRAY + 2], -1).astype(np.uint8)
    stored = np.ascontiguousarray(colors.transpose(2, 1, 0, 3)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(stored, PLACE), path)
    path.write_bytes(path.read_bytes()[:112] + floats(2, 0) + path.read_bytes()[120:])
    assert read_geometry(path)[1] == 3
    assert read_volume(path).array.shape == (3, 4, 5, 6)


def test_a_type_that_is_not_read_is_named(tmp_path):
    for code in (1, 127):
        with pytest.raises(InputError, match=f"NIfTI code {code}"):
            read_volume(save(tmp_path / "a.nii", patch={70: struct.pack("<2h", code, 1)}))


def test_checksums_are_checked(tmp_path):
    path = save(tmp_path / "a.nii")
    packed = bytearray(gzip.compress(path.read_bytes(), 0))
    path.write_bytes(packed + b"behind the end")
    np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    packed[500] ^= 0x15
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"is damaged.*checksum"):
        read_volume(path)


def test_a_header_that_declares_more_than_the_file_can_hold(tmp_path):
    patch = {42: struct.pack("<3h", 32767, 32767, 32767)}
    path = save(tmp_path / "a.nii", patch=patch)
    for content in (path.read_bytes(), gzip.compress(path.read_bytes())):
        path.write_bytes(content)
        for read in (read_volume, read_geometry):
            with pytest.raises(InputError, match="cut short"):
                read(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_goes_on_behind_its_voxels_is_refused(tmp_path, name):
    """It was copied as if it were a text, or its header was changed."""
    path = tmp_path / "whole.nii"
    voxels = np.full((5, 6, 7), 0x0A0A, np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    content = path.read_bytes()
    for changed in (content[:352] + content[352:].replace(b"\n", b"\r\n"), content + bytes(5000), content + b"\1"):
        other = tmp_path / name
        other.write_bytes(gzip.compress(changed) if name.endswith(".gz") else changed)
        with pytest.raises(InputError, match="goes on behind the voxels"):
            read_volume(other)
    other.write_bytes(content + bytes(512))
    assert (read_volume(other).array == 0x0A0A).all()


def test_a_place_beyond_all_measure_is_none(tmp_path):
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 3] = 1e30
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine), tmp_path / "a.nii")
    with pytest.raises(InputError, match="lies farther off than can be"):
        read_volume(tmp_path / "a.nii")


def test_what_is_no_number_is_not_written_on(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), np.diag([2.0, 2, 2, 1]))
    image.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    image.header["qoffset_x"] = np.inf
    nibabel.save(image, tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert "the qform of its header holds values that are not numbers" in volume.geometry.doubt
    write_labels(tmp_path / "b.nii", np.zeros(volume.geometry.shape, np.uint8), volume.geometry)
    written = nibabel.load(tmp_path / "b.nii").header
    assert (written["qform_code"], written["qoffset_x"]) == (0, 0)

"""NRRD and MetaImage: what their headers declare is there, in their folder, and unpacks."""

import gzip
import os
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.checkpoints.foreign_tensors import load_content
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.errors import InputError
from contrastiveseg.volumes.content import content_digest
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.declared_labels import declared_in
from contrastiveseg.volumes.reading import read_geometry, read_volume

ARRAY = np.random.default_rng(0).integers(0, 500, (6, 7, 8)).astype("<i2")
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{}DimSize = {}\n"
    "ElementSpacing = 2 2 2\nElementType = MET_SHORT\nElementDataFile = {}\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: {}\nspace: left-posterior-superior\n"
    "space directions: (2,0,0) (0,2,0) (0,0,2)\nendian: little\nencoding: {}\n{}\n"
)


#: Other files that may not be fetched, and what reads them.
OTHERS = {
    "a.safetensors": read_card,
    "a.pth": load_content,
    "dataset.json": declared_in,
    "list.json": lambda path: find_cases([path]),
}


def meta(path, data="LOCAL", size="8 7 6", more="", voxels=b""):
    path.write_bytes(META.format(more, size, data).encode() + voxels)
    return path


def nrrd(path, data="", size="8 7 6", encoding="raw", voxels=b""):
    path.write_bytes(NRRD.format(size, encoding, f"data file: {data}\n" if data else "").encode() + voxels)
    return path


def refused(path, words):
    for read in (read_volume, read_geometry):
        with pytest.raises(InputError, match=words):
            read(path)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("packed", [False, True])
def test_sound_files_pass(tmp_path, kind, suffix, packed):
    array = (ARRAY % 100).astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"), useCompression=packed)
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{suffix}").array[0], array)


@pytest.mark.parametrize("name", ["../secret/a.raw", "{}/secret/a.raw", "/dev/zero"])
def test_voxels_outside_the_folder_are_not_read(tmp_path, name):
    for folder in ("secret", "in"):
        (tmp_path / folder).mkdir()
    (tmp_path / "secret/a.raw").write_bytes(ARRAY.tobytes())
    name = name.format(tmp_path)
    refused(meta(tmp_path / "in/a.mha", name), f"takes its voxels from {name}, outside its folder")
    refused(meta(tmp_path / "in/b.mhd", f"LIST\n{name}"), "outside its folder")
    refused(meta(tmp_path / "in/c.mhd", f"{name}%03d 1 3 1"), "outside its folder")
    refused(nrrd(tmp_path / "in/a.nhdr", name), f"takes its voxels from {name}, outside its folder")
    refused(nrrd(tmp_path / "in/b.nrrd", f"LIST\n{name}"), "outside its folder")


def test_voxels_beside_their_header_are_read(tmp_path):
    (tmp_path / "a.raw").write_bytes(ARRAY.tobytes())
    for path in (meta(tmp_path / "a.mhd", "a.raw"), nrrd(tmp_path / "a.nhdr", "a.raw")):
        np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)
    (tmp_path / "a.raw").unlink()
    refused(tmp_path / "a.mhd", r"from a\.raw, which is not there")
    os.mkfifo(tmp_path / "a.raw")
    refused(tmp_path / "a.nhdr", r"from a\.raw, which is no plain file")


@pytest.mark.parametrize("packed", [False, True])
def test_more_voxels_than_the_file_can_hold(tmp_path, packed):
    more, encoding = ("CompressedData = True\n", "gzip") if packed else ("", "raw")
    refused(meta(tmp_path / "a.mha", size="32768 32768 32768", more=more, voxels=bytes(64)), "cut short")
    refused(nrrd(tmp_path / "a.nrrd", size="32768 32768 32768", encoding=encoding, voxels=bytes(64)), "cut short")


def test_packed_voxels_that_do_not_unpack(tmp_path):
    for number, (pack, make) in enumerate(((zlib.compress, meta), (gzip.compress, nrrd))):
        sound = pack(ARRAY.tobytes())
        middle, checksum = bytearray(sound), bytearray(sound)
        middle[len(sound) // 2 : len(sound) // 2 + 64] = b"\xff" * 64
        checksum[-6] ^= 0x55
        few = pack(ARRAY.tobytes()[: ARRAY.nbytes // 2])
        for name, voxels in (("middle", middle), ("checksum", checksum), ("few", few), ("cut", sound[:-40])):
            path = tmp_path / f"{name}{number}.{'mha' if make is meta else 'nrrd'}"
            options = {"more": "CompressedData = True\n"} if make is meta else {"encoding": "gzip"}
            refused(make(path, voxels=bytes(voxels), **options), "damaged|cut short")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_headers_without_end(tmp_path, name):
    start = META[:30] if name == "a.mha" else NRRD.format("8 7 6", "raw", "")[:-1]
    (tmp_path / name).write_text(start + "Comment: x = y\n" * 200_000)
    refused(tmp_path / name, "not an image of the kind its name says, or is damaged")


@pytest.mark.parametrize(
    "size", ["8 7", "8 7 0", "8 7 -6", "8 7 x", "", "99999999999999999999 1 1", "1" + "0" * 400 + " 1 1"]
)
def test_sizes_that_are_none(tmp_path, size):
    refused(meta(tmp_path / "a.mha", size=size, voxels=ARRAY.tobytes()), "damaged|cut short")
    refused(nrrd(tmp_path / "a.nrrd", size=size, voxels=ARRAY.tobytes()), "damaged|cut short")


@pytest.mark.parametrize("matrix", ["1 0 0 0.5 1 0 0 0 1", "0.5 0 0 0 1 0 0 0 1", "1 0 0 0 1e200 0 0 0 1"])
def test_axes_that_are_sheared_or_not_of_length_1(tmp_path, matrix):
    path = meta(tmp_path / "a.mha", more=f"TransformMatrix = {matrix}\n", voxels=ARRAY.tobytes())
    refused(path, "axes in its header that are sheared, or not of length 1")


def test_a_sheared_nrrd(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", voxels=ARRAY.tobytes())
    path.write_bytes(path.read_bytes().replace(b"(0,2,0)", b"(0.5,2,0)"))
    refused(path, "axes in its header that are sheared, or not of length 1")


def test_axes_of_a_few_decimals_are_perpendicular_when_read(tmp_path):
    more = "TransformMatrix = 0.9848 0.1736 0 -0.1737 0.9848 0 0 0 1\n"
    direction = read_volume(meta(tmp_path / "a.mha", more=more, voxels=ARRAY.tobytes())).geometry.direction
    axes = np.reshape(direction, (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.abs(axes[:2, :2]), [[0.9848, 0.1736], [0.1736, 0.9848]], atol=1e-4)


@pytest.mark.parametrize("unit", ["um", "\xb5m", "microns", "m", "cm"])
def test_lengths_in_another_unit_are_refused(tmp_path, unit):
    path = meta(tmp_path / "a.mha", more=f"DistanceUnits = {unit}\n", voxels=ARRAY.tobytes())
    refused(path, f"gives its lengths in {unit}, not in mm")
    path = nrrd(tmp_path / "a.nrrd", voxels=ARRAY.tobytes())
    for field in ("space units", "units"):
        line = f'{field}: "{unit}" "{unit}" "{unit}"\n'.encode()
        path.write_bytes(
            NRRD.format("8 7 6", "raw", "").encode().replace(b"endian", line + b"endian") + ARRAY.tobytes()
        )
        refused(path, f"gives its lengths in {unit}, not in mm")


@pytest.mark.parametrize("unit", ["mm", "millimeter", "", "???"])
def test_millimeters_by_any_name_are_read(tmp_path, unit):
    path = meta(tmp_path / "a.mha", more=f"DistanceUnits = {unit}\n", voxels=ARRAY.tobytes())
    assert read_volume(path).geometry.doubt == ""


def test_a_header_without_voxel_sizes_is_told(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", voxels=ARRAY.tobytes())
    assert read_volume(path).geometry.doubt == ""
    whole = path.read_bytes()
    for sizes in (b"", b"spacings: nan nan nan\n", b"spacings: 2 2 nan\n"):
        lines = b"space: left-posterior-superior\nspace directions: (2,0,0) (0,2,0) (0,0,2)\n"
        path.write_bytes(whole.replace(lines, sizes))
        assert "does not say how large its voxels are; 1 mm is taken" in read_volume(path).geometry.doubt
    path = meta(tmp_path / "a.mha", voxels=ARRAY.tobytes())
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 2 2 2\n", b""))
    assert "does not say how large its voxels are" in read_volume(path).geometry.doubt


def test_voxels_of_a_size_that_cannot_be(tmp_path):
    path = meta(tmp_path / "a.mha", voxels=ARRAY.tobytes())
    path.write_bytes(path.read_bytes().replace(b"= 2 2 2", b"= 2 2 1e-30"))
    refused(path, "of a size that cannot be")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_files_that_were_not_fetched(tmp_path, name):
    for text in (
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 132456\n",
        "/annex/objects/MD5E-s132456--0123456789abcdef0123456789abcdef.nii.gz\n",
    ):
        (tmp_path / name).write_text(text)
        refused(tmp_path / name, "Git LFS or git-annex")
        for other, read in OTHERS.items():
            (tmp_path / other).write_text(text)
            with pytest.raises(InputError, match="Git LFS or git-annex"):
                read(tmp_path / other)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("../objects/4f/data")
    refused(tmp_path / name, r"is a link to \.\./objects/4f/data, which is not there")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "neither a file nor a folder")


def test_voxels_in_numbered_files(tmp_path):
    """A file a slice, named by a pattern or listed: each is looked at before ITK is."""
    slices = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for number, voxels in enumerate(slices, start=1):
        (tmp_path / f"s{number:02d}.raw").write_bytes(voxels.tobytes())
    form = "NDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementSpacing = 1 1 1\nElementDataFile = {}\n"
    listed = "LIST\n" + "\n".join(f"s{n:02d}.raw" for n in (1, 2, 3))
    for name, data in (("a", "s%02d.raw 1 3 1"), ("b", listed)):
        path = tmp_path / f"{name}.mhd"
        path.write_text(form.format(data))
        np.testing.assert_array_equal(read_volume(path).array[0], slices)
    for name, data, words in (
        ("c", "s%02d.raw 1 4 1", "s04.raw, which is not there"),
        ("d", "../s%02d.raw 1 3 1", "outside its folder"),
        ("e", "s%02d.raw 1 2 1", "2 files of voxels, and its sizes ask for 3"),
        ("f", "s%s.raw 1 3 1", "not an image"),
        ("g", "s%02d.raw 1 1000000000 1", "not an image"),
    ):
        path = tmp_path / f"{name}.mhd"
        path.write_text(form.format(data))
        with pytest.raises(InputError, match=words):
            read_volume(path)


def _as_text(content: bytes) -> bytes:
    """As a copy in text mode makes it."""
    return content.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("behind", [b"\1", bytes(5000)])
def test_a_file_that_goes_on_behind_its_voxels_is_refused(tmp_path, behind):
    """Its sizes, or its content, are not those that were written."""
    voxels = ARRAY.tobytes()
    (tmp_path / "a.raw").write_bytes(voxels + behind)
    for path in (
        meta(tmp_path / "a.mha", voxels=voxels + behind),
        nrrd(tmp_path / "a.nrrd", voxels=voxels + behind),
        meta(tmp_path / "a.mhd", "a.raw"),
        nrrd(tmp_path / "a.nhdr", "a.raw"),
    ):
        refused(path, "goes on behind the voxels")
    if len(behind) > 1:
        packed = gzip.compress(voxels + behind)
        refused(nrrd(tmp_path / "b.nrrd", encoding="gzip", voxels=packed), "goes on behind the voxels")


def test_a_few_zeros_behind_the_voxels_are_padding(tmp_path):
    for path in (
        meta(tmp_path / "a.mha", voxels=ARRAY.tobytes() + bytes(512)),
        nrrd(tmp_path / "a.nrrd", voxels=ARRAY.tobytes() + bytes(512)),
    ):
        np.testing.assert_array_equal(read_volume(path).array[0], ARRAY)


@pytest.mark.parametrize("make", [meta, nrrd])
def test_a_file_that_was_copied_as_text_is_refused(tmp_path, make):
    array = ARRAY.copy()
    array[0, 0, :5] = 0x0A0A
    path = make(tmp_path / ("a.mha" if make is meta else "a.nrrd"), voxels=array.tobytes())
    path.write_bytes(_as_text(path.read_bytes()))
    refused(path, "copied as if it were a text")


@pytest.mark.parametrize(
    ("more", "voxels"),
    [
        ("CompressedData = True\n", zlib.compress(ARRAY.tobytes())),
        ("CompressedData = True\nCompressedDataSize = 90\n", zlib.compress(ARRAY.tobytes())),
        ("CompressedData = True\nCompressedDataSize = -90\n", zlib.compress(ARRAY.tobytes())),
        (
            "CompressedData = True\nCompressedDataSize = 9999\n",
            zlib.compress(ARRAY[:3].tobytes()) + zlib.compress(ARRAY[3:].tobytes()),
        ),
        ("HeaderSize = 10\n", bytes(10) + ARRAY.tobytes()),
        ("DimSize = 1 1 1\n", ARRAY.tobytes()),
    ],
)
def test_voxels_that_metaio_would_read_wrong_without_a_word(tmp_path, more, voxels):
    refused(meta(tmp_path / "a.mha", more=more, voxels=voxels), "damaged or cut short|is cut short")


@pytest.mark.parametrize("count", [3, 7])
def test_another_number_of_files_than_slices(tmp_path, count):
    for number in range(count):
        (tmp_path / f"{number}.raw").write_bytes(ARRAY[number % 6].tobytes())
    listed = "LIST\n" + "\n".join(f"{number}.raw" for number in range(count))
    refused(meta(tmp_path / "a.mhd", listed), f"{count} files of voxels, and its sizes ask for 6")


def test_files_of_slices_in_the_order_of_letters_or_given_twice(tmp_path):
    """s10 came before s2, and the slices were mixed without a word."""
    for number in range(12):
        (tmp_path / f"s{number}.raw").write_bytes(ARRAY[number % 6].tobytes())
    names = [f"s{number}.raw" for number in (1, 10, 11, 2, 3, 4)]
    for path in (
        meta(tmp_path / "a.mhd", "LIST\n" + "\n".join(names)),
        nrrd(tmp_path / "a.nhdr", "LIST\n" + "\n".join(names)),
    ):
        refused(path, r"in the order of letters \(s10\.raw behind s1\.raw\)")
    twice = "LIST\n" + "\n".join([*names[3:], *names[3:]])
    refused(meta(tmp_path / "b.mhd", twice), r"names s2\.raw twice")
    # From the last to the first is an order, too.
    backwards = meta(tmp_path / "c.mhd", "LIST\n" + "\n".join(f"s{n}.raw" for n in (11, 10, 9, 8, 7, 6)))
    np.testing.assert_array_equal(read_volume(backwards).array[0], ARRAY[::-1])
    # Only the last of several numbers runs in no order.
    for number, name in enumerate(named := [f"e{n}_v{5 - n}.raw" for n in range(6)]):
        (tmp_path / name).write_bytes(ARRAY[number].tobytes())
    np.testing.assert_array_equal(read_volume(meta(tmp_path / "d.mhd", "\n".join(["LIST", *named]))).array[0], ARRAY)


def test_an_axis_of_an_nrrd_without_a_direction(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", voxels=ARRAY.tobytes())
    path.write_bytes(path.read_bytes().replace(b"(2,0,0) (0,2,0)", b"none (0,2,0)"))
    refused(path, "an axis without a direction")


@pytest.mark.parametrize(
    "field", ["Offset = -10,5 3,5 2,5", "ElementSize = 1,5 1,5 2", "TransformMatrix = 1,0 0 0 0 1,0 0 0 0 1,0"]
)
def test_a_decimal_comma_is_not_read_as_the_end_of_a_number(tmp_path, field):
    """MetaIO would read -10,5 as -10 and leave out the rest."""
    refused(meta(tmp_path / "a.mha", more=f"{field}\n", voxels=ARRAY.tobytes()), "numbers are wanted")


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-left-handed", None])
def test_an_nrrd_that_does_not_say_how_it_lies_in_the_patient_is_told(tmp_path, space):
    path = nrrd(tmp_path / "a.nrrd", voxels=ARRAY.tobytes())
    assert read_volume(path).doubt == ""
    line = f"space: {space}" if space else "space dimension: 3"
    path.write_bytes(path.read_bytes().replace(b"space: left-posterior-superior", line.encode()))
    assert "how it lies in the patient" in read_volume(path).doubt


def test_voxels_in_numbered_files_are_part_of_the_content(tmp_path):
    """By its digest a cache knows whether a volume has changed."""
    for number, voxels in enumerate(ARRAY, start=1):
        (tmp_path / f"s{number}.raw").write_bytes(voxels.tobytes())
    listed = "LIST\n" + "\n".join(f"s{n}.raw" for n in range(1, 7))
    paths = [
        meta(tmp_path / "a.mhd", "s%d.raw 1 6 1"),
        meta(tmp_path / "b.mhd", listed),
        nrrd(tmp_path / "c.nhdr", "s%d.raw 1 6 1"),
    ]
    before = [content_digest([path]) for path in paths]
    (tmp_path / "s3.raw").write_bytes(ARRAY[4].tobytes())
    assert not {*before} & {content_digest([path]) for path in paths}

"""DICOM: every slice counts, with its own place and scale; what does not make one volume is refused by name."""

import re

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import SegmentationStorage, generate_uid

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.content import content_digest
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.reading import read_channels, read_geometry, read_volume

ARRAY = np.random.default_rng(0).integers(0, 1000, (6, 7, 8)).astype(np.uint16)


def header(kind, plane, frames=1):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.Modality = kind, generate_uid(), "1.2.3", "MR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *plane.shape[-2:], 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = plane.itemsize * 8
    ds.HighBit, ds.PixelRepresentation = plane.itemsize * 8 - 1, 0
    ds.PixelData = plane.tobytes() + bytes(plane.nbytes % 2)
    return ds


def save(folder, planes, name="{}.dcm", change=lambda z, ds: None):
    """One file a slice, 3 mm apart."""
    folder.mkdir(exist_ok=True, parents=True)
    for z, plane in enumerate(planes):
        ds = header("1.2.840.10008.5.1.4.1.1.4", plane)
        ds.InstanceNumber, ds.ImagePositionPatient = z + 1, [-10, 20, 3 * z]
        ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [2, 1.5]
        change(z, ds)
        ds.save_as(folder / name.format(z), enforce_file_format=True)
    return folder


def multiframe(folder, planes, heights, change=lambda n, frame: None):
    """One enhanced file."""
    folder.mkdir()
    ds = header("1.2.840.10008.5.1.4.1.1.4.1", planes)
    ds.NumberOfFrames = len(planes)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [2, 1.5], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], []
    for n, height in enumerate(heights):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-10, 20, height]
        frame.PlanePositionSequence = [position]
        change(n, frame)
        ds.PerFrameFunctionalGroupsSequence.append(frame)
    ds.save_as(folder / "scan.dcm", enforce_file_format=True)
    return folder


def refused(folder, words):
    with pytest.raises(InputError, match=words):
        read_volume(folder)


def test_each_slice_has_its_own_slope(tmp_path):
    def scaled(z, ds):
        ds.RescaleSlope, ds.RescaleIntercept = (1, 0) if z == 0 else (0.25 * z, 0)

    volume = read_volume(save(tmp_path / "pet", ARRAY, change=scaled))
    slopes = np.array([1, *(0.25 * np.arange(1, 6))]).reshape(-1, 1, 1)
    np.testing.assert_allclose(volume.array[0], ARRAY * slopes)


def test_slices_of_8_and_16_bits(tmp_path):
    planes = [(p % 256).astype(np.uint8) if z < 2 else p for z, p in enumerate(ARRAY)]
    volume = read_volume(save(tmp_path / "mr", planes))
    assert volume.array.dtype == np.uint16
    for z, plane in enumerate(planes):
        np.testing.assert_array_equal(volume.array[0, z], plane)


def test_slices_of_two_pixel_sizes(tmp_path):
    def larger(z, ds):
        ds.PixelSpacing = [2, 1.5] if z < 3 else [1.5, 1.5]

    refused(
        save(tmp_path / "mr", ARRAY, change=larger), r"differ in pixel size: 2\.0 x 1\.5 in 0\.dcm, 1\.5 x 1\.5 in 3"
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.8])
@pytest.mark.parametrize("name", ["{}.dcm", "IM{}"])
def test_a_damaged_slice_is_named(tmp_path, share, name):
    folder = save(tmp_path / "mr", ARRAY, name)
    last = folder / name.format(5)
    last.write_bytes(last.read_bytes()[: int(share * last.stat().st_size)])
    refused(folder, f"{last.name} is damaged or cut short")


def test_a_slice_that_is_cut_within_its_kind_is_not_left_out(tmp_path):
    folder = save(tmp_path / "mr", ARRAY)
    content = (folder / "5.dcm").read_bytes()
    within = content.index(b"1.2.840.10008.5.1.4.1.1.4", content.index(b"\x08\x00\x16\x00"))
    for end in (content.index(b"1.2.840"), within + 20):
        (folder / "5.dcm").write_bytes(content[: end + 3])
        refused(folder, "5.dcm is damaged or cut short")


def test_a_slice_whose_mark_is_damaged_is_not_left_out(tmp_path):
    folder = save(tmp_path / "mr", ARRAY, "1.2.{}")
    content = (folder / "1.2.5").read_bytes()
    (folder / "1.2.5").write_bytes(content.replace(b"DICM", b"DICN", 1))
    refused(folder, "1.2.5 is damaged or cut short")


@pytest.mark.parametrize("name", ["{}.dcm", "IM{}"])
def test_a_slice_that_is_not_fetched_is_not_left_out(tmp_path, name):
    folder = save(tmp_path / "mr", ARRAY, name)
    last = folder / name.format(5)
    last.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 132456\n" + " " * 90)
    refused(folder, f"{last.name} is the small text that Git LFS")
    last.unlink()
    last.symlink_to("../objects/4f")
    refused(folder, rf"{last.name} is a link to \.\./objects/4f, which is not there")


def test_frames_stored_from_the_last_to_the_first(tmp_path):
    volume = read_volume(multiframe(tmp_path / "mr", ARRAY, [-3 * z for z in range(6)]))
    np.testing.assert_array_equal(volume.array[0], ARRAY[::-1])
    assert volume.geometry.origin == (-10, 20, -15)


def test_pixels_without_a_size_are_told(tmp_path):
    def unsized(z, ds):
        del ds.PixelSpacing

    assert read_volume(save(tmp_path / "sized", ARRAY)).geometry.doubt == ""
    assert (
        "does not say how large its pixels are"
        in read_volume(save(tmp_path / "a", ARRAY, change=unsized)).geometry.doubt
    )
    assert "does not say how large" in read_volume(save(tmp_path / "b", ARRAY[:1], change=unsized)).geometry.doubt


def test_directions_of_three_decimals_are_made_perpendicular(tmp_path):
    def turned(z, ds):
        ds.ImageOrientationPatient = [0.801, 0.599, 0, -0.599, 0.801, 0]

    direction = read_volume(save(tmp_path / "mr", ARRAY, change=turned)).geometry.direction
    axes = np.reshape(direction, (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)


def test_copies_of_slices_are_named(tmp_path):
    folder = save(tmp_path / "mr", ARRAY, "IM{}")
    (folder / "IM3 (1)").write_bytes((folder / "IM3").read_bytes())
    refused(folder, r"at the same place, such as IM3 and IM3 \(1\): copies")


def test_slices_without_preamble(tmp_path):
    folder = save(tmp_path / "mr", ARRAY, "IM{}")
    for file in folder.iterdir():
        ds = dcmread(file)
        del ds.file_meta
        ds.save_as(file, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_volume(folder).array[0], ARRAY)


def test_other_objects_beside_a_series_are_left_out(tmp_path):
    folder = save(tmp_path / "disc", ARRAY, "IM{}")
    for name, kind in (("SR1", "1.2.840.10008.5.1.4.1.1.88.11"), ("DICOMDIR", "1.2.840.10008.1.3.10")):
        other = Dataset()
        other.file_meta = FileMetaDataset()
        other.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        other.SOPClassUID, other.SOPInstanceUID, other.SeriesInstanceUID = kind, generate_uid(), generate_uid()
        other.save_as(folder / name, enforce_file_format=True)
    for name in ("README.TXT", "._IM1", "Thumbs.db"):
        (folder / name).write_bytes(b"\0\5\x16\7 nothing of use" * 20)
    np.testing.assert_array_equal(read_volume(folder).array[0], ARRAY)


def test_frames_are_sorted_by_their_positions(tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    folder = multiframe(tmp_path / "mr", ARRAY[order], [3 * z for z in order])
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert volume.geometry.spacing == (1.5, 2.0, 3.0)
    assert volume.geometry.origin == (-10, 20, 0)
    assert read_geometry(folder) == (volume.geometry, 1)


def test_frames_that_are_no_volume(tmp_path):
    def scaled(n, frame):
        value = Dataset()
        value.RescaleSlope, value.RescaleIntercept = n + 1, 0
        frame.PixelValueTransformationSequence = [value]

    def without_position(n, frame):
        del frame.PlanePositionSequence

    heights = [3 * z for z in range(6)]
    refused(multiframe(tmp_path / "gap", ARRAY, [0, 3, 6, 15, 18, 21]), "frames .* not evenly spaced: 3 mm, but 9 mm")
    refused(multiframe(tmp_path / "phases", ARRAY, [0, 0, 3, 3, 6, 6]), "frames at the same place")
    refused(multiframe(tmp_path / "slopes", ARRAY, heights, scaled), "different rescale slopes")
    refused(multiframe(tmp_path / "film", ARRAY, heights, without_position), "not the position of each")


def test_numbers_that_are_none_are_named(tmp_path):
    folder = save(tmp_path / "mr", ARRAY)
    content = (folder / "3.dcm").read_bytes()
    (folder / "3.dcm").write_bytes(content.replace(b"\\20", b"\\2\xff"))
    refused(folder, "3.dcm is damaged: its ImagePositionPatient is not 3 numbers")
    folder = multiframe(tmp_path / "frames", ARRAY, [3 * z for z in range(6)])
    content = (folder / "scan.dcm").read_bytes()
    (folder / "scan.dcm").write_bytes(content.replace(b"\\20", b"\\2\xff"))
    refused(folder, "scan.dcm is damaged: its ImagePositionPatient is not 3 numbers")


def test_a_pixel_size_of_0_is_refused(tmp_path):
    refused(save(tmp_path / "a", ARRAY, change=lambda z, ds: setattr(ds, "PixelSpacing", [0, 0])), "pixel spacing of 0")


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "Modality"])
def test_slices_whose_places_cannot_be_compared(tmp_path, name):
    """As where two scans lie in one folder, and a program gave all series one number."""
    folder = save(tmp_path / "a", ARRAY, change=lambda z, ds: setattr(ds, name, "1.2.9" if z > 3 else "1.2.8"))
    refused(folder, r"are of several .* such as 0\.dcm and 4\.dcm")


def mapped(slope):
    item = Dataset()
    item.RealWorldValueSlope = slope
    return [item]


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("EchoTime", ("20", "80"), "EchoTime \\(20 and 80"),
        ("EchoTime", ("20", "20.5"), ""),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), r"ImageType \(M and P"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["DERIVED", "PRIMARY", "M", "NORM"]), ""),
        ("ConvolutionKernel", (["Br40", "3"], ["Br64", "3"]), r"ConvolutionKernel \(Br40/3 and Br64/3"),
        ("ConvolutionKernel", ("Br40", ""), ""),
        ("DiffusionBValue", (0.0, 1000.0), "DiffusionBValue"),
        ("RealWorldValueMappingSequence", (mapped(1.0), mapped(2.5)), "RealWorldValueSlope"),
    ],
)
def test_slices_of_several_images_that_make_one_even_stack_are_told(tmp_path, name, values, told):
    """As where echoes, or magnitude and phase, were copied in part: the stack is even all the same."""
    folder = save(tmp_path / "a", ARRAY, change=lambda z, ds: setattr(ds, name, values[z > 2]))
    doubt = read_geometry(folder)[0].doubt
    assert re.search(told, doubt) if told else not doubt


def test_a_scale_of_each_slice_in_a_private_field_is_told(tmp_path):
    """Philips keeps there by what stored values of slices are compared; RescaleSlope is 1."""

    def change(z, ds):
        ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.5 + z)

    assert "scale slope of Philips" in read_volume(save(tmp_path / "a", ARRAY, change=change)).doubt


@pytest.mark.parametrize(
    ("sequence", "name", "value"),
    [
        ("MREchoSequence", "EffectiveEchoTime", lambda n: (20.0, 80.0)[n % 2]),
        ("MRImageFrameTypeSequence", "FrameType", lambda n: ["ORIGINAL", "PRIMARY", "MP"[n % 2]]),
        ("FrameContentSequence", "TemporalPositionIndex", lambda n: 1 + n % 2),
        ("RealWorldValueMappingSequence", "RealWorldValueSlope", lambda n: 1.0 + n),
    ],
)
def test_frames_of_several_images_are_told(tmp_path, sequence, name, value):
    def change(n, frame):
        item = Dataset()
        setattr(item, name, value(n))
        setattr(frame, sequence, [item])

    folder = multiframe(tmp_path / "a", ARRAY, range(0, 18, 3), change)
    assert f"its frames differ in {name}" in read_geometry(folder)[0].doubt


@pytest.mark.parametrize(("said", "told"), [("1.5", True), ("3", False), ("-3", True)])
def test_a_header_that_knows_of_more_slices_is_told(tmp_path, said, told):
    """Every second slice is missing: the stack is even all the same."""
    folder = save(tmp_path / "a", ARRAY, change=lambda z, ds: setattr(ds, "SpacingBetweenSlices", said))
    geometry = read_volume(folder).geometry
    assert (f"its header says {said} mm" in geometry.doubt) == told
    assert geometry.spacing == (1.5, 2, 3)


@pytest.mark.parametrize(("step", "thickness", "told"), [(2, "1.5", True), (1, "1.5", False), (2, "3", False)])
def test_numbers_of_slices_that_leave_some_out_are_told(tmp_path, step, thickness, told):
    def change(z, ds):
        ds.InstanceNumber, ds.SliceThickness = 40 - step * z, thickness

    doubt = read_geometry(save(tmp_path / "a", ARRAY, change=change))[0].doubt
    assert (f"only one in {step} is there (InstanceNumber)" in doubt) == told


def test_a_segmentation_is_left_out_beside_its_series_and_refused_alone(tmp_path):
    """GDCM gives the bits of a DICOM SEG as 0 and 255."""
    folder = save(tmp_path / "a", ARRAY)
    seg = dcmread(multiframe(tmp_path / "seg", ARRAY, range(0, 18, 3)) / "scan.dcm")
    seg.SOPClassUID, seg.SeriesInstanceUID, seg.Modality = SegmentationStorage, "1.2.9", "SEG"
    seg.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    for place in (folder, tmp_path / "seg"):
        seg.save_as(place / "scan.dcm", enforce_file_format=True)
    assert (read_volume(folder).array[0] == ARRAY).all()
    refused(tmp_path / "seg", "is a DICOM SEG, a segmentation")


def test_a_mosaic_is_no_slice(tmp_path):
    """Siemens put all slices of a volume side by side into one picture."""
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    refused(save(tmp_path / "a", ARRAY[:2], change=lambda z, ds: setattr(ds, "ImageType", kind)), "is a mosaic")


def test_a_slice_without_the_scale_of_the_others_is_refused(tmp_path):
    def scaled(intercept):
        def change(z, ds):
            if z != 2:
                ds.RescaleSlope, ds.RescaleIntercept = 1, intercept

        return change

    refused(save(tmp_path / "a", ARRAY, change=scaled(-1024)), r"2\.dcm does not say how its values are scaled")
    assert (read_volume(save(tmp_path / "b", ARRAY, change=scaled(0))).array[0] == ARRAY).all()


@pytest.mark.parametrize(
    ("name", "said", "depth"), [("SliceThickness", 5, 5), ("SpacingBetweenSlices", -6, 6), ("SliceThickness", 0, 1)]
)
def test_a_single_slice_is_as_thick_as_its_header_says(tmp_path, name, said, depth):
    folder = save(tmp_path / "a", ARRAY[:1], change=lambda z, ds: setattr(ds, name, str(said)))
    assert read_volume(folder).geometry.spacing == (1.5, 2, depth)


def test_a_slice_given_by_itself_is_named_with_its_folder(tmp_path):
    folder = save(tmp_path / "a", ARRAY)
    # Scanners name files by numbers that look like an ending, or without one.
    for number, name in enumerate(("a.dcm", "CT.1.2.840", "IM0001")):
        (folder / f"{number}.dcm").rename(folder / name)
        with pytest.raises(InputError, match="Give the folder of its series"):
            read_volume(folder / name)


def test_channels_of_two_patients_are_refused(tmp_path):
    def of(patient):
        return lambda z, ds: setattr(ds, "PatientID", patient)

    t1, t2, other, silent = (
        save(tmp_path / name, ARRAY, change=of(patient))
        for name, patient in (("t1", "0815"), ("t2", "0815"), ("other", "4711"), ("silent", ""))
    )
    for second in (t2, silent):
        assert read_channels([t1, second]).array.shape == (2, 6, 7, 8)
    with pytest.raises(InputError, match=r"t1 and .*other are given as one case.*two patients"):
        read_channels([t1, other])


def test_a_series_dealt_out_over_folders_is_refused(tmp_path):
    """Two of three folders hold a half of one series each; the third is another patient's with the same number."""
    for part, heights in (("a", range(3)), ("b", range(3, 6))):
        save(tmp_path / f"disc/{part}", ARRAY[:3], change=lambda z, ds, h=heights: place(ds, 3 * h[z]))
    with pytest.raises(InputError, match=r"a and .*b hold parts of one DICOM series"):
        find_cases([tmp_path / "disc"])
    save(tmp_path / "disc/b", ARRAY[:3], change=lambda z, ds: place(ds, 500 + 3 * z))
    assert [case.name for case in find_cases([tmp_path / "disc"])] == ["a", "b"]


def test_slices_of_a_series_in_a_folder_below_are_not_left_out(tmp_path):
    for part, first in (("a", 0), ("a/more", 3)):
        save(tmp_path / part, ARRAY[:3], change=lambda z, ds, first=first: place(ds, 3 * (first + z)))
    with pytest.raises(InputError, match=r"a and .*more hold parts of one DICOM series"):
        find_cases([tmp_path / "a"])
    # A copy, or another series, is not a part of it.
    save(tmp_path / "a/more", ARRAY[:3])
    assert [case.name for case in find_cases([tmp_path / "a"])] == ["a"]


def test_a_table_of_values_is_told_of(tmp_path):
    """GDCM takes the stored ones."""
    table = Dataset()
    table.ModalityLUTType = "US"
    folder = save(tmp_path / "a", ARRAY, change=lambda z, ds: setattr(ds, "ModalityLUTSequence", [table]))
    assert "ModalityLUTSequence" in read_volume(folder).doubt


def test_what_file_managers_put_into_the_folder_does_not_change_its_content(tmp_path):
    """Else a checkpoint would not know a case again that it has learned from."""
    folder = save(tmp_path / "a", ARRAY)
    before = content_digest([folder])
    for name in (".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"a view")
    (folder / "results").mkdir()
    (folder / "results/organs.nii.gz").write_bytes(b"labels")
    assert content_digest([folder]) == before
    (folder / "0.dcm").write_bytes((folder / "1.dcm").read_bytes())
    assert content_digest([folder]) != before


def place(ds, height):
    ds.ImagePositionPatient = [-10, 20, height]

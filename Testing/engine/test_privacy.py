"""Nothing that identifies a patient is in what is handed on: names, numbers, dates, UIDs and folders are planted."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from contrastiveseg.checkpoints.card import TrainingCase
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.learned_cases import learned_cases, learned_from_others
from contrastiveseg.descriptions import EvaluateJob, FinetuneJob, RankJob, SegmentJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Event, Metric
from contrastiveseg.jobs.run import run

#: In the headers of all scans and label maps, and the folder that they lie in.
PERSON, NUMBER, BORN, UID, WARD = (
    "Specimen^Quentin",
    "PID-7718812",
    "19430817",
    "1.2.826.0.1.3680043.8.498.77",
    "ward_nine",
)
PLANTED = (PERSON, NUMBER, BORN, UID, WARD)
#: The beginning of all files' names.
NAME = "SPECIMEN_QUENTIN"
COMMON = {"threads": 1, "precision": "32"}


def nifti(path: Path, array: np.ndarray) -> None:
    image = nibabel.Nifti1Image(array.T, np.diag([20.0, 20.0, 22.0, 1.0]))
    header = image.header
    header["descrip"], header["db_name"], header["aux_file"] = PERSON.encode(), NUMBER.encode(), BORN.encode()
    header["intent_name"] = b"Quentin"
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{PERSON} {UID}".encode()))
    nibabel.save(image, path)


def with_text(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((20.0, 20.0, 22.0))
    for key, value in {"PatientName": PERSON, "Comment": f"{NUMBER} {BORN}", "StudyInstanceUID": UID}.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))


def dicom(folder: Path, array: np.ndarray) -> None:
    folder.mkdir()
    for z, plane in enumerate(array.astype(np.uint16)):
        slice_ = Dataset()
        slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.Modality = "1.2.840.10008.5.1.4.1.1.4", f"{UID}.3.{z}", "MR"
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = f"{UID}.1", f"{UID}.2"
        slice_.PatientName, slice_.PatientID, slice_.PatientBirthDate = PERSON, NUMBER, BORN
        slice_.SeriesDescription, slice_.InstanceNumber = f"T1 {PERSON}", z + 1
        slice_.Rows, slice_.Columns = plane.shape
        slice_.PixelSpacing, slice_.SliceThickness = [20, 20], 22
        slice_.ImagePositionPatient, slice_.ImageOrientationPatient = [0, 0, 22 * z], [1, 0, 0, 0, 1, 0]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 0
        slice_.PixelData = plane.tobytes()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / f"{z:03d}.dcm", slice_, enforce_file_format=True)


@pytest.fixture(scope="module")
def ward(dataset, tmp_path_factory) -> Path:
    """A data set of three NIfTI scans with label maps, and a scan of each other format in ``others``."""
    folder = tmp_path_factory.mktemp("hospital") / WARD
    for part in ("imagesTr", "labelsTr", "others"):
        (folder / part).mkdir(parents=True)
    for number, letter in enumerate("abc"):
        for part in ("imagesTr", "labelsTr"):
            source = sitk.ReadImage(str(dataset / part / f"synthetic_{number:05d}.nii.gz"))
            array = sitk.GetArrayFromImage(source)
            array = array.astype(np.uint8) if part == "labelsTr" else array.clip(0).astype(np.int16)
            nifti(folder / part / f"{NAME}_{letter}.nii.gz", array)
            if part == "imagesTr" and letter == "a":
                with_text(folder / "others" / f"{NAME}_text.nrrd", array)
                with_text(folder / "others" / f"{NAME}_header.mha", array)
                dicom(folder / "others" / f"{NAME}_series", array)
    labels = json.loads((dataset / "dataset.json").read_text())["labels"]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


@pytest.fixture(scope="module")
def trained(ward, tmp_path_factory, scatter_labels) -> Path:
    """A checkpoint that was trained on the ward's scans in two parts, with what was beside it while it was stopped."""
    output = tmp_path_factory.mktemp("trained") / "organs.safetensors"
    job = FinetuneJob(
        checkpoint="none",
        images=(str(ward),),
        output=str(output),
        steps=2,
        validation="1",
        resume="auto",
        report=str(output.with_name("report.json")),
        **COMMON,
    )
    seen: list[Event] = []
    with pytest.raises(Cancelled):
        run(job, seen.append, lambda: any(isinstance(e, Metric) for e in seen))
    assert_nowhere((NAME, *PLANTED, str(ward)), output.parent)
    assert {path.suffix for path in output.parent.iterdir()} == {
        *(".safetensors", ".jsonl", ".resume", ".cache", ".json"),
    }
    run(job)
    return output


def assert_nowhere(values: tuple[str, ...], folder: Path) -> None:
    """None of ``values`` is in the files of ``folder``, or in that file, packed or not."""
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        found = [value for value in values if value.lower().encode() in content.lower()]
        assert not found, f"{path.name} holds {found}"


def test_checkpoint_curve_resume_file_and_cache_hold_nothing_of_the_patients(trained, ward):
    assert_nowhere((NAME, *PLANTED, str(ward)), trained.parent)
    assert [case.name for case in read_card(trained).provenance.cases] == ["case 1", "case 2"]


def test_cases_are_known_again_by_name_and_by_content(trained, ward):
    from contrastiveseg.volumes.content import content_digest

    card = read_card(trained)
    asked = [(f"{NAME}_{letter}", content_digest([ward / f"imagesTr/{NAME}_{letter}.nii.gz"])) for letter in "abc"]
    known = learned_cases(card, asked)
    assert len(known.same_files) == 2
    assert learned_cases(card, [(f"{name}_seg", None) for name, _ in asked]).same_name == tuple(
        f"{name}_seg" for name in known.same_files
    )
    assert learned_cases(card, [("another", None), ("case 1", None)]) == learned_cases(None, [])


def test_label_maps_and_reports_hold_nothing_of_the_headers(trained, ward, tmp_path, scatter_labels):
    model, out = tmp_path / "model.safetensors", tmp_path / "out"
    model.write_bytes(trained.read_bytes())
    scatter_labels(model)
    scans = (str(ward / "imagesTr"), str(ward / "others"), str(ward / "others" / f"{NAME}_series"))
    segmented = run(
        SegmentJob(
            checkpoint=str(model),
            input=scans,
            output=str(out / "labels"),
            uncertainty=str(out / "unsure"),
            probabilities=str(out / "soft"),
            timings=str(out / "timings.json"),
            report=str(out / "report.json"),
            **COMMON,
        )
    )
    assert len(segmented.written) == 6
    assert_nowhere((NAME, *PLANTED, str(ward)), out)
    broken = ward.parent / "broken" / f"{NAME}_broken.nii.gz"
    broken.parent.mkdir(exist_ok=True)
    broken.write_bytes(b"")
    reports = tmp_path / "reports"
    run(RankJob(checkpoint=str(model), input=(*scans, str(broken)), output=str(reports / "rank.json"), **COMMON))
    predictions = out / "labels"
    (predictions / f"{NAME}_b.nii.gz").write_bytes(b"")
    scores = {"output": str(reports / "scores.json"), "csv": str(reports / "scores.csv")}
    run(EvaluateJob(predictions=str(predictions), references=str(ward / "labelsTr"), **scores))
    assert_nowhere((*PLANTED, str(ward), str(ward.parent), str(tmp_path)), reports)
    failing = {"references": str(broken), "output": str(out / "a.json"), "report": str(out / "failed.json")}
    with pytest.raises(InputError, match=NAME):
        run(EvaluateJob(predictions=str(broken), **failing))
    assert_nowhere((NAME, *PLANTED, str(ward)), out / "failed.json")
    assert f"{NAME}_broken.nii.gz is empty" in (reports / "rank.json").read_text()
    assert f"{NAME}_b.nii.gz" in (reports / "scores.json").read_text()


def test_names_stay_where_they_are_wanted_or_are_numbers_already(trained, ward, tmp_path):
    card, weights = load(trained)
    names = ("case_7", "Patient 012", "pat02", "sub-19430817", "case 9", "Smith")
    cases = tuple(replace(card.provenance.cases[0], name=name, digest=name) for name in names)
    base = tmp_path / "base.safetensors"
    save(base, weights, replace(card, provenance=replace(card.provenance, cases=cases)))
    job = FinetuneJob(
        checkpoint=str(base), images=(str(ward),), output=str(tmp_path / "a.safetensors"), steps=1, **COMMON
    )
    run(job)
    told = [case.name for case in read_card(tmp_path / "a.safetensors").provenance.cases]
    assert told == [
        *("case 1", "case 2", "case 3"),
        *("case_7", "Patient 012", "pat02"),
        *("case 7", "case 8", "case 9"),
    ]
    run(replace(job, output=str(tmp_path / "b.safetensors"), keep_names=True))
    told = [case.name for case in read_card(tmp_path / "b.safetensors").provenance.cases]
    assert told == [*(f"{NAME}_{letter}" for letter in "abc"), *names[:4], "case 8", "Smith"]


def test_names_and_digests_of_an_earlier_version_become_hashes_that_still_match(trained, ward, tmp_path):
    card, weights = load(trained)
    old = replace(card.provenance, salt="", cases=(TrainingCase("Jane Doe", "00ff", True),), case_count=1)
    base, output = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    save(base, weights, replace(card, provenance=old))
    assert learned_cases(read_card(base), [("Jane Doe", None), ("x", "00ff")]).same_files == ("x",)
    run(FinetuneJob(checkpoint=str(base), images=(str(ward),), output=str(output), steps=1, **COMMON))
    assert learned_from_others(read_card(base), ["jane doe"]) == ()
    assert learned_from_others(read_card(output), ["Jane Doe", f"{NAME}_a", f"{NAME}_c"]) == ("case 2",)
    known = learned_cases(read_card(output), [("Jane Doe", None), ("x", "00ff"), ("John Doe", None)])
    assert (known.same_name, known.same_files) == (("Jane Doe",), ("x",))
    assert b"Jane Doe" not in output.read_bytes()
    assert read_card(output).provenance.case_count == 4

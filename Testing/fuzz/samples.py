"""Small valid files of every kind that is read: what the cases change."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
import nnunet_models

from contrastiveseg.checkpoints.card import Card, Label, Provenance, TrainingCase
from contrastiveseg.checkpoints.format import save
from contrastiveseg.checkpoints.model_catalog import OWN
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.results import FinetuneResult, HeldOutCase
from contrastiveseg.serialization import to_json
from contrastiveseg.training.comparison_progress import Finished, Record
from contrastiveseg.training.resume import ResumeState, save_resume_state

SIZE = (6, 7, 8)
VOXELS = np.random.default_rng(0).integers(0, 1000, SIZE).astype(np.int16)
LABELS = (VOXELS % 3).astype(np.uint8)
_SPACING, _ORIGIN = (1.5, 2.0, 3.0), (-10.0, 20.0, 5.0)
_TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
CARD_TEXT = "contrastiveseg"


def image(array: np.ndarray = VOXELS) -> sitk.Image:
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(_SPACING)
    made.SetOrigin(_ORIGIN)
    made.SetDirection(_TURNED)
    return made


def volumes(folder: Path) -> None:
    """NIfTI in its four forms, NRRD, MetaImage and Slicer's segmentations, each packed and not."""
    affine = np.array([[1.5, 0, 0, 10], [0, 1.9, -0.6, -20], [0, 0.4, 2.9, 5], [0, 0, 0, 1.0]])
    turned, _, back = np.linalg.svd(affine[:3, :3])
    affine[:3, :3] = turned @ back * (1.5, 2.0, 3.0)
    for kind, name, array in (
        (nibabel.Nifti1Image, "scan.nii", VOXELS),
        (nibabel.Nifti2Image, "two.nii", VOXELS.astype(np.float32)),
        (nibabel.Nifti1Image, "packed.nii.gz", VOXELS),
        (nibabel.Nifti1Image, "labels.nii.gz", LABELS),
        (nibabel.Nifti1Pair, "pair.img", VOXELS.astype(np.int32)),
    ):
        made = kind(np.ascontiguousarray(array.T), affine)
        made.header.set_xyzt_units("mm", "sec")
        nibabel.save(made, folder / name)
    for name in ("scan.nrrd", "scan.mha", "two.nhdr", "two.mhd"):
        sitk.WriteImage(image(), str(folder / name), useCompression=False)
    for name in ("packed.nrrd", "packed.mha"):
        sitk.WriteImage(image(), str(folder / name), useCompression=True)
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0]), str(folder / "flat.mha"))
    _segmentation(folder / "labels.seg.nrrd")


def _segmentation(path: Path) -> None:
    """Two segments in two layers, as Slicer saves them."""
    layers = np.zeros((*SIZE, 2), np.uint8)
    layers[1:3, 2:4, 2:5, 0], layers[4, 2:4, 2:5, 1] = 1, 1
    header = ["NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior", "sizes: 2 8 7 6"]
    header += ["space directions: none (1.5,0,0) (0,2,0) (0,0,3)", "kinds: list domain domain domain"]
    header += ["encoding: gzip", "space origin: (-10,20,5)"]
    for number, name in enumerate(("liver", "spleen")):
        header += [f"Segment{number}_ID:=Segment_{number + 1}", f"Segment{number}_Name:={name}"]
        header += [f"Segment{number}_Layer:={number}", f"Segment{number}_LabelValue:=1"]
    path.write_bytes("\n".join(header).encode() + b"\n\n" + gzip.compress(layers.tobytes()))


def series(folder: Path) -> None:
    """A DICOM series of four slices."""
    for z in range(4):
        one = _slice(VOXELS[z])
        one.InstanceNumber, one.ImagePositionPatient = z + 1, [-10, 20, 3 * z]
        one.ImageOrientationPatient, one.PixelSpacing = [1, 0, 0, 0, 1, 0], [2, 1.5]
        one.RescaleSlope, one.RescaleIntercept = "2", "-1000"
        one.save_as(folder / f"{z}.dcm", enforce_file_format=True)


def frames(folder: Path) -> None:
    """An enhanced DICOM file of four frames."""
    one = _slice(VOXELS[:4])
    one.SOPClassUID, one.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.4.1", 4
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [2, 1.5], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence = [shared], []
    for z in range(4):
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-10, 20, 3 * z]
        frame.PlanePositionSequence = [position]
        one.PerFrameFunctionalGroupsSequence.append(frame)
    one.save_as(folder / "scan.dcm", enforce_file_format=True)


def _slice(plane: np.ndarray) -> Dataset:
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid(), "1.2.3"
    one.Modality, one.Rows, one.Columns = "MR", *plane.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation, one.PixelData = 15, 0, plane.astype(np.uint16).tobytes()
    return one


def checkpoint(folder: Path) -> None:
    """A segmenter of a few weights, whose card has something in every field."""
    spec = NetworkSpec("unet", 3, 1, {"widths": [2, 3], "strides": [[2, 2, 2]], "norm": "instance"})
    torch.manual_seed(0)
    case = TrainingCase("1", "ab" * 32, True, 0.5, (1,), "cd" * 32)
    card = Card(
        "segmenter",
        "supervised",
        spec,
        Plan(3, (Channel("T1", "MR", Normalization()),), (3.0, 2.0, 1.5), (8, 8, 8), 0, (3.0, 2.0, 1.5)),
        {"weight": 1.0},
        (Label(1, "liver", (255, 0, 0), "~"), Label(3, "spleen")),
        (1,),
        provenance=Provenance("ef" * 32, "macl", (case,), 1, 9, 0, 0.1, "best", salt="5" * 32, created="2026-11-30"),
    )
    save(folder / "organs.safetensors", Segmenter(build(spec), 3).state_dict(), card)


def data_set(folder: Path) -> None:
    """dataset.json of nnU-Net and of Decathlon with their cases, a list of cases, and a table of labels."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    for number in range(3):
        (folder / "imagesTr" / f"case{number}_0000.nii.gz").write_bytes(b"1")
        (folder / "labelsTr" / f"case{number}.nii.gz").write_bytes(b"1")
    channels, labels = {"0": "CT"}, {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    pairs = [
        {"image": f"imagesTr/case{n}_0000.nii.gz", "label": f"labelsTr/case{n}.nii.gz", "name": f"case {n}"}
        for n in range(3)
    ]
    theirs = {"channel_names": channels, "labels": labels, "numTraining": 3, "file_ending": ".nii.gz"}
    above = [{key: f"../{value}" for key, value in pair.items() if key != "name"} for pair in pairs]
    older = {"modality": channels, "labels": {"0": "background", "1": "liver"}, "training": above, "name": "Liver"}
    entries = [{**pairs[0], "labeled_part": "slices", "structures": ["liver", 2]}, *pairs[1:]]
    table = [{"value": 1, "name": "liver", "color": [255, 0, 0], "terminology": "~"}, {"value": 2, "name": "spleen"}]
    (folder / "older").mkdir()
    for name, content in (("dataset", theirs), ("older/dataset", older), ("list", entries), ("table", table)):
        write_json(folder / f"{name}.json", content)


def model(folder: Path) -> None:
    """A trained model in nnU-Net's folders."""
    theirs, description = nnunet_models.network(), nnunet_models.description()
    nnunet_models.save_model(folder, theirs, nnunet_models.plans(), description)


def bundle(folder: Path) -> None:
    """A MONAI bundle."""
    from test_monai_bundle import bundle as write_bundle  # loads MONAI, which takes long

    write_bundle(folder / "bundle")


def catalog(folder: Path) -> None:
    """A catalog of checkpoints."""
    (folder / "a.catalog.json").write_bytes(OWN.read_bytes())


def interrupted(folder: Path) -> None:
    """What an interrupted training leaves beside its output: the file to resume from, and its curve."""
    parts = {"objective": {"a": torch.arange(6.0)}, "optimizer": {"state.0": torch.ones(2, 3)}}
    save_resume_state(folder / "out.resume", ResumeState("0" * 32, 7, 12.5, 3, 0.75), parts)
    lines = [json.dumps({"step": step, "loss": 1 / (step + 1), "seconds": step / 2}) for step in range(9)]
    (folder / "out.metrics.jsonl").write_text("".join(line + "\n" for line in lines))


def compared(folder: Path) -> None:
    """What a comparison of starts notes of those that are finished."""
    scores = (HeldOutCase("a", 0.875, {"liver": 0.875}, 2.5), HeldOutCase("b", None, {}, None))
    made = FinetuneResult("out.compare/1.safetensors", "out.jsonl", 7, 0.5, "best", None, scores, None)
    finished = (Finished("scratch", 0, made, "1" * 64), Finished("a", 1, made, "2" * 64))
    write_json(folder / "out.resume", to_json(Record("0" * 64, finished).checked()))


def requests(folder: Path) -> None:
    """What is said to the worker and what it answers, as JSON, one object a file."""
    common = {"checkpoint": "nowhere/a.safetensors", "device": "cpu", "threads": 1, "precision": "32"}
    jobs = {
        "segment": {**common, "input": ["nowhere/a.nii"], "output": "nowhere/out", "roi": [0.0, 1, 0, 1, 0, 1]},
        "finetune": {**common, "images": ["nowhere"], "output": "nowhere/b.safetensors", "steps": 2, "settings": {}},
        "pretrain": {"images": ["nowhere"], "output": "nowhere/b.safetensors", "minutes": 0.1, "method": "macl"},
        "evaluate": {"predictions": "nowhere/a", "references": "nowhere/b", "output": "nowhere/c.json"},
        "rank": {**common, "input": ["nowhere/a.nii"], "labeled": [], "direction": "auto", "slices": 3},
        "quality": {"input": ["nowhere"], "segmentations": "nowhere/s", "csv": "nowhere/q.csv"},
        "import": {"file": "nowhere/a.pth", "source": "nnunet", "output": "nowhere/b.safetensors"},
        "preview": {**common, "image": ["nowhere/a.nii"], "labels": "nowhere/l.nii", "output": "nowhere/p.nii"},
    }
    for kind, fields in jobs.items():
        write_json(folder / f"{kind}.json", {"id": "1", "job": {"kind": kind, **fields}})
    write_json(folder / "query.json", {"id": "1", "query": "devices"})
    write_json(folder / "cancel.json", {"cancel": "1"})


def answers(folder: Path) -> None:
    """Events as the worker writes them."""
    timings = {"load": 0.5, "total": 1.0}
    segmented = {"written": ["a.nii"], "failures": [{"input": "b", "what": "c"}], "left_out": {"a": {"liver": 0.5}}}
    events = {
        "stage": {"name": "leave_out", "detail": "case"},
        "progress": {"done": 1, "total": 2.0, "seconds_left": None, "unit": "volumes"},
        "metric": {"name": "loss", "step": 3, "value": 0.5},
        "log": {"text": "words", "level": "warning"},
        "error": {"what": "words", "exit_code": 2},
        "ready": {"version": "0.1.0", "pid": 7},
        "result": {"value": {**segmented, "seconds": timings, "peak_memory_bytes": 1, "kept": []}},
    }
    for kind, fields in events.items():
        write_json(folder / f"{kind}.json", {"event": kind, **fields})


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))

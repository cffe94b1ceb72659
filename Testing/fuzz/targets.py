"""What reads each kind of file, with the changes that it gets and what a right answer must be like.

A reader is given the folder of samples and the changed file, and returns what can be compared; it refuses with an
expected error. :class:`Unsound` is for answers that cannot be right.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutations
import nibabel
import numpy as np
import samples
import torch
from mutations import BINARY, JSON, TEXT, Mutation, any_of, inside_gzip, inside_safetensors
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from contrastiveseg import events
from contrastiveseg.checkpoints.card import check_card
from contrastiveseg.checkpoints.describe import describe
from contrastiveseg.checkpoints.foreign_tensors import load_content, tensors_in
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.model_catalog import read_catalog
from contrastiveseg.checkpoints.monai_bundle import import_bundle
from contrastiveseg.checkpoints.nnunet import import_nnunet
from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.data.cache import preprocess
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.worker import job_from, work
from contrastiveseg.previewing import feature_cache
from contrastiveseg.previewing.feature_maps import FeatureMaps
from contrastiveseg.results import result_from_json
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.serialization import from_json, to_json
from contrastiveseg.training.comparison_progress import read_record
from contrastiveseg.training.curve import cut_metrics
from contrastiveseg.training.resume import load_resume_state
from contrastiveseg.training.task import label_table
from contrastiveseg.volumes.dataset import CaseFiles, find_cases
from contrastiveseg.volumes.dataset_json import declared_channels
from contrastiveseg.volumes.declared_labels import declared_labels
from contrastiveseg.volumes.named_labels import with_common_values
from contrastiveseg.volumes.origin import read_origin
from contrastiveseg.volumes.reading import read_geometry, read_labels, read_volume
from contrastiveseg.volumes.volume import Geometry, Volume

#: The most bytes of voxels that may come of a small file.
_MOST_VOXELS = 1 << 27
_STEP = 5


class Unsound(AssertionError):
    """An answer that cannot be right."""


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        share: of all cases, in relation to the others.
        make: writes the samples into a folder. changed: patterns of those that are changed.
        mutation: what is done to them. read: reads the changed one.
        exact: what cannot go unnoticed: whatever is not refused must be the answer to the unchanged file.
        whole: a file that is cut short must be refused.
        writes: whether reading may change files of the folder.
    """

    name: str
    share: int
    make: Callable[[Path], None]
    changed: tuple[str, ...]
    mutation: Mutation
    read: Callable[[Path, Path], Any]
    exact: bool = False
    whole: bool = False
    writes: bool = False


def _volume(folder: Path, file: Path) -> Any:
    """The volume that ``file`` is or belongs to, checked against its header, and against nibabel's reading."""
    path = _header_of(file)
    read_origin(path)
    volume = read_volume(path)
    array, geometry = volume.array, volume.geometry
    _check_grid(geometry)
    if array.ndim != 4 or array.shape[1:] != geometry.shape or array.dtype.kind not in "buif":
        raise Unsound(f"{array.dtype} {array.shape} on a grid of {geometry.shape}")
    if not np.isfinite(array).all():
        raise Unsound("voxels that are not numbers")
    if array.nbytes > _MOST_VOXELS:
        raise Unsound(f"{array.nbytes} bytes of voxels from a small file")
    if read_geometry(path) != (geometry, len(array)):
        raise Unsound("the header alone says something else")
    if path.suffix in (".nii", ".gz", ".img"):
        _check_as_nibabel(path, volume)
    try:
        labels = read_labels(path).array
    except InputError:
        labels = None
    if labels is not None and not np.allclose(labels, array[0], atol=1e-3):
        raise Unsound("labels other than the voxels")
    return geometry, array.dtype, array.tobytes()


def _header_of(file: Path) -> Path:
    """The file that a user gives, of those that make a volume."""
    return file.with_suffix({".hdr": ".img", ".raw": ".nhdr"}.get(file.suffix, file.suffix))


def _check_grid(geometry: Geometry) -> None:
    direction = np.reshape(geometry.direction, (3, 3))
    if not np.isfinite([*geometry.origin, *geometry.spacing, *geometry.direction]).all():
        raise Unsound(f"a grid that is not of numbers: {geometry}")
    if min(geometry.spacing) <= 0 or min(geometry.size) < 1:
        raise Unsound(f"an empty grid: {geometry}")
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise Unsound(f"axes that are not perpendicular: {geometry}")


def _check_as_nibabel(path: Path, volume: Volume) -> None:
    """Where the header does not contradict itself, nibabel reads the same numbers at the same place."""
    try:
        other = nibabel.load(path)
    except (ValueError, HeaderDataError, ImageFileError, MemoryError):  # it trusts extensions and offsets
        return
    if path.suffix != ".img" and other.dataobj.offset < other.header.sizeof_hdr:
        return
    millimeters = {1: 1e3, 3: 1e-3}.get(int(other.header["xyzt_units"]) & 7, 1.0)
    if volume.geometry.doubt or len(volume.array) > 1 or not np.isfinite(other.affine).all():
        return
    geometry = volume.geometry
    ours = np.diag([-1.0, -1.0, 1.0]) @ np.reshape(geometry.direction, (3, 3)) * geometry.spacing
    theirs = other.affine[:3, :3] * millimeters
    if np.abs(ours - theirs).max() > 2e-3 * max(geometry.spacing):
        raise Unsound(f"steps of {ours.tolist()}, which nibabel reads as {theirs.tolist()}")
    voxels = np.asanyarray(other.dataobj).reshape(other.shape[:3] + (1,) * (3 - len(other.shape[:3])), order="F").T
    if not np.allclose(voxels, volume.array[0], rtol=1e-4, atol=1e-4, equal_nan=True):
        raise Unsound("voxels that nibabel reads otherwise")


def _segmentation(folder: Path, file: Path) -> Any:
    labels = read_labels(file)
    _check_grid(labels.geometry)
    if labels.array.shape != labels.geometry.shape or labels.array.dtype not in (np.uint8, np.uint16):
        raise Unsound(f"labels {labels.array.dtype} {labels.array.shape}")
    (case,) = with_common_values([CaseFiles("a", (file,), file)], {}, "", events.silent)
    for segment in case.named:
        if segment.value not in labels.array and segment.value < 1:
            raise Unsound(f"a segment of value {segment.value}")
    return labels.array.tobytes(), case.named


def _dicom(folder: Path, file: Path) -> Any:
    volume = read_volume(folder)
    _check_grid(volume.geometry)
    if volume.array.shape[1:] != volume.geometry.shape or not np.isfinite(volume.array).all():
        raise Unsound(f"{volume.array.shape} on a grid of {volume.geometry.shape}")
    if volume.array.nbytes > _MOST_VOXELS:
        raise Unsound(f"{volume.array.nbytes} bytes of voxels from a small file")
    return volume.geometry, volume.array.dtype, volume.array.tobytes()


def _card(folder: Path, file: Path) -> Any:
    card = read_card(file)
    describe(card)
    if to_json(from_json(type(card), json.loads(json.dumps(to_json(card))))) != to_json(card):
        raise Unsound("a card that does not read back")
    return to_json(card)


def _network(folder: Path, file: Path) -> Any:
    card, network = open_segmenter(file)
    return to_json(card), [tensor.numpy().tobytes() for tensor in network.state_dict().values()]


def _predict(folder: Path, file: Path) -> Any:
    predictor = Predictor.open(file, "cpu", None)
    noise = np.random.default_rng(0).normal(size=(len(predictor.card.plan.channels), 6, 8, 8)).astype(np.float32)
    labels = predictor(Volume.from_array(noise, (3.0, 2.0, 1.5)))
    if labels.array.shape != (6, 8, 8) or not {*np.unique(labels.array)} <= {
        0,
        *(x.value for x in predictor.card.labels),
    }:
        raise Unsound(f"labels {np.unique(labels.array)} of shape {labels.array.shape}")
    return labels.array.tobytes()


def _cases(folder: Path, file: Path) -> Any:
    cases = find_cases([file])
    names = [case.name for case in cases]
    if not cases or len({*names}) != len(names) or names != sorted(names):
        raise Unsound(f"cases named {names}")
    if any(case.name in ("", ".", "..") or {*case.name} & {*"/\0"} for case in cases):
        raise Unsound(f"names that are none for files: {names}")
    declared = declared_labels([file])
    if any(not isinstance(value, int) or not isinstance(name, str) for value, name in declared.names.items()):
        raise Unsound(f"labels {declared}")
    return cases, declared, declared_channels([file])


def _table(folder: Path, file: Path) -> Any:
    return label_table(file)


def _model(folder: Path, file: Path) -> Any:
    imported = import_nnunet(next(folder.glob("Dataset*/*")))
    check_card(imported.card, "imported")
    if any(not torch.isfinite(tensor.float()).all() for tensor in imported.weights.values()):
        raise Unsound("weights that are not numbers")
    return to_json(imported.card)


def _bundle(folder: Path, file: Path) -> Any:
    imported = import_bundle(folder / "bundle")
    check_card(imported.card, "imported")
    return to_json(imported.card)


def _catalog(folder: Path, file: Path) -> Any:
    return read_catalog(file)


def _tensors(folder: Path, file: Path) -> Any:
    return sorted(tensors_in(load_content(file), file))


def _job(folder: Path, file: Path) -> Any:
    request = _parsed(file)
    job = job_from(request["job"]) if isinstance(request, dict) and isinstance(request.get("job"), dict) else None
    if job is not None and job_from(json.loads(json.dumps({"kind": job.kind, **to_json(job)}))) != job:
        raise Unsound("a job that does not read back")
    return job


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise InputError("no JSON") from problem


class _Heard:
    """The worker's answers, and whether the last request has got one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last = threading.Event()

    def write(self, line: str) -> None:
        self.lines.append(line)
        if '"id": "last"' in line and '"event": "result"' in line:
            self.last.set()

    def flush(self) -> None:
        pass


def _no_machine(*given: Any) -> Any:
    raise InputError("No other machine is asked.")


def _worker(folder: Path, file: Path) -> Any:
    """A changed request, and behind it one that must be answered."""
    heard = _Heard()

    def lines() -> Iterator[str]:
        # As the worker's stdin is opened.
        yield from file.read_bytes().decode("utf-8", "backslashreplace").splitlines(keepends=True)
        yield '\n{"id": "last", "query": "devices"}\n'
        heard.last.wait()

    code = work(lines(), heard, _no_machine)  # type: ignore[arg-type]
    answered = [json.loads(line) for line in heard.lines]
    if code or any("Unexpected" in str(answer.get("what")) for answer in answered):
        raise Unsound(f"the worker said {heard.lines} and ended with {code}")
    for answer in answered:
        events.from_json({key: value for key, value in answer.items() if key != "id"})
    return None


def _event(folder: Path, file: Path) -> Any:
    event = events.from_json(_parsed(file))
    return result_from_json("segment", event.value) if isinstance(event, events.Result) else event


def _resume(folder: Path, file: Path) -> Any:
    state, parts = load_resume_state(file, "0" * 32)
    return state, {part: {name: t.numpy().tobytes() for name, t in named.items()} for part, named in parts.items()}


def _comparison(folder: Path, file: Path) -> Any:
    return read_record(file, "0" * 64)


def _curve(folder: Path, file: Path) -> Any:
    cut_metrics(file, _STEP, 1)
    kept = [json.loads(line) for line in file.read_bytes().splitlines()]
    if any(line["step"] >= _STEP for line in kept):
        raise Unsound("lines from the next step on")
    return None


def _cache(folder: Path) -> None:
    samples.volumes(folder)
    (folder / "cache").mkdir()
    _prepared(folder)


def _prepared(folder: Path) -> Any:
    plan = samples.Plan(3, (samples.Channel("T1", "MR", samples.Normalization()),), (3.0, 2.0, 1.5), (8, 8, 8))
    case = CaseFiles("case", (folder / "packed.nii.gz",), folder / "labels.nii.gz")
    (cached,) = preprocess([case], plan, folder / "cache")
    return cached, [np.load(file).tobytes() for file in sorted((folder / "cache").glob(f"{cached.key}*.npy"))]


def _from_cache(folder: Path, file: Path) -> Any:
    return _prepared(folder)


def _features(folder: Path) -> None:
    maps = tuple(np.arange(2 * n**3, dtype=np.float16).reshape(2, n, n, n) for n in (2, 4))
    mean = np.arange(4, dtype=np.float32)
    feature_cache.store(folder, "a", FeatureMaps(maps, (0, 1), (3, 4, 4), (4, 4, 4), mean, mean + 1))


def _from_features(folder: Path, file: Path) -> Any:
    found = feature_cache.stored(folder, "a")
    if found is None:
        raise InputError("computed anew")
    numbers = [array.tobytes() for array in (*found.maps, found.mean, found.deviation)]
    return found.groups, found.shape, found.extent, numbers


def _dicom_mutation(chance: random.Random, content: bytes) -> bytes:
    """Numbers in DICOM are text as often as not, between short binary lengths."""
    return chance.choice((BINARY, mutations.text, _digits))(chance, content)


def _digits(chance: random.Random, content: bytes) -> bytes:
    """A digit or sign, so that lengths stay."""
    places = [at for at, byte in enumerate(content[128:]) if byte in b"0123456789.-\\ "]
    if not places:
        return content
    at = 128 + chance.choice(places)
    return content[:at] + chance.choice((b"0", b"9", b"-", b".", b"e", b"\\", b"x", b" ")) + content[at + 1 :]


_PACKED = any_of(mutations.flip, mutations.block, mutations.cut_short, mutations.number)

TARGETS = (
    Target("nifti", 24, samples.volumes, ("*.nii",), BINARY, _volume, whole=True),
    Target("nifti pair", 8, samples.volumes, ("pair.*",), BINARY, _volume, whole=True),
    Target("nifti inside gzip", 12, samples.volumes, ("*.nii.gz",), inside_gzip(BINARY), _volume),
    Target("gzip", 6, samples.volumes, ("*.nii.gz",), _PACKED, _volume, exact=True, whole=True),
    Target("nrrd", 14, samples.volumes, ("scan.nrrd", "packed.nrrd", "two.nhdr", "two.raw"), TEXT, _volume, whole=True),
    Target("metaimage", 14, samples.volumes, ("*.mha", "two.mhd", "two.raw"), TEXT, _volume, whole=True),
    Target("segmentation", 8, samples.volumes, ("*.seg.nrrd",), TEXT, _segmentation, whole=True),
    Target("dicom series", 8, samples.series, ("*.dcm",), _dicom_mutation, _dicom, whole=True),
    Target("dicom frames", 4, samples.frames, ("*.dcm",), _dicom_mutation, _dicom, whole=True),
    Target("card", 14, samples.checkpoint, ("*",), inside_safetensors(samples.CARD_TEXT), _card),
    Target("checkpoint", 8, samples.checkpoint, ("*",), any_of(BINARY, mutations.text), _network, whole=True),
    Target("changed card", 4, samples.checkpoint, ("*",), inside_safetensors(samples.CARD_TEXT), _predict),
    Target("data set", 12, samples.data_set, ("**/dataset.json",), JSON, _cases),
    Target("list", 10, samples.data_set, ("list.json",), JSON, _cases),
    Target("label table", 6, samples.data_set, ("table.json",), JSON, _table),
    Target("nnU-Net", 8, samples.model, ("*/*/*.json",), JSON, _model),
    Target("MONAI bundle", 5, samples.bundle, ("*/*/*.json",), JSON, _bundle),
    Target("catalog", 5, samples.catalog, ("*.json",), JSON, _catalog),
    Target("pickle", 4, samples.model, ("*/*/*/*.pth",), BINARY, _tensors),
    Target("job", 14, samples.requests, ("*.json",), JSON, _job),
    Target("request", 8, samples.requests, ("*.json",), JSON, _worker),
    Target("event", 8, samples.answers, ("*.json",), JSON, _event),
    Target("resume file", 6, samples.interrupted, ("*.resume",), any_of(BINARY, mutations.text), _resume, exact=True),
    Target("comparison", 3, samples.compared, ("*.resume",), any_of(BINARY, JSON), _comparison, exact=True),
    Target("curve", 4, samples.interrupted, ("*.jsonl",), TEXT, _curve, writes=True),
    Target("cache", 4, _cache, ("cache/*",), any_of(BINARY, mutations.text), _from_cache, exact=True, writes=True),
    Target("features", 4, _features, ("a.*",), any_of(BINARY, mutations.text), _from_features, exact=True),
)

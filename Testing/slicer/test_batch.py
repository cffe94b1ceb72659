"""The batch script: as a process of its own, and as Slicer runs it."""

import importlib.util
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.errors import Cancelled, ContrastiveSegError
from contrastiveseg.events import Progress, Stage, StageStarted
from contrastiveseg.jobs import run as runner
from contrastiveseg.results import SegmentResult
from contrastiveseg.volumes.reading import read_labels

SCRIPT = Path(__file__).resolve().parents[2] / "ContrastiveSeg" / "Scripts" / "batch.py"


@pytest.fixture(scope="session")
def batch():
    spec = importlib.util.spec_from_file_location("batch", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(script)
    sys.path[:] = before
    return script


@pytest.fixture
def images(dataset, tmp_path):
    """A folder with two of the volumes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (0, 1):
        shutil.copy(dataset / "imagesTr" / f"synthetic_0000{number}.nii.gz", folder)
    return folder


@pytest.fixture
def words(segmenter):
    """``words(input, output, ...)``: a segment command in exact arithmetic on one thread."""

    def command(given: Path, output: Path, *more: str) -> list[str]:
        paths = ["--checkpoint", str(segmenter), "--input", str(given), "--output", str(output)]
        return ["segment", *paths, "--threads", "1", "--precision", "32", *more]

    return command


def voxels_of_segments(path: Path, image: Path) -> dict[str, np.ndarray]:
    """Segment name -> its voxels on the image's grid, as Slicer reads the file."""
    import slicer

    volume, segmentation = slicer.util.loadVolume(str(image)), slicer.util.loadSegmentation(str(path))
    segments = segmentation.GetSegmentation()
    return {
        segments.GetSegment(i).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, i, volume)
        for i in segments.GetSegmentIDs()
    }


@pytest.mark.timeout(120)
def test_a_folder_becomes_segmentations_with_the_checkpoints_names_by_a_process_of_its_own(
    words, images, segmenter, tmp_path
):
    import slicer
    from ContrastiveSegPanel.mrml.segments import segments_of

    command = words(images, tmp_path / "out", "--segmentations", "--json")
    done = subprocess.run([sys.executable, str(SCRIPT), "--", *command], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    names = ["synthetic_00000.seg.nrrd", "synthetic_00001.seg.nrrd"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["event"] == "result"
    assert sorted(end["value"]["written"]) == [str(tmp_path / "out" / name) for name in names]

    labels = read_card(segmenter).labels
    segmentation = slicer.util.loadSegmentation(str(tmp_path / "out" / names[0]))
    assert [segment.name for segment in segments_of(segmentation)] == [label.name for label in labels]


def test_a_segmentation_and_a_plain_label_map_hold_the_same_voxels(
    batch, words, images, segmenter, tmp_path, scene, capsys
):
    image = images / "synthetic_00000.nii.gz"
    assert batch.main(words(image, tmp_path / "a.seg.nrrd")) == 0
    assert batch.main(["--", *words(image, tmp_path / "a.nii.gz")]) == 0
    assert str(tmp_path / "a.seg.nrrd") in capsys.readouterr().out
    for left in ("Volume", "Segmentation", "SegmentationDisplay"):
        assert scene.GetNumberOfNodesByClass(f"vtkMRML{left}Node") == 0

    plain = read_labels(tmp_path / "a.nii.gz").array
    assert plain.any()
    found = voxels_of_segments(tmp_path / "a.seg.nrrd", image)
    for label in read_card(segmenter).labels:
        np.testing.assert_array_equal(found[label.name] > 0, plain == label.value)


def test_what_failed_is_named_and_the_rest_is_written(batch, words, images, tmp_path, capsys):
    (images / "synthetic_00001.nii.gz").write_bytes(b"no image")
    assert batch.main(words(images, tmp_path / "out", "--segmentations")) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["synthetic_00000.seg.nrrd"]
    assert "synthetic_00001" in capsys.readouterr().err


def test_what_was_finished_before_a_cancel_stays(batch, words, images, tmp_path, monkeypatch):
    native = runner.run

    def cancelled_after_the_first(job, emit, cancelled):
        def watch(event):
            emit(event)
            if isinstance(event, Progress) and event.done > 1:
                raise Cancelled("Stopped.")

        return native(job, watch, cancelled)

    monkeypatch.setattr(runner, "run", cancelled_after_the_first)
    assert batch.main(words(images, tmp_path / "out", "--segmentations")) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["synthetic_00000.seg.nrrd"]


def test_outputs_are_checked_before_anything_is_computed(batch, words, images, tmp_path, monkeypatch, capsys):
    def never(job, emit, cancelled):
        raise AssertionError("computed")

    monkeypatch.setattr(runner, "run", never)
    there = tmp_path / "there.seg.nrrd"
    there.touch()
    image = images / "synthetic_00000.nii.gz"
    for command, says in [
        (words(image, there), "exists already"),
        (words(images, tmp_path / "a.seg.nrrd"), "need a folder"),
        (words(images, "", "--segmentations"), "--output is empty"),
        (words(image, tmp_path / "a.nii.gz", "--segmentations"), "need a folder"),
        (words(tmp_path / "nowhere.nii.gz", tmp_path / "a.seg.nrrd"), "does not exist"),
        (words(there, there, "--overwrite"), "is to be read and to be written"),
        (["evaluate", "--segmentations"], "for the command segment"),
        (["worker"], "needs a terminal"),
    ]:
        assert batch.main(command) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        batch.main(["segment"])
    assert stop.value.code == 2


def test_other_commands_are_the_terminals(batch, dataset, segmenter, tmp_path, capsys):
    labels = dataset / "labelsTr"
    scores = tmp_path / "scores.json"
    paths = ["--predictions", str(labels), "--references", str(labels), "--output", str(scores)]
    assert batch.main(["evaluate", *paths]) == 0
    assert scores.exists()
    assert batch.main(["inspect", str(segmenter)]) == 0
    assert "supervised" in capsys.readouterr().out


def test_missing_packages_are_told_with_how_to_install_them(batch, words, images, tmp_path, monkeypatch, capsys):
    from ContrastiveSegPanel.engine import requirements

    lines = tmp_path / "requirements.txt"
    lines.write_text("nowhere-to-be-found>=1\n")
    monkeypatch.setattr(requirements, "REQUIREMENTS", lines)
    assert batch.main(words(images, tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert "nowhere-to-be-found>=1" in told
    assert "pip install" in told
    with pytest.raises(SystemExit) as stop:
        batch.main(["segment", "--help"])
    assert stop.value.code == 0


def test_without_slicer_segmentations_are_refused(batch, words, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ContrastiveSegPanel.mrml.segmentation_files", None)
    assert batch.main(words(images, tmp_path / "out", "--segmentations")) == 2
    assert "slicer-core" in capsys.readouterr().err


def test_the_script_itself_needs_neither_slicer_nor_the_libraries():
    heavy = "{'slicer', 'qt', 'vtk', 'torch', 'monai', 'SimpleITK', 'numpy'}"
    code = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


class PythonQtOutput:
    """What Slicer has in place of sys.stdout: these methods and nothing else."""

    __slots__ = ("texts",)

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        self.texts.append(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (None, 0),
        (ContrastiveSegError("The disk is full."), 1),
        (RuntimeError("a fault of ours"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_as_slicer_runs_it_the_exit_code_is_always_told(happens, code, words, images, tmp_path, monkeypatch):
    def run(job, emit, cancelled):
        emit(StageStarted(Stage.SEGMENT))
        if happens is not None:
            raise happens
        return SegmentResult((job.output,), (), {}, {}, 0)

    out, err = PythonQtOutput(), PythonQtOutput()
    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words(images, tmp_path / "out")])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == code
    told = "".join(out.texts if happens is None else err.texts)
    assert str(happens or tmp_path / "out") in told


def test_a_fault_before_the_command_ends_slicer_too(monkeypatch, capsys):
    from ContrastiveSegPanel.engine import requirements

    def broken():
        raise OSError("requirements.txt is gone")

    monkeypatch.setattr(requirements, "missing", broken)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "methods"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 1
    assert "requirements.txt is gone" in capsys.readouterr().err

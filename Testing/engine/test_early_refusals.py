"""What a job is refused for before torch is loaded: the mistakes of the first minutes, answered at once."""

import subprocess
import sys

import pytest

from contrastiveseg.checkpoints.starters import starter
from contrastiveseg.descriptions import EvaluateJob, ExportJob, FinetuneJob, QualityJob, RankJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.early import check_early

STARTER = str(starter())


def finetuning(folder, **changes):
    (folder / "scans").mkdir(exist_ok=True)
    given = {"images": (str(folder / "scans"),), "output": str(folder / "a.safetensors"), "checkpoint": STARTER}
    return FinetuneJob(**given | {"steps": 1} | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": ("nowhere",)}, "nowhere does not exist"),
        ({"labels": ("nowhere",)}, "nowhere does not exist"),
        ({"checkpoint": "nowhere.safetensors"}, r"nowhere.safetensors"),
        ({"steps": None}, "either in steps or in minutes"),
        ({"minutes": 1.0}, "either in steps or in minutes"),
    ],
)
def test_a_training_that_cannot_begin_is_refused(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        check_early(finetuning(tmp_path, **changes))


def test_a_training_whose_output_is_there_is_refused_but_not_its_resumption(tmp_path):
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(InputError, match="exists already"):
        check_early(finetuning(tmp_path))
    for changes in ({"overwrite": True}, {"resume": True}, {"resume": "auto"}):
        check_early(finetuning(tmp_path, **changes))
    check_early(finetuning(tmp_path, checkpoint="none", overwrite=True))


@pytest.mark.parametrize("kind", ["segment", "onnx", "monai"])
def test_what_needs_labels_is_refused_of_a_checkpoint_without(tmp_path, kind):
    output = str(tmp_path / "out")
    job = SegmentJob(checkpoint=STARTER, input=(str(tmp_path),), output=output) if kind == "segment" else None
    with pytest.raises(InputError, match=r"was only pre-trained .* Fine-tune it first"):
        check_early(job or ExportJob(to=kind, checkpoint=STARTER, output=output))


def test_a_batch_whose_output_is_there_is_refused(tmp_path, segmenter):
    for name in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / name).touch()
    given = {"checkpoint": str(segmenter), "input": (str(tmp_path / "a.nii.gz"),)}
    with pytest.raises(InputError, match=r"b.nii.gz exists already"):
        check_early(SegmentJob(**given, output=str(tmp_path / "b.nii.gz")))
    check_early(SegmentJob(**given, output=str(tmp_path / "c.nii.gz")))


def test_a_table_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "a.json").touch()
    folders = {"predictions": str(tmp_path), "references": str(tmp_path)}
    with pytest.raises(InputError, match="exists already"):
        check_early(EvaluateJob(**folders, output=str(tmp_path / "a.json")))
    check_early(RankJob(checkpoint=STARTER, input=(str(tmp_path),)))


@pytest.mark.parametrize("option", ["csv", "html"])
def test_so_are_tables_and_pages_of_the_quality_of_a_batch(tmp_path, option):
    (tmp_path / "there").touch()
    with pytest.raises(InputError, match="there exists already"):
        check_early(
            QualityJob(input=(str(tmp_path),), segmentations=str(tmp_path), **{option: str(tmp_path / "there")})
        )


def test_an_export_into_what_is_there_is_refused(tmp_path, segmenter):
    (tmp_path / "a.dcm").touch()
    with pytest.raises(InputError, match=r"is not empty. Give a new folder, as heart-onnx"):
        check_early(ExportJob(to="onnx", checkpoint=str(segmenter), output=str(tmp_path)))
    given = {"segmentation": str(tmp_path / "a.dcm"), "series": str(tmp_path), "checkpoint": STARTER}
    with pytest.raises(InputError, match=r"a\.dcm exists already"):
        check_early(ExportJob(output=str(tmp_path / "a.dcm"), **given))


def test_an_export_of_what_is_not_there_is_refused(tmp_path):
    job = ExportJob(output="x.dcm", segmentation="nowhere.nii.gz", series=str(tmp_path), checkpoint=STARTER)
    with pytest.raises(InputError, match=r"nowhere.nii.gz does not exist"):
        check_early(job)


def test_a_wrong_path_is_answered_without_torch(tmp_path):
    words = ["finetune", "--checkpoint", "none", "--images", "nowhere", "--output", "a.safetensors", "--steps", "1"]
    code = (
        f"import sys\nfrom contrastiveseg.cli import main\nassert main({words!r}) == 2\n"
        "assert not {'torch', 'monai'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "Error: nowhere does not exist.\n")

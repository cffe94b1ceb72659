"""What the first jobs of a new process load: libraries that they do not need would be waited for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: From a tenth of a second to two seconds each.
_FOR_NEITHER = {"monai", "matplotlib", "scipy.signal", "pandas", "torch._dynamo", "torch._inductor"}
#: nibabel loads ``scipy`` itself, and pydicom.
NOT_FOR_SEGMENTING = _FOR_NEITHER | {"scipy.ndimage"}
#: It asks ``scipy.ndimage`` which of its labels are in one piece.
NOT_FOR_FINE_TUNING = _FOR_NEITHER | {"scipy.spatial"}

#: Segments, then fine-tunes with each optimizer; prints what had been loaded after each.
PROGRAM = """
import json
import sys
from contrastiveseg.descriptions import FinetuneJob, SegmentJob
from contrastiveseg.jobs.run import run
checkpoint, image, data, folder = sys.argv[1:]
loaded = {}
run(
    SegmentJob(
        checkpoint=checkpoint, input=(image,), output=f"{folder}/labels.nii.gz", pieces="all", precision="32", threads=1
    )
)
loaded["segment"] = list(sys.modules)
for optimizer in ("adamw", "sgd"):
    run(
        FinetuneJob(
            checkpoint="none", images=(data,), output=f"{folder}/{optimizer}.safetensors", steps=1, precision="32",
            threads=1, validation="none", optimizer=optimizer,
        )
    )
    loaded[optimizer] = list(sys.modules)
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def loaded(segmenter, image, dataset, folder) -> dict[str, set[str]]:
    """The modules that were loaded after each of the jobs of one process."""
    command = [sys.executable, "-c", PROGRAM, segmenter, image, dataset, folder]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return {job: set(names) for job, names in json.loads(done.stdout).items()}


def test_segmenting_a_nifti_loads_what_it_needs(loaded, folder):
    assert loaded["segment"] & NOT_FOR_SEGMENTING == set()
    assert (folder / "labels.nii.gz").is_file()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fine_tuning_loads_what_it_needs(loaded, folder, optimizer):
    assert loaded[optimizer] & NOT_FOR_FINE_TUNING == set()
    assert (folder / f"{optimizer}.safetensors").is_file()

"""What the first segmentation of a new process loads: libraries that it does not need would be waited for."""

from __future__ import annotations

import subprocess
import sys

#: Each takes a tenth of a second to two seconds. nibabel loads `scipy` itself, and pydicom.
NOT_NEEDED = ("monai", "matplotlib", "scipy.ndimage", "scipy.signal", "pandas", "torch._dynamo", "torch._inductor")

PROGRAM = """
import sys
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.jobs.run import run
checkpoint, image, output, *not_needed = sys.argv[1:]
job = SegmentJob(checkpoint=checkpoint, input=(image,), output=output, pieces="all", precision="32", threads=1)
run(job)
print(*(name for name in not_needed if name in sys.modules))
"""


def test_segmenting_a_nifti_loads_what_it_needs(segmenter, image, tmp_path):
    command = [sys.executable, "-c", PROGRAM, segmenter, image, tmp_path / "labels.nii.gz", *NOT_NEEDED]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert (tmp_path / "labels.nii.gz").is_file()

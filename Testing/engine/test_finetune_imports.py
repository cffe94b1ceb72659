"""What the first training step of a new process loads: libraries that it does not need would be waited for."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: From a tenth of a second to two seconds each. Fine-tuning asks scipy which of its labels are in one piece.
NOT_NEEDED = ("monai", "matplotlib", "scipy.spatial", "scipy.signal", "pandas", "torch._dynamo", "torch._inductor")

PROGRAM = """
import sys
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.jobs.run import run
data, output, optimizer, *not_needed = sys.argv[1:]
job = FinetuneJob(
    checkpoint="none", images=(data,), output=output, steps=1, precision="32", threads=1, validation="none",
    optimizer=optimizer,
)
run(job)
print(*(name for name in not_needed if name in sys.modules))
"""


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fine_tuning_loads_what_it_needs(dataset, tmp_path, optimizer):
    output = tmp_path / "organs.safetensors"
    command = [sys.executable, "-c", PROGRAM, dataset, output, optimizer, *NOT_NEEDED]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert output.is_file()

"""Writing a folder that appears when it is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from ..descriptions import ExportJob
from ..errors import InputError
from ..files import check_output

#: By format a name for a folder, for the message.
_EXAMPLES = {"nnunet": "nnUNet_raw/Dataset123_Heart", "onnx": "heart-onnx", "monai": "heart-bundle"}


def check_folder(job: ExportJob) -> Path:
    """The folder that ``job`` is to write; refused where there is something in it, or where it cannot be made.

    Raises:
        InputError: saying so.
    """
    output = Path(job.output)
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output} is not empty. Give a new folder, as {_EXAMPLES[job.to]}.")
    if not output.is_dir():
        check_output(output)
    return output


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a folder beside ``output``, which takes its place in the end; of what fails nothing is left."""
    output.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        # A folder made by mkdtemp is the user's alone; one in it has the rights that any new folder has.
        scratch = private / output.name
        scratch.mkdir()
        yield scratch
        if output.is_dir():  # Windows renames onto nothing that exists
            output.rmdir()
        scratch.rename(output)
    finally:
        rmtree(private, ignore_errors=True)

"""Writing a folder that appears when it is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from ..errors import InputError
from ..files import check_output


def check_folder(output: Path, example: str) -> None:
    """Refuse an ``output`` at which there is something, or that cannot be made; ``example`` is a name for the message.

    Raises:
        InputError: saying so.
    """
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"{output} is not empty. Give a new folder, as {example}.")
    if not output.is_dir():
        check_output(output)


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

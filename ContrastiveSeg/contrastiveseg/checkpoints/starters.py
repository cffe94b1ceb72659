"""The pre-trained checkpoints that ship with the package, by name; light to import."""

from __future__ import annotations

from pathlib import Path

from ..descriptions.options import STARTER
from ..errors import InputError

#: Wherever a checkpoint is named, ``starter:NAME`` means the one of that name that ships.
PREFIX = "starter:"

#: What users are offered first: what it is worth stands in docs/benchmarks.md.
DEFAULT = STARTER.removeprefix(PREFIX)

#: Data beside the code, in an installed package and in Slicer's module folder alike.
FOLDER = Path(__file__).resolve().parents[1] / "starters"


def starters() -> tuple[str, ...]:
    """The names of the pre-trained checkpoints that ship, the default first.

    >>> import contrastiveseg as cs
    >>> cs.starters()
    ('synthetic-labels-3d-tiny', 'macl-3d-tiny')
    """
    return tuple(path.stem for path in sorted(FOLDER.glob("*.safetensors"), key=default_first))


def default_first(path: Path) -> tuple[bool, str]:
    """The key that sorts files of starters by name, the default before the others."""
    return path.stem != DEFAULT, path.name


def starter(name: str = DEFAULT) -> Path:
    """The file of the pre-trained checkpoint ``name`` that ships, to fine-tune from.

    Raises:
        InputError: there is none of that name; the message lists those there are.

    >>> import contrastiveseg as cs
    >>> cs.starter("macl-3d-tiny").name
    'macl-3d-tiny.safetensors'
    """
    if name not in starters():
        raise InputError(f"There is no starter {name!r}. There are: {', '.join(starters())}.")
    return FOLDER / f"{name}.safetensors"


def checkpoint_path(checkpoint: str | Path) -> Path:
    """The file that ``checkpoint`` names: a path, or ``starter:NAME``.

    Raises:
        InputError: as :func:`starter`.
    """
    named = str(checkpoint)
    return starter(named.removeprefix(PREFIX)) if named.startswith(PREFIX) else Path(checkpoint)


def as_typed(path: Path) -> str:
    """``path`` as a user names it: a starter by its name."""
    return f"{PREFIX}{path.stem}" if path.parent == FOLDER else str(path)

"""The errors a user can meet. Each says what is wrong and what to do; the class decides the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: So many problems are named, the others counted.
_NAMED = 5


class ContrastiveSegError(Exception):
    """Base of every expected failure. ``exit_code`` is what the terminal returns for it.

    >>> import contrastiveseg as cs
    >>> issubclass(cs.InputError, cs.ContrastiveSegError), cs.InputError.exit_code
    (True, 2)
    """

    exit_code = 1


class InputError(ContrastiveSegError):
    """Something given from outside (file, folder, checkpoint, option) cannot be used as it is.

    >>> import contrastiveseg as cs
    >>> try:
    ...     cs.inspect("nowhere.safetensors")
    ... except cs.InputError as problem:
    ...     print(problem)
    There is no checkpoint at nowhere.safetensors.
    """

    exit_code = 2


class Cancelled(ContrastiveSegError):
    """The user asked to stop.

    >>> import contrastiveseg as cs
    >>> try:
    ...     cs.pretrain(images="scans/imagesTr", output="base.safetensors", steps=9, cancelled=lambda: True)
    ... except cs.Cancelled as stop:
    ...     print(stop)
    Stopped while preprocessing. Volumes already prepared are kept.
    """

    exit_code = 130


def together(problems: Sequence[InputError]) -> InputError:
    """One error for several files that cannot be used: named one a run, they would take as many runs as there are."""
    more = len(problems) - _NAMED
    told = " ".join(map(str, problems[:_NAMED]))
    return InputError(f"{told} {more} more cannot be read." if more > 0 else told)


@contextmanager
def system_refusals() -> Iterator[None]:
    """The last net: what the system refuses where nobody foresaw it (too long a name, a loop of links) becomes an
    InputError.

    A closed pipe passes, since whoever read it wants no more; so does an OSError that is not the system's (a library
    that cannot be loaded), which is a fault of ours.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as problem:
        if problem.strerror is None:
            raise
        at = "" if problem.filename is None else f"{problem.filename}: "
        raise InputError(f"{at}{problem.strerror}. Check the paths given, their rights and their disk.") from problem

"""Other computers that the user has named, reached by ssh: which of them computes, and whether it can.

They belong to this machine, not to the scene. Connection, keys and host keys are the business of ssh.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.errors import InputError
from contrastiveseg.remote.slurm import Slurm
from contrastiveseg.serialization import from_json

from .. import settings
from .slurm_options import read_options

if TYPE_CHECKING:
    from .session import Session

_CHOSEN, _KNOWN = "Computer", "Computers"
#: How long Slicer's status bar says something.
_SAID_MS = 10_000


@dataclass(frozen=True)
class Computer:
    """A machine as ssh knows it, how contrastiveseg is called there, and what is asked of its Slurm, which then
    computes; None where the machine itself does."""

    name: str
    command: str = "contrastiveseg"
    slurm: Slurm | None = None

    @property
    def host(self) -> dict[str, Any]:
        """As the engine takes it."""
        return asdict(self)

    @property
    def title(self) -> str:
        """Its name for the user."""
        return self.name if self.slurm is None else _("{name}, by Slurm").format(name=self.name)


def known() -> list[Computer]:
    """Those that the user has named, by name."""
    try:
        return [from_json(Computer, one) for one in json.loads(settings.text(_KNOWN, "[]"))]
    except (ValueError, TypeError, InputError):  # changed by hand
        return []


def chosen() -> Computer | None:
    """The one that computes; None for this one."""
    name = settings.text(_CHOSEN)
    return next((computer for computer in known() if computer.name == name), None)


def choose(computer: Computer | None) -> None:
    """Let ``computer`` compute from now on; None for this one."""
    settings.set_text(_CHOSEN, computer.name if computer is not None else "")


def forget(computer: Computer) -> None:
    """Offer ``computer`` no longer."""
    _keep([one for one in known() if one != computer])


def add(session: Session, on_end: Callable[[], None]) -> None:
    """Ask the user for a computer, and the computer whether it can compute; it is kept and chosen if it can, and told
    what to type if not. ``on_end`` is called in any case."""
    question = _(
        "The computer, as in: ssh user@machine. It needs the same version of contrastiveseg, and a key, since no "
        "password is asked for. Where contrastiveseg is not on its path, write behind the name how it is called there, "
        "as: user@machine /opt/seg/bin/python -m contrastiveseg\nFor a cluster's login node whose Slurm is to compute, "
        "write the options of Slurm behind it, as: user@login.cluster --submit --partition gpu --time 1:00:00"
    )
    if session.obstacle:
        session.report(session.obstacle)
        on_end()
        return
    try:
        computer = _read(session.ask(question))
    except InputError as problem:
        session.report(problem)
        computer = None
    if computer is None:
        on_end()
        return
    text = _("Asking {computer} whether it can compute.").format(computer=computer.title)
    session.log(text)
    slicer.util.showStatusMessage(text, _SAID_MS)
    session.worker.ask_host(computer.host, partial(_answered, session, computer, on_end))


def _read(typed: str) -> Computer | None:
    """The computer that was typed; None for nothing. Raises InputError for options that Slurm does not take."""
    where, submit, options = f"{typed} ".partition(" --submit ")
    name, _space, command = where.strip().partition(" ")
    slurm = read_options(options) if submit else None
    return Computer(name, command.strip() or Computer.command, slurm) if name else None


def _answered(session: Session, computer: Computer, on_end: Callable[[], None], problem: str) -> None:
    if problem:
        session.report(problem)
    else:
        _keep([*(one for one in known() if one.name != computer.name), computer])
        choose(computer)
        text = _("{computer} can compute, and is asked to from now on.").format(computer=computer.title)
        session.log(text)
        slicer.util.showStatusMessage(text, _SAID_MS)
    on_end()


def _keep(computers: list[Computer]) -> None:
    ordered = sorted(computers, key=lambda computer: computer.name)
    settings.set_text(_KNOWN, json.dumps([asdict(computer) for computer in ordered]))

"""What a user asks of the Slurm of another computer, typed as in the terminal behind --submit."""

from __future__ import annotations

import shlex
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.command_line import option_flag
from contrastiveseg.errors import InputError
from contrastiveseg.parameters import Parameter, parameters_of
from contrastiveseg.remote.slurm import Slurm


def read_options(typed: str) -> Slurm:
    """The options in ``typed``, such as "--partition gpu --time 1:00:00".

    Raises:
        InputError: one of them is none of Slurm's here, or has a value that it cannot have.
    """
    options = {option_flag(parameter): parameter for parameter in parameters_of(Slurm)}
    try:
        words = shlex.split(typed)
    except ValueError as problem:
        raise InputError(_("What stands behind --submit cannot be read: {why}.").format(why=problem)) from problem
    given: dict[str, list[str]] = {}
    flag = ""
    for word in words:
        if word in options:
            flag = word
            given[flag] = []
        elif word.startswith("--") or not flag:
            text = _("--submit goes with {options}, not with {word}.")
            raise InputError(text.format(options=", ".join(options), word=word))
        else:
            given[flag].append(word)
    return Slurm(**{options[flag].name: _value(options[flag], flag, values) for flag, values in given.items()})


def _value(parameter: Parameter, flag: str, values: list[str]) -> Any:
    if parameter.kind == "texts":
        return tuple(values)
    if len(values) != 1:
        raise InputError(_("{flag} takes one value.").format(flag=flag))
    if parameter.kind != "int":
        return values[0]
    if not values[0].isdecimal():
        raise InputError(_("{flag} takes a whole number, not {value}.").format(flag=flag, value=values[0]))
    return int(values[0])

"""A job as it is typed on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .descriptions import Job
from .parameters import Parameter, parameters_of
from .serialization import to_json

#: Parameters of jobs that the command line calls otherwise; without dashes, a word without an option.
_FLAGS = {"settings": "--set", "source": "--from", "file": "FILE"}


def option_flag(option: Parameter) -> str:
    """How the command line calls a job's parameter."""
    # A name that Python keeps for itself has an underscore behind it.
    return _FLAGS.get(option.name, f"--{option.name.rstrip('_').replace('_', '-')}")


def command_line(job: Job) -> list[str]:
    """The words that ask the command line for ``job``, without "contrastiveseg"."""
    words = [job.kind]
    defaults = {option.name: option.default for option in parameters_of(type(job))}
    for option in parameters_of(job):
        value = option.default
        if value == defaults[option.name]:
            continue
        flag = option_flag(option)
        if value is True:
            words.append(flag)
        elif isinstance(value, Mapping):
            words += [word for key, one in value.items() for word in (flag, f"{key}={json.dumps(to_json(one))}")]
        elif isinstance(value, tuple):
            words += [flag, *map(str, value)]
        else:
            words.append(f"{flag}={value}" if flag.startswith("-") else str(value))
    return words

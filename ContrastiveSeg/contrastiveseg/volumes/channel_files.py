"""Files that are the channels of one case by the names of channels in dataset.json: ``CASE_T2``, ``CASE_ADC``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .. import files


def by_channel_names(volumes: Sequence[Path], declared: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Case name -> its files in the order of the ``declared`` channels, where a case has exactly one of each.

    A file's name ends with the channel's, in capitals or small letters, or is it ("" is then the case's name).
    """
    if len(declared) < 2:
        return {}
    names = "|".join(re.escape(name) for name in declared)
    order = {name.casefold(): index for index, name in enumerate(declared)}
    found: dict[str, dict[int, list[Path]]] = {}
    for file in volumes:
        if match := re.fullmatch(rf"(?:(.+)[_\-. ])?({names})", files.stem(file), re.IGNORECASE):
            found.setdefault(match[1] or "", {}).setdefault(order[match[2].casefold()], []).append(file)
    return {
        case: tuple(own[index][0] for index in range(len(declared)))
        for case, own in found.items()
        if len(own) == len(declared) and all(len(same) == 1 for same in own.values())
    }

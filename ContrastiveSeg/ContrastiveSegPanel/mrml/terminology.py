"""Codes (SNOMED CT) for structures whose checkpoint has none, looked up by name in Slicer's own list of anatomy; and
names for segments that have codes only."""

from __future__ import annotations

import re
from typing import Any

import slicer
import vtk

_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_SIDES = ("left", "right")
#: What Slicer gives to a new segment.
_ANY = "SCT^85756007^Tissue"


def known_by_name(name: str) -> str:
    """The serialized terminology entry of the structure called ``name``, such as "Liver" or "kidney_left"; "" if Slicer
    knows none of that name."""
    logic, spelling = _logic(), _spelling(name)
    entry = slicer.vtkSlicerTerminologyEntry()
    if logic is None or not spelling or not logic.FindTypeInTerminologyBy3dSlicerLabel(_LIST, spelling, entry):
        return ""
    return logic.SerializeTerminologyEntry(entry)


def name_in(terminology: str) -> str:
    """The name in a serialized terminology entry, such as "Right Kidney": the type, behind its modifier; "" where there
    is none, or only that of every new segment."""
    parts = terminology.split("~")[2:4]
    words = [part.split("^")[2] for part in parts if part.count("^") == 2 and part != _ANY]
    return " ".join(word for word in reversed(words) if word)


def _logic() -> Any:
    """The Terminologies module's logic, or None where it is not there or has not loaded the list."""
    module = getattr(slicer.modules, "terminologies", None)
    logic: Any = module.logic() if module is not None else None
    if not hasattr(logic, "FindTypeInTerminologyBy3dSlicerLabel"):
        return None
    # Asked for a list it does not have, it would write an error to the log.
    loaded = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(loaded)
    return logic if _LIST in [loaded.GetValue(i) for i in range(loaded.GetNumberOfValues())] else None


def _spelling(name: str) -> str:
    """As the list spells: "left kidney", whether ``name`` is kidney_left, "Kidney L" or "Left kidney"."""
    words = re.sub(r"[\W_]+", " ", name).casefold().split()
    words = [{"l": "left", "r": "right"}.get(word, word) for word in words]
    return " ".join(sorted(words, key=lambda word: word not in _SIDES))

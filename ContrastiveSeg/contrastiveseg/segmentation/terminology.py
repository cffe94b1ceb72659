"""Slicer's serialized terminology entries as coded concepts of DICOM."""

from __future__ import annotations

from dataclasses import dataclass

#: The longest scheme, code value and meaning (SH and LO of DICOM PS3.5; a longer value would need another attribute).
_LONGEST = (16, 16, 64)


@dataclass(frozen=True)
class Concept:
    """A code with its scheme (SCT for SNOMED CT) and its meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class CodedEntry:
    """What a segment is: category and type, and where it lies. ``modifier`` and ``region_modifier`` are as "Left"."""

    category: Concept
    type: Concept
    modifier: Concept | None = None
    region: Concept | None = None
    region_modifier: Concept | None = None


#: What Slicer gives a segment that nobody has coded.
TISSUE = CodedEntry(Concept("SCT", "85756007", "Tissue"), Concept("SCT", "85756007", "Tissue"))


def entry_of(terminology: str | None) -> CodedEntry | None:
    """The entry that ``terminology`` holds, as vtkSlicerTerminologiesModuleLogic writes it:
    "context~category~type~modifier~region context~region~region modifier", each code as "scheme^value^meaning".

    None where it holds no category and type, or a code that DICOM has no room for.
    """
    parts = (terminology or "").split("~")
    if len(parts) < 3:
        return None
    category, type, modifier, _, region, region_modifier = map(_concept, [*parts[1:7], *[""] * (7 - len(parts))])
    return CodedEntry(category, type, modifier, region, region_modifier) if category and type else None


def _concept(text: str) -> Concept | None:
    parts = text.split("^")
    if len(parts) != 3 or not text.isprintable() or "\\" in text:
        return None
    if not all(0 < len(part) <= most for part, most in zip(parts, _LONGEST, strict=True)):
        return None
    return Concept(*parts)

"""Which reference a prediction is compared with: of a folder of label maps, or of a data set that names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .. import files
from ..errors import InputError
from ..printable import quoted
from ..volumes.dataset import check_labels_chosen, find_cases
from ..volumes.labeling import Labeling
from ..volumes.pairing import files_by_case, paired_files, volume_files


@dataclass(frozen=True)
class Reference:
    """A label map; ``labeling`` is what its entry in a list says of it."""

    file: Path
    labeling: Labeling = Labeling()

    def labeled(self, otherwise: Labeling) -> Labeling:
        """What it labels: ``otherwise``, but for the part that its own entry names."""
        return replace(otherwise, part=self.labeling.part or otherwise.part)

    def looked_for(self, labels: Mapping[int, str]) -> dict[int, str]:
        """Those of ``labels``, value -> name, that were looked for in the case.

        Raises:
            InputError: its entry names one that is not among ``labels``.
        """
        known = self.labeling.structures
        if known is None:
            return {**labels}
        if unknown := {*known} - {*labels.values(), *map(str, labels)}:
            raise InputError(
                f"its entry names the structure {quoted(min(unknown))}, which no reference has. There are: "
                f"{', '.join(labels.values())}."
            )
        return {value: name for value, name in labels.items() if {name, str(value)} & {*known}}


@dataclass(frozen=True)
class Compared:
    """Case -> prediction and reference. ``missing`` are references without a prediction, ``unreferenced`` the other way
    round."""

    pairs: dict[str, tuple[Path, Reference]]
    missing: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """Of all pairs, each prediction before its reference."""
        return [file for prediction, reference in self.pairs.values() for file in (prediction, reference.file)]


def compared(predictions: Path, references: Path) -> Compared:
    """The pairs of two files, whatever their names, or of a folder and :func:`references_in`, by name.

    Raises:
        InputError: a path that does not exist, nothing to pair, or as :func:`references_in`.
    """
    for path in (predictions, references):
        files.check_there(path)
    listed = is_data_set(references)
    if predictions.is_dir() != (references.is_dir() or listed):
        raise InputError("Give two files, or two folders: one of them is a file and the other a folder.")
    known = references_in(references)
    if not predictions.is_dir():
        ((case, reference),) = known.items()
        return Compared({case: (predictions, reference)})
    paired = paired_files(files_by_case(predictions), {case: reference.file for case, reference in known.items()})
    if not paired.pairs and listed:
        raise InputError(
            f"No file in {predictions} is named like a labeled case of {references}, as {next(iter(known))}."
        )
    if not paired.pairs:
        raise InputError(
            f"No file in {predictions} is named like one in {references}. A prediction pairs with the reference of the "
            "same name; the file ending may differ, and _seg, _label and the like may follow."
        )
    by_file = {reference.file: reference for reference in known.values()}  # a case may have lost its ending
    pairs = {case: (prediction, by_file[file]) for case, (prediction, file) in paired.pairs.items()}
    return Compared(pairs, paired.only_second, paired.only_first)


def references_in(path: Path) -> dict[str, Reference]:
    """Case -> reference, of the label map or folder of label maps at ``path``, or of the data set there: a
    ``dataset.json`` or its folder, a JSON list, or a folder with a folder a patient, as for fine-tuning.

    Raises:
        InputError: two files of one case, a data set that cannot be read or labels nothing, or several label maps of
            one of its cases.
    """
    if not is_data_set(path):
        maps = files_by_case(path) if path.is_dir() else {files.stem(path): path}
        return {case: Reference(file) for case, file in maps.items()}
    cases = find_cases([path])
    check_labels_chosen(cases)
    references = {case.name: Reference(case.labels, case.labeling) for case in cases if case.labels}
    if not references:
        raise InputError(f"{path} names no label maps. Give the folder that holds the references themselves.")
    return references


def is_data_set(path: Path) -> bool:
    """Whether ``path`` names images and labels together, by its name and what lies in it."""
    if path.is_file():
        return path.suffix.lower() == ".json"
    return not volume_files(path) and any(
        below.is_dir() or below.name == "dataset.json" for below in path.iterdir() if not below.name.startswith(".")
    )

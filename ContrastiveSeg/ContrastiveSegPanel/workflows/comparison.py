"""A segmentation and its reference on their way to the engine's evaluation: which files and values they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.descriptions import EvaluateJob
from contrastiveseg.errors import InputError

from ..mrml import scene
from ..mrml.segments import segments_of
from .pairing import same_name, volume_of
from .task import Step


@dataclass(frozen=True)
class Comparison:
    """What an evaluation needs.

    Attributes:
        steps: what writes its files; to be done before the job.
        names: label in the result -> the name of the reference's segment.
        unmatched: names of segments that the reference lacks; they are not compared.
    """

    steps: list[Step]
    job: EvaluateJob
    names: dict[int, str]
    unmatched: list[str]


def compare(prediction: Any, reference: Any, volume: Any, folder: Path) -> Comparison:
    """Two segmentations as files in ``folder``, on the grid of ``volume``; segments of the same name are one label."""
    values: dict[str, int] = {}
    names: dict[int, str] = {}
    for segment in segments_of(reference):
        names.setdefault(values.setdefault(same_name(segment.name), len(values) + 1), segment.name)
    paths = [folder / f"{what}{scene.FILE_ENDING}" for what in ("prediction", "reference")]
    steps: list[Step] = [
        (
            _("Writing {name}").format(name=node.GetName()),
            partial(_write, node.GetID(), volume.GetID(), values, path),
        )
        for node, path in zip((prediction, reference), paths, strict=True)
    ]
    job = EvaluateJob(predictions=str(paths[0]), references=str(paths[1]), output=str(folder / "scores.json"))
    return Comparison(steps, job, names, [s.name for s in segments_of(prediction) if same_name(s.name) not in values])


def other_patient(prediction: Any, reference: Any) -> str:
    """A question to the user where the two were made on different volumes, else ""."""
    volumes = volume_of(prediction), volume_of(reference)
    if None in volumes or volumes[0] is volumes[1]:
        return ""
    question = _(
        "{prediction} was made on {first}, {reference} on {second}. Of two patients the scores mean nothing. Compare "
        "them all the same?"
    )
    names = {"prediction": prediction.GetName(), "reference": reference.GetName()}
    return question.format(first=volumes[0].GetName(), second=volumes[1].GetName(), **names)


def _write(segmentation_id: str, volume_id: str, values: Mapping[str, int], path: Path) -> None:
    segmentation, volume = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in (segmentation_id, volume_id))
    if segmentation is None or volume is None:
        raise InputError(_("The segmentation or its volume is no longer in the scene."))
    by_segment = {s.id: values[same_name(s.name)] for s in segments_of(segmentation) if same_name(s.name) in values}
    scene.write_labels(segmentation, volume, by_segment, path)

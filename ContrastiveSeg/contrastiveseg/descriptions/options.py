"""Types of options, and the options that several jobs have, as fields of their descriptions."""

from __future__ import annotations

from typing import Any, Literal

from ..parameters import parameter

Size = Literal["auto", "tiny", "base", "large"]
Pieces = Literal["auto", "all", "largest"]
Precision = Literal["auto", "32", "bf16"]
LabeledPart = Literal["all", "slices", "painted"]
Resume = Literal[False, True, "auto"]
#: A box in RAS mm: R, A and S, each from and to.
Roi = tuple[float, float, float, float, float, float]
#: The starter that is offered first, as it is named wherever a checkpoint is.
STARTER = "starter:synthetic-labels-3d-tiny"
ExportFormat = Literal["dicom-seg", "nnunet", "onnx", "monai"]
SliceDirection = Literal["auto", "axial", "coronal", "sagittal"]


def device() -> Any:
    return parameter("auto", help="auto, cpu, cuda[:N] or mps", placeholder="NAME")


def precision() -> Any:
    return parameter("auto", help="number format of the networks")


def threads() -> Any:
    return parameter(None, help="CPU threads; torch's own choice if not given", at_least=1, at_most=1024)


def report() -> Any:
    return parameter(
        None,
        help="write a JSON file that says what the run was given, did and made, by hashes and without names; also "
        "where it fails or is cancelled",
    )


def keep_names() -> Any:
    return parameter(False, help="name files, and what went wrong, in the report; mind what you share")


def background(help: str) -> Any:
    return parameter(None, help=help, at_least=1, at_most=65535)


def network(when: str = "") -> Any:
    return parameter("unet", help=f"{when}backbone (see 'networks')", placeholder="NAME")

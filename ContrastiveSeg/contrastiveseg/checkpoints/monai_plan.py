"""The transforms, the inferer and the metadata of a MONAI bundle as a plan and labels of ours.

MONAI's arrays have the axes x, y, z; ours z, y, x. Only transforms that are known here are taken, and whatever else
would change what the network sees is refused in words.

Source: MONAI 1.6, monai/transforms/spatial, monai/transforms/intensity, monai/inferers/inferer.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..planning.fingerprint import declared_modality
from ..planning.plan import MOST_OVERLAP, Channel, Conventions, Normalization, Plan, is_orientation
from ..printable import quoted, shortened
from .card import Label
from .monai_config import Config, Part

#: They change neither values nor the grid, or only pad, as our tiles do.
_HARMLESS = {
    *("LoadImaged", "EnsureChannelFirstd", "AddChanneld", "EnsureTyped", "ToTensord", "CastToTyped", "ToDeviced"),
    *("DivisiblePadd", "SpatialPadd", "Identityd", "SelectItemsd"),
}
_INTENSITIES = ("ScaleIntensityRanged", "NormalizeIntensityd", "ScaleIntensityd")
#: After the network: without influence on which label a voxel gets, once that is decided.
_AFTER = {"Invertd", "SaveImaged", "EnsureTyped", "ToTensord", "Identityd"}
_PADDING = {"constant": "zero", "replicate": "edge"}
#: Of a sliding window where the inferer does not say it.
_OVERLAP = 0.25
#: What to do with a bundle that does what is not known here.
_ALONE = "Import the backbone alone (--from segresnet, segresnetds or dynunet) and fine-tune it."


def plan_of(
    config: Config, metadata: Mapping[str, Any], in_channels: int, stride: tuple[int, ...]
) -> tuple[Plan, list[str]]:
    """The plan, and what is done otherwise than in MONAI, in sentences.

    Args:
        stride: by which the network's patch has to divide, (z, y, x).

    Raises:
        InputError: a transform is not known, or something that is needed is not said.
    """
    orientation, spacing, normalization, notes = "stored", None, None, []
    for part in config.transforms("preprocessing"):
        name = part.name
        if name in _HARMLESS:
            continue
        if name == "Orientationd":
            orientation = str(config.value(part.arguments.get("axcodes"), "axcodes"))
            if orientation == "stored" or not is_orientation(orientation):
                raise InputError(f"{config.where}: axcodes of Orientationd are not three letters as RAS.")
        elif name == "Spacingd":
            x, y, z = config.numbers(part, "pixdim", 3)
            if min(x, y, z) <= 0:
                raise InputError(f"{config.where}: pixdim of Spacingd must be above 0.")
            spacing = (z, y, x)
        elif name in _INTENSITIES:
            if normalization is not None:
                raise InputError(f"{config.where} normalizes twice, by {name} too, which cannot be done here. {_ALONE}")
            normalization = _normalization(config, part, in_channels)
        elif name == "CropForegroundd" and (normalization is None or normalization.scheme == "window"):
            notes.append("The bundle crops volumes to their foreground first; here they are segmented whole.")
        else:
            raise InputError(
                f"{config.where} prepares volumes by {shortened(name)}, which is not known here. Known: "
                f"{', '.join(['Orientationd', 'Spacingd', *_INTENSITIES, *sorted(_HARMLESS)])}."
            )
    if spacing is None:
        raise InputError(
            f"{config.where} does not say the voxel spacing that the network works at (Spacingd). Add the transform "
            f"with that of the training data. {_ALONE}"
        )
    if notes and normalization is not None and normalization.scheme != "window":
        raise InputError(
            f"{config.where} crops to the foreground before it normalizes, which is not known here. {_ALONE}"
        )
    channels = _channels(metadata, in_channels, normalization or Normalization("none"))
    patch, conventions = _tiles(config, orientation, stride)
    return Plan(3, channels, spacing, patch, conventions=conventions), notes


def _normalization(config: Config, part: Part, channels: int) -> Normalization:
    if part.name == "ScaleIntensityRanged":
        low, high = config.number(part, "a_min"), config.number(part, "a_max")
        first, last = config.number(part, "b_min", 0.0), config.number(part, "b_max", 1.0)
        if not config.switch(part, "clip", False) or high <= low or last <= first:
            raise InputError(f"{config.where}: ScaleIntensityRanged is known here with clip and a range only.")
        deviation = (high - low) / (last - first)
        return Normalization("window", low, high, low - first * deviation, deviation)
    whole = channels > 1 and not config.switch(part, "channel_wise", False)
    if part.name == "NormalizeIntensityd":
        if whole or any(part.arguments.get(name) is not None for name in ("subtrahend", "divisor")):
            raise InputError(f"{config.where}: NormalizeIntensityd is known here for each channel by itself only.")
        return Normalization("standard", over="nonzero" if config.switch(part, "nonzero", False) else "volume")
    target = config.number(part, "minv", 0.0), config.number(part, "maxv", 1.0)
    if whole or target != (0.0, 1.0) or part.arguments.get("factor") is not None:
        raise InputError(f"{config.where}: ScaleIntensityd is known here from 0 to 1 and for each channel only.")
    return Normalization("unit")


def _channels(metadata: Mapping[str, Any], count: int, normalization: Normalization) -> tuple[Channel, ...]:
    """Named by the metadata's first input, where it names them."""
    inputs = _below(metadata, "network_data_format", "inputs")
    first = next((one for one in inputs.values() if isinstance(one, Mapping)), {})
    names = _below(first, "channel_def")
    modality = declared_modality(str(first.get("modality", ""))) or "other"
    if modality == "CT" and normalization.scheme != "window":
        modality = "other"  # its intensities are no Hounsfield units for our checks
    channels = (str(names.get(str(index), f"image {index + 1}")) for index in range(count))
    return tuple(Channel(name, modality, normalization) for name in channels)


def _tiles(config: Config, orientation: str, stride: tuple[int, ...]) -> tuple[tuple[int, int, int], Conventions]:
    """Patch (z, y, x) and conventions by the sliding window of the inferer."""
    inferer = config.part(config.data.get("inferer"), "inferer")
    if inferer.name != "SlidingWindowInferer":
        raise InputError(f"{config.where}: the inferer {inferer.name} is not known here, only SlidingWindowInferer.")
    size = config.numbers(inferer, "roi_size", 3)
    x, y, z = (int(n) for n in size)
    patch = (z, y, x)
    if any(n <= 0 or n % step for n, step in zip(patch, stride, strict=True)) or size != (x, y, z):
        raise InputError(f"{config.where}: roi_size {x} x {y} x {z} is no multiple of the network's {stride[::-1]}.")
    overlap = config.number(inferer, "overlap", _OVERLAP)
    padding = config.value(inferer.arguments.get("padding_mode", "constant"), "padding_mode")
    if not 0 <= overlap <= MOST_OVERLAP or padding not in _PADDING:
        raise InputError(f"{config.where}: overlap or padding_mode of the inferer is not known here.")
    kind = _PADDING[padding]
    return patch, Conventions(orientation, padding="zero" if kind == "zero" else "edge", overlap=overlap)


def labels_of(config: Config, metadata: Mapping[str, Any], classes: int) -> tuple[Label, ...]:
    """The labels of the classes 1.. by the metadata's channel_def; class 0 is the background.

    Raises:
        InputError: the classes are no exclusive ones with a background, or their number is another.
    """
    decided = False
    for part in config.transforms("postprocessing"):
        if part.name == "Activationsd" and part.arguments.get("sigmoid"):
            raise InputError(
                f"{config.where}: the network's outputs overlap (sigmoid); only one label a voxel is known here. "
                f"{_ALONE}"
            )
        if part.name == "AsDiscreted":
            decided = decided or config.switch(part, "argmax", False)
            if part.arguments.get("threshold") is not None:
                raise InputError(f"{config.where}: outputs are cut at a threshold, which is not known here. {_ALONE}")
    if not decided:
        raise InputError(
            f"{config.where} does not say that the largest output decides. Add AsDiscreted with argmax, if it does."
        )
    outputs = _below(metadata, "network_data_format", "outputs")
    first = next((one for one in outputs.values() if isinstance(one, Mapping)), {})
    names = {str(key): str(name) for key, name in _below(first, "channel_def").items()}
    if not names:
        return tuple(Label(value, f"label {value}") for value in range(1, classes))
    if set(names) != {str(index) for index in range(classes)}:
        raise InputError(
            f"metadata.json names {len(names)} channels of the output, and the network has {classes}. Correct its "
            "channel_def."
        )
    if "background" not in names["0"].casefold():
        raise InputError(
            f"metadata.json calls the output's first channel {quoted(names['0'])}, not background, as it must be to "
            f"segment. {_ALONE}"
        )
    if classes > 256 or len(set(names.values())) < classes:
        raise InputError("metadata.json: two channels of the output have one name, or there are more than 256.")
    return tuple(Label(value, names[str(value)]) for value in range(1, classes))


def differs_after(config: Config) -> list[str]:
    """Transforms behind the network that change its label map and are not done here."""
    known = _AFTER | {"Activationsd", "AsDiscreted"}
    return [part.name for part in config.transforms("postprocessing") if part.name not in known]


def _below(data: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The object below ``keys``, empty where there is none."""
    found: Any = data
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}

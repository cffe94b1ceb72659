"""nnU-Net's plans and dataset.json as a plan, labels and a decision of ours.

nnU-Net transposes volumes so that the slice axis comes first (``transpose_forward``); ours stay as they are, and what
lies along axes is turned back: spacing, patch, mirrored axes, and the weights of convolutions.

Source: nnunetv2 2.8, utilities/plans_handling, utilities/label_handling, preprocessing/normalization.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import InputError
from ..planning.fingerprint import declared_modality
from ..planning.plan import Channel, Conventions, Normalization, Plan, Spacing
from ..planning.resolution import finer_than_working
from ..printable import quoted, shortened
from ..serialization import from_json
from .card import Decision, Label

T = TypeVar("T")

_SPLINES, _TORCH = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"
#: How images are read -> the orientation that the network gets them in.
_READERS = {
    "SimpleITKIO": "stored",
    "NibabelIO": "stored",
    "Tiff3DIO": "stored",
    "NaturalImage2DIO": "stored",
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIOWithReorient": "RAS",
}
#: Tiles overlap by half, and around a volume lies 0.
_OVERLAP = 0.5


@dataclass(frozen=True)
class Plans:
    """What we need of ``plans.json``."""

    configurations: Mapping[str, Mapping[str, Any]]
    transpose_forward: tuple[int, ...]
    image_reader_writer: str = "SimpleITKIO"
    original_median_spacing_after_transp: tuple[float, ...] | None = None
    foreground_intensity_properties_per_channel: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    foreground_intensity_properties_by_modality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """What we need of one of its configurations."""

    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    preprocessor_name: str = "DefaultPreprocessor"
    resampling_fn_data: str = _SPLINES
    resampling_fn_data_kwargs: Mapping[str, Any] = field(default_factory=lambda: {"order": 3})
    resampling_fn_probabilities: str = _SPLINES
    resampling_fn_probabilities_kwargs: Mapping[str, Any] = field(default_factory=lambda: {"order": 1})
    previous_stage: str | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    UNet_class_name: str = ""


@dataclass(frozen=True)
class Dataset:
    """What we need of ``dataset.json``; ``modality`` is an older name of ``channel_names``."""

    labels: Mapping[str, int | tuple[int, ...]]
    channel_names: Mapping[str, str] = field(default_factory=dict)
    modality: Mapping[str, str] = field(default_factory=dict)
    regions_class_order: tuple[int, ...] | None = None
    license: str = ""
    reference: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels in their order."""
        names = self.channel_names or self.modality
        return tuple(names[key] for key in sorted(names, key=lambda key: (len(key), key)))


@dataclass(frozen=True)
class _Intensities:
    """Of the foreground of a channel in the training data."""

    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


def read_part(cls: type[T], data: Any, where: str) -> T:
    """``cls`` from those fields of ``data`` that it has; others are nnU-Net's own business.

    Raises:
        InputError: as :func:`..serialization.from_json`.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is missing, or no object. Import the model's folder, with plans.json in it.")
    names = {one.name for one in dataclasses.fields(cls)}  # type: ignore[arg-type]
    given = {name: value for name, value in data.items() if name in names and value is not None}
    if "licence" in data and "license" in names:
        given["license"] = data["licence"]
    return from_json(cls, given, where)


def configuration_of(plans: Plans, name: str) -> Configuration:
    """The configuration ``name`` with what it inherits.

    Raises:
        InputError: it is not there, inherits from itself, or needs what we do not have.
    """
    inherited: dict[str, Any] = {}
    seen: list[str] = []
    current: Any = name
    while current is not None:
        if not isinstance(current, str) or current in seen or current not in plans.configurations:
            raise InputError(
                f"plans.json has no complete configuration {quoted(name)} ({', '.join(plans.configurations)}). Take "
                "plans.json of the same training."
            )
        seen.append(current)
        inherited = {**plans.configurations[current], **inherited}
        current = plans.configurations[current].get("inherits_from")
    found = read_part(Configuration, inherited, f"plans.json: configurations.{name}")
    _check_supported(found, name)
    return found


def _check_supported(configuration: Configuration, name: str) -> None:
    if configuration.previous_stage:
        raise InputError(
            f"{name} is the second stage of a cascade: it needs the label map of {configuration.previous_stage} with "
            f"every image, which cannot be given here. Import {configuration.previous_stage}, or 3d_fullres."
        )
    if configuration.preprocessor_name != "DefaultPreprocessor":
        raise InputError(
            f"The model prepares its volumes with {shortened(configuration.preprocessor_name)}, which is not known "
            "here. Only nnU-Net's DefaultPreprocessor is."
        )
    for what, function, options in (
        ("images", configuration.resampling_fn_data, configuration.resampling_fn_data_kwargs),
        ("logits", configuration.resampling_fn_probabilities, configuration.resampling_fn_probabilities_kwargs),
    ):
        order = options.get("order", 1 if what == "logits" else 3) if function == _SPLINES else 1
        usual = {"order_z": 0, "force_separate_z": None, "mode": "linear", "aniso_axis_mode": "nearest-exact"}
        if (
            function not in (_SPLINES, _TORCH)
            or order not in ((1,) if what == "logits" else (1, 3))
            or any(options.get(key, value) != value for key, value in usual.items())
        ):
            raise InputError(
                f"The model resamples {what} with {shortened(function)} ({shortened(dict(options))}), which is "
                "not known here. Import a model with nnU-Net's own resampling."
            )


def plan_of(
    plans: Plans, configuration: Configuration, dataset: Dataset, mirrored: Sequence[int], orientation: str | None
) -> Plan:
    """The plan; its axes are (z, y, x) of what the model's reader gives, or of ``orientation``.

    Args:
        mirrored: axes of the network, as nnU-Net counts them, that its inference mirrors.

    Raises:
        InputError: the plans contradict themselves, or ask for what we do not have.
    """
    turned, dimensions = plans.transpose_forward, len(configuration.patch_size)
    if sorted(turned) != [0, 1, 2] or dimensions not in (2, 3) or len(configuration.spacing) != dimensions:
        raise InputError("plans.json: transpose_forward, patch_size and spacing do not fit each other.")
    typical = plans.original_median_spacing_after_transp
    spacing = ((typical[0] if typical else 1.0,) if dimensions == 2 else ()) + configuration.spacing
    patch = ((1,) if dimensions == 2 else ()) + configuration.patch_size
    # Entry n lies along our axis turned[n].
    z, y, x = (int(patch[turned.index(axis)]) for axis in range(3))
    working = _spacing(spacing, turned)
    native = _spacing(typical, turned) if typical and len(typical) == 3 else working
    axes = network_axes(turned, dimensions)
    if any(not 0 <= axis < dimensions for axis in mirrored):
        raise InputError(
            "The checkpoint mirrors along an axis that its network does not have. Take checkpoint and plans.json of "
            "one training."
        )
    reader = plans.image_reader_writer
    if orientation is None and reader not in _READERS:
        raise InputError(
            f"The model reads its images with {shortened(reader)}, which is not known here. Say its --orientation."
        )
    splines = configuration.resampling_fn_data == _SPLINES
    cubic = splines and configuration.resampling_fn_data_kwargs.get("order", 3) == 3
    conventions = Conventions(
        orientation=orientation or _READERS[reader],
        crop=True,
        resampling="nnunet-cubic" if cubic else "nnunet-linear",
        padding="zero",
        overlap=_OVERLAP,
        mirrored=tuple(sorted(axes.index(axis) for axis in mirrored)),
    )
    return Plan(
        3 if dimensions == 3 else 2,
        _channels(plans, configuration, dataset),
        working,
        (z, y, x),
        turned[0] if dimensions == 2 else 0,
        finer_than_working(native, working) if dimensions == 3 else None,
        conventions,
    )


def network_axes(turned: Sequence[int], dimensions: int) -> list[int]:
    """For each spatial axis of our network the axis of nnU-Net's that it is."""
    theirs = list(turned)[3 - dimensions :]
    return [theirs.index(axis) for axis in sorted(theirs)]


def labels_of(dataset: Dataset) -> tuple[tuple[Label, ...], Decision]:
    """The labels in the order of the head's classes 1..n, and how a class is decided.

    Of regions, which overlap, a label map holds what the later ones leave of each; their names say so.

    Raises:
        InputError: the labels contradict themselves.
    """
    named = {name: value for name, value in dataset.labels.items() if name != "ignore" and value not in (0, (0,))}
    if len(named) + ("ignore" in dataset.labels) == len(dataset.labels):
        raise InputError('dataset.json: labels lacks "background": 0.')
    if not any(isinstance(value, tuple) and len(value) > 1 for value in named.values()):
        single = {name: value if isinstance(value, int) else value[0] for name, value in named.items() if value != ()}
        values = sorted(single.values())
        if not values or values != list(range(1, len(values) + 1)):
            raise InputError(f"dataset.json: labels must be 1, 2, 3, ...; they are {values}.")
        return tuple(Label(value, name) for name, value in sorted(single.items(), key=lambda one: one[1])), "largest"
    order = dataset.regions_class_order or ()
    if len(order) != len(named):
        raise InputError("dataset.json: regions_class_order must have one value a region.")
    regions = [set(value) if isinstance(value, tuple) else {value} for value in named.values()]
    names = list(named)
    labels = []
    for index, value in enumerate(order):
        later = [other for other in range(index + 1, len(regions)) if regions[other] & regions[index]]
        # Of those in one another the largest says it all.
        outer = [o for o in later if not any(regions[o] < regions[other] for other in later)]
        without = f" without {', '.join(names[o] for o in outer)}" if outer else ""
        labels.append(Label(value, names[index] + without))
    return tuple(labels), "last"


def _spacing(along: Sequence[float], turned: Sequence[int]) -> Spacing:
    z, y, x = (float(along[turned.index(axis)]) for axis in range(3))
    return (z, y, x)


def _channels(plans: Plans, configuration: Configuration, dataset: Dataset) -> tuple[Channel, ...]:
    names, schemes, masks = dataset.channels, configuration.normalization_schemes, configuration.use_mask_for_norm
    if not len(names) == len(schemes) == len(masks):
        raise InputError(
            "plans.json and dataset.json differ in their number of channels. Take both of the same training."
        )
    seen = plans.foreground_intensity_properties_per_channel or plans.foreground_intensity_properties_by_modality
    channels = []
    for index, (name, scheme, mask) in enumerate(zip(names, schemes, masks, strict=True)):
        how = _normalization(scheme, mask, seen.get(str(index)))
        modality = "CT" if scheme == "CTNormalization" else declared_modality(name) or "other"
        channels.append(Channel(name, modality, how))
    return tuple(channels)


def _normalization(scheme: str, mask: bool, seen: Any) -> Normalization:
    if scheme == "CTNormalization":
        of = read_part(_Intensities, seen, "plans.json: foreground_intensity_properties_per_channel")
        return Normalization("window", of.percentile_00_5, of.percentile_99_5, of.mean, max(of.std, 1e-8))
    if scheme == "ZScoreNormalization":
        return Normalization("standard", over="filled" if mask else "volume")
    if scheme == "RGBTo01Normalization":
        return Normalization("window", 0.0, 255.0, 0.0, 255.0)
    if scheme == "RescaleTo01Normalization":
        return Normalization("unit")
    if scheme == "NoNormalization":
        return Normalization("none")
    raise InputError(
        f"The model normalizes with {shortened(scheme)}, which is not known here. Only nnU-Net's own schemes are."
    )

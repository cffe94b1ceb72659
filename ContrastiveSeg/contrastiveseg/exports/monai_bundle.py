"""A model as a MONAI bundle: the network as TorchScript, and MONAI's transforms around it.

Format: MONAI's docs/source/mb_specification.rst. Arrays are (x, y, z) there, and (z, y, x) here: the network in the
bundle takes and gives theirs.
"""

from __future__ import annotations

import io
import json
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__, events
from ..checkpoints.card import Card
from ..checkpoints.licensing import tell_terms, terms
from ..descriptions import ExportJob
from ..errors import InputError
from ..files import replacing, write_text
from ..planning.normalize import LEAST_FOREGROUND, PERCENTILES
from ..planning.plan import Channel, Conventions
from ..volumes.volume import label_type
from .folder import check_folder, new_folder
from .model import OpenedModel, open_model, processing

#: The ends of the patient's axes, as MONAI names them.
_ENDS = ["LR", "PA", "IS"]
#: With this version the bundles were tried; the engine itself does without.
_SCIKIT_IMAGE = "0.26.0"
#: Clips to the percentiles of the voxels above the minimum, and puts their mean to 0 and their deviation to 1, as
#: :func:`..planning.normalize.normalize` does.
_ZSCORE = (
    "(lambda c: (lambda f: (lambda low, high: (lambda k: (c.clamp(low, high) - float(k.mean())) / "
    "(float(k.std()) or 1.0))(f.clip(low, high)))(*np.percentile(f, {percentiles})))"
    "((lambda v: v[v > v.min()] if (v > v.min()).mean() >= {least} else v)(c.numpy().astype(float))))"
)


def export_bundle(job: ExportJob, emit: events.Emit) -> None:
    """Write the model of ``job`` as a bundle in a new folder.

    Raises:
        InputError: the checkpoint segments nothing, MONAI has no transforms for what it does, or the folder is there
            already.
    """
    output = check_folder(job)
    emit(events.StageStarted(events.Stage.LOAD))
    model = open_model(Path(job.checkpoint or ""))
    _check_expressible(model)
    tell_terms(model.card, emit)
    emit(events.StageStarted(events.Stage.EXPORT))
    with new_folder(output) as folder:
        for name in ("models", "configs", "docs"):
            (folder / name).mkdir()
        network = _Reversed(model.network).eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of its own future
            traced = torch.jit.trace(network, _reversed(model.tile()), check_trace=False)
            weights = traced.state_dict()
        # Torch opens no path that is not UTF-8, and where it cannot write to a full disk it ends the process.
        for name, save in (("model.ts", partial(torch.jit.save, traced)), ("model.pt", partial(torch.save, weights))):
            content = io.BytesIO()
            save(content)
            with replacing(folder / "models" / name) as temporary:
                temporary.write_bytes(content.getbuffer())
        for path, text in (
            ("configs/metadata.json", json.dumps(_metadata(model), indent=4)),
            ("configs/inference.json", json.dumps(_inference(model), indent=4)),
            ("docs/README.md", _readme(model)),
            ("docs/license.txt", model.card.provenance.license or "not known"),
        ):
            write_text(folder / path, text + "\n")


def _check_expressible(model: OpenedModel) -> None:
    plan = model.card.plan
    schemes = {channel.normalization.scheme for channel in plan.channels}
    if plan.conventions != Conventions() or model.card.decision != "largest" or not schemes <= {"zscore", "window"}:
        raise InputError(
            "MONAI has no transforms for how this imported model prepares its volumes. Export it with --to onnx, whose "
            "processing.json says what is to be done."
        )


class _Reversed(nn.Module):
    """A network between spatial axes in MONAI's order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """``image`` (B, C, x, y, z), or two of these axes, to logits (B, classes, x, y, z)."""
        return _reversed(self.network(_reversed(image)))


def _reversed(image: Tensor) -> Tensor:
    return image.permute(0, 1, *range(image.ndim - 1, 1, -1))


def _metadata(model: OpenedModel) -> dict[str, Any]:
    card, plan = model.card, model.card.plan
    modalities = {channel.modality for channel in plan.channels}
    shape = list(plan.patch_shape[::-1])
    one = {"type": "image", "spatial_shape": shape, "dtype": "float32", "value_range": [], "is_patch_data": True}
    inputs = {
        "format": "hounsfield" if modalities == {"CT"} else "magnitude",
        "modality": modalities.pop() if len(modalities) == 1 else "n/a",
        "num_channels": len(plan.channels),
        "channel_def": {str(n): channel.name for n, channel in enumerate(plan.channels)},
    }
    outputs = {
        "format": "labels",
        "modality": "n/a",
        "num_channels": len(model.classes),
        "channel_def": {str(n): name for n, name in enumerate(model.classes)},
    }
    names = ", ".join(label.name for label in card.labels)
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by contrastiveseg {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__,
        "numpy_version": version("numpy"),
        "required_packages_version": _needed(model),
        "name": model.name,
        "task": f"Segmentation of {names}",
        "description": f"A {plan.dimensions}D network ({card.network.name}), trained with the method {card.method} of "
        "contrastiveseg.",
        "authors": "not told",
        "copyright": card.provenance.license or "not known",
        "references": [card.provenance.citation] if card.provenance.citation else [],
        "network_data_format": {"inputs": {"image": {**one, **inputs}}, "outputs": {"pred": {**one, **outputs}}},
        "contrastiveseg": processing(model),
    }


def _needed(model: OpenedModel) -> dict[str, str]:
    """The packages that MONAI's transforms need here: to read files, and to find connected pieces."""
    pieces = {"scikit-image": _SCIKIT_IMAGE} if model.card.one_piece else {}
    return {"nibabel": version("nibabel"), **pieces}


def _inference(model: OpenedModel) -> dict[str, Any]:
    plan = model.card.plan
    spacing = list(plan.spacing[::-1])
    inferer = {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(plan.patch_shape[::-1]),
        "sw_batch_size": 1,
        "overlap": plan.conventions.overlap,
        "mode": "gaussian",
        "sigma_scale": 0.125,
        "padding_mode": "replicate",
    }
    if plan.dimensions == 2:
        spacing[2 - plan.slice_axis] = -1.0  # the volume's own
        inferer |= {"_target_": "SliceInferer", "spatial_dim": 2 - plan.slice_axis}
    image: dict[str, Any] = {"keys": "image"}
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$[{'image': file} for file in sorted(glob.glob(@dataset_dir + '/*.nii*'))]",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **image},
                {"_target_": "EnsureChannelFirstd", **image},
                {"_target_": "Lambdad", **image, "func": _normalization(plan.channels)},
                {"_target_": "Orientationd", **image, "axcodes": plan.conventions.orientation, "labels": _ENDS},
                {"_target_": "Spacingd", **image, "pixdim": spacing, "mode": "bilinear"},
            ],
        },
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": _behind(model.card)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "segment": "$lambda data, network, inferer, behind, device: [behind({**case, 'pred': "
        "inferer(case['image'][None].to(device), network)[0].cpu()}) for case in data]",
        "run": ["$torch.no_grad().__call__(@segment)(@dataset, @network, @inferer, @postprocessing, @device)"],
    }


def _behind(card: Card) -> list[dict[str, Any]]:
    """The transforms behind the network: from logits to a file with the label map."""
    pred: dict[str, Any] = {"keys": "pred"}
    values = [label.value for label in card.labels]
    behind: list[dict[str, Any]] = [
        {"_target_": "Invertd", **pred, "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False},
        {"_target_": "AsDiscreted", **pred, "argmax": True},
    ]
    if card.one_piece:
        whole = [n for n, value in enumerate(values, start=1) if value in card.one_piece]
        behind.append({"_target_": "KeepLargestConnectedComponentd", **pred, "applied_labels": whole})
    if values != list(range(1, len(values) + 1)):
        numbers = list(range(1, len(values) + 1))
        behind.append({"_target_": "MapLabelValued", **pred, "orig_labels": numbers, "target_labels": values})
    behind.append(
        {
            "_target_": "SaveImaged",
            **pred,
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "output_dtype": f"$np.{label_type(max(values)).__name__}",
            "separate_folder": False,
            # It lies on the volume's grid already, so nothing is resampled; without this, MONAI 1.6 takes it for two
            # dimensions, and fails on some orientations.
            "resample": True,
        }
    )
    return behind


def _normalization(channels: tuple[Channel, ...]) -> str:
    """An expression that normalizes every channel of a tensor (C, x, y, z) in place."""
    zscore = _ZSCORE.format(percentiles=PERCENTILES, least=LEAST_FOREGROUND)
    parts = []
    for number, channel in enumerate(channels):
        n = channel.normalization
        how = zscore
        if n.scheme == "window":
            how = f"(lambda c: (c.clamp({n.low!r}, {n.high!r}) - {n.mean!r}) / {n.deviation or 1.0!r})"
        parts.append(f"{how}(x.as_tensor()[{number}])")
    return f"$lambda x: x.copy_(torch.stack([{', '.join(parts)}]))"


def _readme(model: OpenedModel) -> str:
    told = processing(model)
    steps = "\n".join(f"- {step}" for step in (*told["before"], told["tiles"], *told["behind"]))
    names, needs = ", ".join(label.name for label in model.card.labels), " and ".join(_needed(model))
    return f"""# {model.name}

Segments {names}. Exported by contrastiveseg {__version__} from a checkpoint with the SHA-256
{model.digest}. {terms(model.card)}

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir OUT

`run` needs {needs} besides MONAI; `evaluator` is the same for programs that look for one, and needs pytorch-ignite.

What contrastiveseg does around the network:

{steps}

What differs here: MONAI resamples about the centers of voxels and averages nothing where voxels get larger, its tiles
are never smaller than the patch, and their overlap is not rounded to an even spread."""

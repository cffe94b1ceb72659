"""nnU-Net's two networks, written from their tensors' names, and models of them in nnU-Net's folders."""

import json

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """Convolution, norm and perhaps an activation; each part is registered twice, as theirs are."""

    def __init__(self, dimensions, channels, width, kernel, stride=1, act=True, bias=True) -> None:
        super().__init__()
        convolution, norm = (nn.Conv2d, nn.InstanceNorm2d) if dimensions == 2 else (nn.Conv3d, nn.InstanceNorm3d)
        padding = [(k - 1) // 2 for k in kernel]
        self.conv = convolution(channels, width, kernel, stride, padding, bias=bias)
        self.norm = norm(width, affine=True)
        self.all_modules = nn.Sequential(self.conv, self.norm, *([nn.LeakyReLU()] if act else []))

    def forward(self, x):
        return self.all_modules(x)


class Stack(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.convs = nn.Sequential(*blocks)

    def forward(self, x):
        return self.convs(x)


class Residual(nn.Module):
    def __init__(self, dimensions, channels, width, kernel, stride) -> None:
        super().__init__()
        pool = nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d
        self.conv1 = Block(dimensions, channels, width, kernel, stride)
        self.conv2 = Block(dimensions, width, width, kernel, act=False)
        parts = [pool(stride, stride)] if max(stride) > 1 else []
        if channels != width:
            parts.append(Block(dimensions, channels, width, [1] * dimensions, act=False, bias=False))
        self.skip = nn.Sequential(*parts)

    def forward(self, x):
        return nn.functional.leaky_relu(self.conv2(self.conv1(x)) + self.skip(x))


class ResidualStage(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(x)


class Encoder(nn.Module):
    def __init__(self, dimensions, channels, widths, strides, kernels, residual) -> None:
        super().__init__()
        stages = []
        if residual:
            self.stem = Stack(Block(dimensions, channels, widths[0], kernels[0]))
            channels = widths[0]
        for width, stride, kernel in zip(widths, strides, kernels, strict=True):
            if residual:
                second = Residual(dimensions, width, width, kernel, [1] * dimensions)
                stages.append(ResidualStage(Residual(dimensions, channels, width, kernel, stride), second))
            else:
                second = Block(dimensions, width, width, kernel)
                stages.append(nn.Sequential(Stack(Block(dimensions, channels, width, kernel, stride), second)))
            channels = width
        self.stages = nn.Sequential(*stages)

    def forward(self, x):
        features = [self.stem(x) if hasattr(self, "stem") else x]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class Decoder(nn.Module):
    def __init__(self, encoder, dimensions, widths, strides, kernels, classes) -> None:
        super().__init__()
        self.encoder = encoder
        transposed, convolution = (
            (nn.ConvTranspose2d, nn.Conv2d) if dimensions == 2 else (nn.ConvTranspose3d, nn.Conv3d)
        )
        levels = list(reversed(range(len(widths) - 1)))
        self.transpconvs = nn.ModuleList(
            transposed(widths[n + 1], widths[n], strides[n + 1], strides[n + 1]) for n in levels
        )
        self.stages = nn.ModuleList(
            Stack(
                *(Block(dimensions, 2 * widths[n] if first else widths[n], widths[n], kernels[n]) for first in (1, 0))
            )
            for n in levels
        )
        self.seg_layers = nn.ModuleList(convolution(widths[n], classes, 1) for n in levels)

    def forward(self, features):
        x = features[-1]
        for up, stage, skip in zip(self.transpconvs, self.stages, features[-2::-1], strict=True):
            x = stage(torch.cat([up(x), skip], 1))
        return self.seg_layers[-1](x)


class NnUNet(nn.Module):
    """PlainConvUNet, or with ``residual`` ResidualEncoderUNet."""

    def __init__(self, widths, strides, kernels, residual=False, channels=1, classes=3) -> None:
        super().__init__()
        dimensions = len(strides[0])
        self.encoder = Encoder(dimensions, channels, widths, strides, kernels, residual)
        self.decoder = Decoder(self.encoder, dimensions, widths, strides, kernels, classes)

    def forward(self, x):
        return self.decoder(self.encoder(x))


STRIDES = {3: [[1, 1, 1], [1, 2, 2], [2, 2, 2]], 2: [[1, 1], [1, 2], [2, 2]]}
KERNELS = {3: [[1, 3, 3], [3, 3, 3], [3, 3, 3]], 2: [[3, 3], [1, 3], [3, 3]]}
PATCH = {3: [4, 12, 8], 2: [12, 8]}
LABELS = {"background": 0, "ventricle": 1, "wall": 2}
SPLINES = {
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
}


def network(dimensions=3, residual=False, channels=1, classes=3):
    torch.manual_seed(dimensions + residual)
    return NnUNet([4, 6, 8], STRIDES[dimensions], KERNELS[dimensions], residual, channels, classes).eval()


def plans(dimensions=3, transpose=(0, 1, 2), residual=False, channels=1, **changes):
    """plans.json, with ``changes`` of its configuration."""
    name = "3d_fullres" if dimensions == 3 else "2d"
    classname = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    arguments = {"strides": STRIDES[dimensions], "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}}
    configuration = {
        "patch_size": PATCH[dimensions],
        "spacing": [3.0, 1.5, 1.0][3 - dimensions :],
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "preprocessor_name": "DefaultPreprocessor",
        "architecture": {"network_class_name": f"nets.unet.{classname}", "arch_kwargs": arguments},
        "batch_size": 2,
        **SPLINES,
        **changes,
    }
    return {
        "configurations": {name: configuration},
        "transpose_forward": list(transpose),
        "image_reader_writer": "SimpleITKIO",
        "original_median_spacing_after_transp": [3.0, 1.5, 1.0],
        "foreground_intensity_properties_per_channel": {
            str(n): {"mean": 50.0, "std": 20.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0, "median": 1.0}
            for n in range(channels)
        },
    }


def description(channels=1, **changes):
    """dataset.json."""
    return {
        "channel_names": {str(n): f"T{n + 1}" for n in range(channels)},
        "labels": LABELS,
        "file_ending": ".nii.gz",
        **changes,
    }


def save_model(root, theirs, plans, dataset, fold="0", mirrored=(0, 1), configuration=None):
    """Write a model as nnU-Net does; returns its folder."""
    name = configuration or next(iter(plans["configurations"]))
    folder = root / "Dataset001_Heart" / f"nnUNetTrainer__nnUNetPlans__{name}"
    (folder / f"fold_{fold}").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    content = {
        "network_weights": theirs.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"ema_fg_dice": [np.float64(0.5)]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"plans": plans, "configuration": name, "fold": fold, "dataset_json": dataset}
        | {"device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": mirrored,
    }
    torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder

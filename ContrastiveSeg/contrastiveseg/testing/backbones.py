"""What every backbone has to do: the checks of one, by name."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..descriptions import FinetuneJob
from ..jobs.run import run
from ..networks.backbone import Backbone
from ..networks.registry import build
from ..networks.segmenter import Segmenter, load_transferred
from ..networks.spec import NetworkSpec
from ..serialization import from_json, to_json
from .methods import Check, Dimensions
from .volumes import write_tiny_dataset


def backbone_checks(
    name: str, arguments: Mapping[str, Any] | None = None, dimensions: Sequence[Dimensions] = (2, 3)
) -> dict[str, Check]:
    """The checks of a backbone, by name.

    Args:
        name: as registered. arguments: in place of its defaults, to make a large network quick.
        dimensions: those it can be built in.
    """
    checks: dict[str, Check] = {"trains_as_a_job": partial(_trains_as_a_job, name, dimensions[-1])}
    for number in dimensions:
        for check, do in spec_checks(NetworkSpec(name, number, 1, arguments or {})).items():
            checks[f"{check}_{number}d"] = do
    return checks


def spec_checks(spec: NetworkSpec) -> dict[str, Check]:
    """The checks of one network: a backbone with its arguments, dimensions and channels."""
    checks = _CHECKS if spec.in_channels == 1 else [check for check in _CHECKS if check is not _takes_several_channels]
    return {check.__name__.strip("_"): partial(check, spec) for check in checks}


def check_backbone(
    name: str, arguments: Mapping[str, Any] | None = None, dimensions: Sequence[Dimensions] = (2, 3)
) -> None:
    """Run all checks of a backbone, one after the other; the arguments are those of :func:`backbone_checks`.

    Raises:
        InputError: there is no such backbone, or it cannot be built.
        AssertionError: a check failed.

    >>> from contrastiveseg.testing import check_backbone
    >>> check_backbone("vnet", {"width": 4})  # doctest: +SKIP
    """
    for check in backbone_checks(name, arguments, dimensions).values():
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder))


def example(network: Backbone, batch: int = 2) -> Tensor:
    """An input (batch, channels, *spatial) of four bottleneck voxels an axis."""
    shape = [4 * s for s in network.total_stride]
    return torch.randn(batch, network.spec.in_channels, *shape, generator=torch.Generator().manual_seed(0))


def _has_the_promised_pyramid(spec: NetworkSpec, folder: Path) -> None:
    """Every encoder and decoder level has the width and the grid that ``channels`` and ``strides`` promise."""
    network = build(spec)
    x = example(network)
    grids = [tuple(x.shape[2:])]
    for stride in network.strides:
        grids.append(tuple(n // s for n, s in zip(grids[-1], stride, strict=True)))
    features = network.encode(x)
    assert [tuple(f.shape) for f in features] == [(2, c, *g) for c, g in zip(network.channels, grids, strict=True)]
    maps = network.decode(features)
    promised = zip(network.decoder_channels, grids[-2::-1], strict=True)
    assert [tuple(m.shape) for m in maps] == [(2, c, *g) for c, g in promised]


def _decodes_in_part(spec: NetworkSpec, folder: Path) -> None:
    """The first decoder blocks alone give what they give in the full decoder."""
    network = build(spec).eval()
    features = network.encode(example(network))
    full = network.decode(features)
    for blocks in range(network.levels + 1):
        part = network.decode(features, blocks)
        assert len(part) == blocks
        assert all(torch.equal(p, f) for p, f in zip(part, full, strict=False))


def _trains_every_parameter(spec: NetworkSpec, folder: Path) -> None:
    """Every parameter gets a gradient, and is stored once."""
    network = Segmenter(build(spec), classes=3, auxiliary=1)
    losses = [logits.square().mean() for logits in network.forward_deep(example(network.backbone))]
    torch.stack(losses).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    safetensors.torch.save_file(network.state_dict(), folder / "weights.safetensors")  # refuses shared tensors


def _is_built_again_from_its_card(spec: NetworkSpec, folder: Path) -> None:
    """The same network comes from its spec as JSON, and takes over its weights bit for bit."""
    network = build(spec)
    assert network.spec == spec
    again = build(from_json(NetworkSpec, json.loads(json.dumps(to_json(spec)))))
    report = load_transferred(again, network.state_dict(), ["encoder", "decoder"])
    assert report.fresh == ()
    assert all(torch.equal(tensor, network.state_dict()[n]) for n, tensor in again.state_dict().items())


def _takes_several_channels(spec: NetworkSpec, folder: Path) -> None:
    """Weights learned on one channel start a network of three."""
    one, three = build(spec), build(dataclasses.replace(spec, in_channels=3))
    assert load_transferred(three, one.state_dict(), ["encoder"]).loaded == ("encoder",)
    assert torch.isfinite(three.encode(example(three))[-1]).all()


def _trains_as_a_job(name: str, dimensions: Dimensions, folder: Path) -> None:
    """Fine-tuning builds it by name, with its defaults."""
    write_tiny_dataset(folder / "data")
    output = folder / "made.safetensors"
    job = FinetuneJob(
        images=(str(folder / "data"),),
        checkpoint="none",
        network=name,
        dimensions=dimensions,
        output=str(output),
        steps=1,
        precision="32",
        threads=1,
    )
    assert run(job).steps == 1


_CHECKS: tuple[Callable[[NetworkSpec, Path], None], ...] = (
    _has_the_promised_pyramid,
    _decodes_in_part,
    _trains_every_parameter,
    _is_built_again_from_its_card,
    _takes_several_channels,
)

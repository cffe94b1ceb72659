"""Few-label segmentation of medical volumes: contrastive pre-training, fine-tuning, segmentation.

>>> import contrastiveseg as cs
>>> result = cs.finetune(images="scans", checkpoint="none", output="mine.safetensors", steps=1)
>>> predictor = cs.Predictor.open("mine.safetensors")
>>> labels = predictor("scans/imagesTr/synthetic_00000.nii.gz")

Importing this package loads nothing heavy: torch and SimpleITK are loaded by the first call that needs them.
Methods and backbones of other packages join by entry points, see :mod:`.registration`; :mod:`.testing` has tests for
them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        evaluate,
        export,
        finetune,
        import_checkpoint,
        inspect,
        load_checkpoint,
        models,
        pretrain,
        preview,
        quality,
        rank,
        sample_data,
        segment,
    )
    from .checkpoints.card import Card
    from .checkpoints.starters import starter, starters
    from .errors import Cancelled, ContrastiveSegError, InputError
    from .methods.method import Method
    from .methods.registry import register_method
    from .networks.backbone import Backbone
    from .networks.registry import register_backbone
    from .segmentation.predictor import Predictor
    from .volumes.volume import LabelMap, Volume

__version__ = "0.1.0"

__all__ = [
    "Backbone",
    "Cancelled",
    "Card",
    "ContrastiveSegError",
    "InputError",
    "LabelMap",
    "Method",
    "Predictor",
    "Volume",
    "evaluate",
    "export",
    "finetune",
    "import_checkpoint",
    "inspect",
    "load_checkpoint",
    "models",
    "pretrain",
    "preview",
    "quality",
    "rank",
    "register_backbone",
    "register_method",
    "sample_data",
    "segment",
    "starter",
    "starters",
]

#: Where each public name is defined; it is loaded when the name is first used.
_HOMES = {
    "Backbone": "networks.backbone",
    "Cancelled": "errors",
    "Card": "checkpoints.card",
    "ContrastiveSegError": "errors",
    "InputError": "errors",
    "LabelMap": "volumes.volume",
    "Method": "methods.method",
    "Predictor": "segmentation.predictor",
    "Volume": "volumes.volume",
    "register_backbone": "networks.registry",
    "register_method": "methods.registry",
    "starter": "checkpoints.starters",
    "starters": "checkpoints.starters",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES.get(name, 'api')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

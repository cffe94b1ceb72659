"""What the tests of methods with a momentum key encoder share."""

from __future__ import annotations

from typing import Any

import torch

from contrastiveseg.contrast.momentum import WARM
from contrastiveseg.testing.steps import trained
from contrastiveseg.testing.volumes import ToyVolumes


def check_the_key_encoder_follows(method: Any, momentum: float) -> None:
    """The teacher is an encoder alone, and a step moves it toward the student's, by more as long as it is young."""
    trained(method, ToyVolumes(), 3)
    teacher = method.teacher.network
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    assert all(name.startswith("encoder.") for name in before)
    trained(method, ToyVolumes(), 1)
    momentum = min(3 / (3 + WARM), momentum)
    for name, old in before.items():
        expected = momentum * old + (1 - momentum) * dict(method.backbone.named_parameters())[name]
        torch.testing.assert_close(dict(teacher.named_parameters())[name], expected)

"""The conformance tests find what is wrong with a method: each of these breaks one promise."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from contrastiveseg.errors import InputError
from contrastiveseg.methods import registry
from contrastiveseg.methods.registry import register_method
from contrastiveseg.methods.supervised import Supervised, SupervisedSettings
from contrastiveseg.testing import check_backbone, check_method, method_checks


class Undescribed(Supervised):
    description = "Supervised."


class Uncited(Supervised):
    citation = ""


@dataclasses.dataclass
class ThawedSettings:
    batch: int = 2


class Thawed(Supervised):
    Settings = ThawedSettings


class Careless(Supervised):
    """Draws from a generator of its own."""

    def draw(self, source, random):
        return super().draw(source, np.random.default_rng())


class Coarse(Supervised):
    """Computes its loss in half precision."""

    def step(self, batch):
        terms = super().step(batch)
        return {**terms, "loss": terms["loss"].bfloat16() if torch.is_autocast_enabled("cpu") else terms["loss"]}


class Idle(Supervised):
    """Learns nothing."""

    def step(self, batch):
        terms = super().step(batch)
        return {**terms, "loss": 0 * terms["loss"] + 1}


class Boastful(Supervised):
    """Trains the decoder alone."""

    def step(self, batch):
        for parameter in self.segmenter.backbone.encoder.parameters():
            parameter.requires_grad_(False)
        return super().step(batch)


class Forgetful(Supervised):
    """Its loss depends on the number of steps, which the state dict does not hold."""

    steps = 0

    def step(self, batch):
        terms = super().step(batch)
        return {**terms, "loss": terms["loss"] * (1 + self.steps)}

    def after_step(self):
        self.steps += 1


@pytest.fixture
def checks_of(monkeypatch) -> Callable:
    def register(cls: type[Supervised]) -> dict:
        monkeypatch.setattr(registry._METHODS, "entries", dict(registry._METHODS.all()))
        return method_checks(register_method("broken", stage="finetune")(cls))

    return register


@pytest.mark.parametrize(
    ("cls", "check", "says"),
    [
        (Undescribed, "describes_itself", "a sentence"),
        (Uncited, "describes_itself", "paper to cite"),
        (Thawed, "describes_itself", "frozen"),
        (Careless, "takes_a_step_3d", "draw may use its generator alone"),
        (Coarse, "takes_a_step_2d", "float32"),
        (Idle, "learns_a_batch_3d", "loss does not fall"),
        (Boastful, "trains_what_it_transfers_2d", "trained .*decoder.* transferred .*encoder"),
        (Forgetful, "resumes", "state dict does not hold"),
    ],
)
def test_a_broken_promise_is_found(cls, check, says, checks_of, tmp_path):
    with pytest.raises(AssertionError, match=says):
        checks_of(cls)[check](tmp_path)


def test_a_method_is_named_by_its_class_or_by_name_and_stage():
    assert method_checks(Supervised).keys() == method_checks("supervised", "finetune").keys()
    with pytest.raises(InputError, match="no registered method to pretrain with"):
        method_checks("supervised", "pretrain")
    with pytest.raises(InputError, match="no registered method"):
        method_checks(Careless)
    with pytest.raises(InputError, match="no setting 'depth'"):
        method_checks(Supervised, settings={"depth": 3})["takes_a_step_3d"](Path())
    assert SupervisedSettings().batch == 2


def test_all_checks_run_without_a_test_framework(monkeypatch):
    """A backbone with a check that fails: all before it have passed, and the failure says which."""
    check_backbone("vnet", {"width": 2}, dimensions=(2,))
    monkeypatch.setattr("contrastiveseg.testing.methods.method_checks", lambda *_: {"one": Path.rmdir, "two": _fail})
    with pytest.raises(AssertionError, match="two"):
        check_method("supervised", "finetune")


def _fail(folder: Path) -> None:
    raise AssertionError(f"two {folder}")

"""Dataclasses survive JSON; anything that is not one is refused with its place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.descriptions import JOBS
from contrastiveseg.errors import InputError
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.serialization import from_json, to_json


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int]
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    dimensions: Literal[2, 3] = 3
    on: bool = False
    limit: int | None = None
    inner: Inner = field(default_factory=lambda: Inner((1, 2)))
    many: tuple[Inner, ...] = ()
    table: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)


FULL = Outer("x", "b", 2, True, 7, Inner((3, 4), 1e-9), (Inner((5, 6)),), {"dice": 0.5}, {"a": [1, {"b": None}]})


@pytest.mark.parametrize("value", [Outer("x"), FULL])
def test_round_trip_through_text(value):
    assert from_json(Outer, json.loads(json.dumps(to_json(value)))) == value


def test_whole_numbers_serve_as_floats():
    found = from_json(Inner, {"size": [1, 2], "rate": 1})
    assert found.rate == 1.0
    assert isinstance(found.rate, float)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"nmae": "y"}, r"Outer: unknown nmae\. Known: name, kind"),
        ({"name": 3}, r"Outer\.name: expected str, found 3"),
        ({"kind": "c"}, r"Outer\.kind: 'c' is not one of 'a', 'b'"),
        ({"dimensions": 2.0}, r"Outer\.dimensions: 2\.0 is not one of 2, 3"),
        ({"on": 1}, r"Outer\.on: expected bool"),
        ({"limit": True}, r"Outer\.limit: expected int"),
        ({"limit": "7"}, r"Outer\.limit: expected int"),
        ({"inner": {"rate": 1.0}}, r"Outer\.inner: size is missing"),
        ({"inner": {"size": [1, 2, 3]}}, r"Outer\.inner\.size: expected 2 values, found 3"),
        ({"many": [{"size": [1, "2"]}]}, r"Outer\.many\[0\]\.size\[1\]: expected int"),
        ({"many": "text"}, r"Outer\.many: expected a list"),
        ({"table": {"dice": "high"}}, r"Outer\.table\.dice: expected float"),
        ({"table": [1]}, r"Outer\.table: expected an object"),
        ({"table": {"dice": float("nan")}}, r"Outer\.table\.dice: expected a finite number, found nan"),
        ({"inner": {"size": [1, 2], "rate": float("-inf")}}, r"Outer\.inner\.rate: expected a finite number"),
        ({"inner": {"size": [1, 2], "rate": 10**400}}, r"Outer\.inner\.rate: expected a finite number"),
        ({"inner": None}, r"Outer\.inner: expected an object with named fields, found NoneType"),
        ({"limit": "7" * 9999}, r"^Outer\.limit: expected int, found .{60,100}$"),
        ({"n" * 9999: 1}, r"^Outer: unknown .{60,100} Known: [a-z, ]{1,90}\.$"),
        ({"table": {"n" * 9999: "high"}}, r"^Outer\.table\..{60,100}: expected float"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change, place):
    with pytest.raises(InputError, match=place):
        from_json(Outer, {"name": "x", **change})


def test_missing_name():
    with pytest.raises(InputError, match="Outer: name is missing"):
        from_json(Outer, {})


def test_cards_and_jobs_round_trip():
    plan = Plan(
        2, (Channel("T2", "CT", Normalization("window", -100.0, 300.0, 50.0, 80.0)),), (5.0, 1, 1), (1, 64, 64), 0
    )
    card = Card("pretrained", "macl", NetworkSpec("unet", 2, 1, {"widths": [4, 8]}), plan)
    assert from_json(Card, json.loads(json.dumps(to_json(card)))) == card
    required = {
        "pretrain": {"images": ["a"], "output": "b"},
        "finetune": {"images": ["a"], "output": "b", "checkpoint": "c"},
        "segment": {"checkpoint": "a", "input": ["b"], "output": "c"},
        "evaluate": {"predictions": "a", "references": "b", "output": "c"},
        "rank": {"checkpoint": "a", "input": ["b"]},
        "quality": {"input": ["a"], "segmentations": "b"},
        "preview": {"image": ["a"], "labels": "b", "output": "c"},
        "export": {"segmentation": "a", "series": "b", "checkpoint": "c", "output": "d"},
        "import": {"file": "a", "source": "macl", "output": "b"},
        "models": {},
    }
    for kind, job in JOBS.items():
        made = from_json(job, required[kind])
        assert from_json(job, json.loads(json.dumps(to_json(made)))) == made

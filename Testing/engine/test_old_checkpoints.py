"""Checkpoints, jobs and settings written before version 0.2, with British names, mean what they meant."""

import gzip
import json
import struct
from pathlib import Path

import pytest
import torch

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import CARD_KEY, read_card
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.serialization import american, from_json, to_json
from contrastiveseg.training.finetune import finetune

#: The header of the starter that shipped with 0.1, as it was: its card, and its tensors' names, shapes and places.
HEADER = Path(__file__).parent / "data" / "starter-0.1.header.json.gz"

#: Names of fields as they were, and as they are.
RENAMED = {
    "labelled": "labeled",
    "unlabelled": "unlabeled",
    "unlabelled_from": "unlabeled_from",
    "optimiser": "optimizer",
    "optimisation": "optimization",
    "licence": "license",
    "colour": "color",
    "normalisation": "normalization",
}


@pytest.fixture
def old_starter(tmp_path: Path) -> Path:
    """A file with the header of the old starter; its weights are small random numbers."""
    header = gzip.decompress(HEADER.read_bytes())
    tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
    assert {entry["dtype"] for entry in tensors} == {"F32"}
    count = max(entry["data_offsets"][1] for entry in tensors) // 4
    weights = torch.randn(count, generator=torch.Generator().manual_seed(0)) / 20
    path = tmp_path / "starter.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + weights.numpy().astype("<f4").tobytes())
    return path


def test_the_starter_of_0_1_is_read_with_all_that_its_card_says(old_starter):
    card, weights = load(old_starter)
    assert (card.schema, card.kind, card.method) == (1, "pretrained", "macl")
    assert card.transferred == ("encoder", "decoder.0")
    assert card.plan.channels[0].normalization.scheme == "zscore"
    assert card.provenance.license == "Apache-2.0"
    assert (card.provenance.case_count, len(card.provenance.cases)) == (320, 320)
    assert card.network.arguments["widths"] == [16, 32, 64, 128]
    assert len(weights) == len(json.loads(gzip.decompress(HEADER.read_bytes()))) - 1


def test_the_starter_of_0_1_can_be_fine_tuned(old_starter, dataset, tmp_path):
    output = tmp_path / "organs.safetensors"
    job = FinetuneJob(
        checkpoint=str(old_starter), images=(str(dataset),), output=str(output), steps=1, precision="32", threads=1
    )
    finetune(job)
    assert read_card(output).provenance.base_method == "macl"


def test_a_segmenter_of_0_1_keeps_its_labels_and_colors(segmenter, tmp_path):
    card, weights = load(segmenter)
    data = to_json(card)
    data["schema"] = 1
    for label in data["labels"]:
        label["colour"] = [1, 2, 3]
        del label["color"]
    data["provenance"]["optimisation"] = data["provenance"].pop("optimization")
    data["provenance"]["licence"] = "CC-BY-4.0"
    del data["provenance"]["license"]
    path = tmp_path / "old.safetensors"
    save(path, weights, card)
    _replace_card(path, data)
    old = read_card(path)
    assert {label.color for label in old.labels} == {(1, 2, 3)}
    assert old.provenance.license == "CC-BY-4.0"
    assert old.provenance.optimization == card.provenance.optimization


def _replace_card(path: Path, data: dict) -> None:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"][CARD_KEY] = json.dumps(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def test_a_job_with_british_names_is_the_same_job():
    common = {"checkpoint": "none", "images": ["a"], "output": "b.safetensors"}
    old = from_json(FinetuneJob, {**common, "unlabelled": ["c"], "optimiser": "sgd", "licence": "MIT"})
    new = from_json(FinetuneJob, {**common, "unlabeled": ["c"], "optimizer": "sgd", "license": "MIT"})
    assert old == new
    assert (new.unlabeled, new.optimizer, new.license) == (("c",), "sgd", "MIT")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"optimiser": "magic"}, r"FinetuneJob\.optimiser: 'magic'"),
        ({"unlabelled": [""]}, r"FinetuneJob\.unlabelled is empty"),
        ({"colours": 3}, "unknown colours"),
    ],
)
def test_a_value_is_refused_by_the_name_that_was_given(given, says):
    with pytest.raises(InputError, match=says):
        from_json(FinetuneJob, {"images": ["a"], "output": "b.safetensors", "checkpoint": "none", **given})


@pytest.mark.parametrize(("british", "today"), RENAMED.items())
def test_every_renamed_field_has_its_name_of_today(british, today):
    assert american(british) == today
    assert american(today) == today

"""The checkpoint file: what is written comes back bit for bit, and nothing else is taken for one."""

import json
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from contrastiveseg.checkpoints.card import SCHEMA, Card, Label, Provenance, TrainingCase
from contrastiveseg.checkpoints.describe import card_rows, describe
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import CARD_KEY, digest, read_card
from contrastiveseg.errors import InputError
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.serialization import to_json

CARD = Card(
    "segmenter",
    "supervised",
    NetworkSpec("unet", 3, 2, {"widths": [4, 8]}),
    Plan(
        3,
        (Channel("CT", "CT", Normalization("window", -160.0, 240.0, 40.5, 77.25)), Channel()),
        (3, 0.7, 0.7),
        (8, 16, 16),
    ),
    {"batch": 4},
    (Label(1, "liver", (200, 100, 0), "SCT^1"), Label(7, "Milz äöü")),
    one_piece=(1,),
    provenance=Provenance(
        "ab" * 32,
        "macl",
        (TrainingCase("c1", "00", True),),
        1,
        100,
        3,
        2.5,
        scores={"held_out_dice": 0.91},
        citation="Zeng",
    ),
)


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shared = torch.randn(4, 3)
    strange = torch.tensor([torch.finfo(torch.float32).max, -0.0, 1e-45])
    return {
        "head.weight": torch.randn(2, 3, 1, 1, 1),
        "backbone.a": shared,
        "backbone.b": shared.T,
        "backbone.half": torch.randn(5).bfloat16(),
        "backbone.count": torch.tensor(7),
        "backbone.strange": strange,
    }


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "c.safetensors", tensors(), CARD)
    return tmp_path / "c.safetensors"


def with_card(path, card) -> None:
    text = card if isinstance(card, str) else json.dumps(card)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {CARD_KEY: text})


def test_round_trip_bit_for_bit(path):
    card, found = load(path)
    assert card == replace(CARD, checksum=card.checksum)
    assert read_card(path) == card
    expected = tensors()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert bits(found[name]) == bits(tensor)


def test_weights_that_a_copy_changed_are_noticed(path):
    """One bit makes another finite number of a weight, which nothing else tells."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    with pytest.raises(InputError, match="the weights are damaged"):
        load(path)
    # Cards of earlier versions have no checksum.
    old = to_json(CARD)
    del old["checksum"]
    with_card(path, old)
    assert load(path)[0] == CARD


def test_saving_again_gives_the_same_bytes(path, tmp_path):
    save(tmp_path / "again.safetensors", tensors(), CARD)
    assert digest(path) == digest(tmp_path / "again.safetensors")
    assert len(digest(path)) == 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c | {"color": 1}, "unknown color"),
        (lambda c: {k: v for k, v in c.items() if k != "schema"}, "no schema number"),
        (lambda c: c | {"schema": SCHEMA + 1}, f"newer ContrastiveSeg .schema {SCHEMA + 1}"),
        (lambda c: c | {"schema": SCHEMA + 1, "color": 1}, "newer ContrastiveSeg"),
        (lambda c: c | {"kind": "teacher"}, "card.kind: 'teacher' is not one of"),
        (lambda c: [c], "no schema number"),
        (lambda c: "{", "card cannot be read"),
        (lambda c: "[" * 200_000, "card cannot be read"),
    ],
)
def test_cards_refused(tmp_path, change, words):
    with_card(tmp_path / "c.safetensors", change(to_json(CARD)))
    for read in (read_card, load):
        with pytest.raises(InputError, match=words):
            read(tmp_path / "c.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(tmp_path, value, dtype):
    save(tmp_path / "c.safetensors", tensors() | {"head.bias": torch.tensor([0.0, value]).to(dtype)}, CARD)
    with pytest.raises(InputError, match=r"values that are not numbers \(head\.bias\)"):
        load(tmp_path / "c.safetensors")


@pytest.mark.parametrize("widths", [[2**15, 2**15], [64] * 20_000])
def test_a_network_far_larger_than_its_weights_is_not_built(tmp_path, widths):
    strides = [[2, 2, 2]] * (len(widths) - 1)
    network = NetworkSpec("unet", 3, 2, {"widths": widths, "strides": strides, "kernels": [[3, 3, 3]] * len(widths)})
    save(tmp_path / "c.safetensors", tensors(), replace(CARD, network=network))
    with pytest.raises(InputError, match=r"names a network of more than \d+ parameters, and the file holds"):
        load(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("plan", {"spacing": [3, 0, 0.7]}, "spacing must be above 0"),
        ("plan", {"spacing": [3, float("nan"), 0.7]}, r"spacing\[1\]: expected a finite number"),
        ("plan", {"patch": [8, 0, 16]}, "patch must be 1 or more"),
        ("plan", {"slice_axis": 3}, "slice_axis must be 0, 1 or 2"),
        ("plan", {"dimensions": 2}, "differ in their dimensions"),
        ("plan", {"channels": []}, "channels is empty"),
        ("plan", {"channels": [{}]}, "differ in their number of channels"),
        ("plan", {"channels": [{}, {"normalization": {"low": 2.0}}]}, "low is above its high"),
        ("plan", {"channels": [{}, {"normalization": {"mean": float("inf")}}]}, "mean: expected a finite number"),
        ("plan", {"conventions": {"overlap": 0.999999}}, "overlap must be from 0 to 0.95"),
        ("labels", [{"value": 0, "name": "a"}], "must be 1 to 65535"),
        ("labels", [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}], "the same value"),
        ("labels", [{"value": n + 1, "name": str(n)} for n in range(256)], "at most 255 labels"),
        ("one_piece", [1, 2], "one_piece names a value that no label has"),
    ],
)
def test_cards_that_contradict_themselves_are_refused(tmp_path, part, change, words):
    card = to_json(CARD)
    with_card(tmp_path / "c.safetensors", card | {part: card[part] | change if part == "plan" else change})
    with pytest.raises(InputError, match=rf"c\.safetensors: card.*{words}"):
        read_card(tmp_path / "c.safetensors")


def header(data) -> bytes:
    text = json.dumps(data).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"not a checkpoint, or is truncated \(0 bytes\)"),
        (b"\x08", "truncated"),
        (b"\xff" * 100, "not a checkpoint"),
        (b"\x10" + bytes(7) + b"this is no JSON.", "header cannot be read"),
        pytest.param(struct.pack("<Q", 200_000) + b"[" * 200_000, "header cannot be read", id="nested too deep"),
        (header([1, 2]), "header cannot be read"),
        (header({"a": 3}), "header cannot be read"),
        (header({"a": {"dtype": "F32", "shape": [1]}}), "header cannot be read"),
        (header({"__metadata__": None}), "header cannot be read"),
        (header({"__metadata__": {CARD_KEY: 5}}), "card cannot be read"),
        (header({"__metadata__": {CARD_KEY: [{}]}}), "card cannot be read"),
        (header({"__metadata__": {CARD_KEY: {"schema": SCHEMA}}}), "card cannot be read"),
    ],
)
def test_files_of_another_kind(tmp_path, content, words):
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_card(path)


@pytest.mark.parametrize("left", [7, 100, -1])
def test_truncated(path, left):
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.raises(InputError, match="truncated"):
        load(path)


def test_too_long(path):
    path.write_bytes(path.read_bytes() + b"\n\n\n")
    with pytest.raises(InputError, match="3 bytes follow that do not belong to it"):
        load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_opened(tmp_path, zipped):
    path = tmp_path / "model.pth"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"pickled PyTorch file.*contrastiveseg import"):
        load(path)


def test_a_foreign_safetensors_file(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="carries no ContrastiveSeg card"):
        load(tmp_path / "f.safetensors")


def test_nothing_there(tmp_path):
    for place in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(InputError, match="There is no checkpoint at"):
            read_card(place)
    # A results folder of nnU-Net is given as if it were a checkpoint.
    with pytest.raises(InputError, match="contrastiveseg import"):
        read_card(tmp_path)


def test_cards_are_read_without_torch(path):
    code = (
        "import sys; from pathlib import Path; from contrastiveseg.checkpoints.header import read_card;"
        "from contrastiveseg.checkpoints.describe import describe; from contrastiveseg.cli import main;"
        f"describe(read_card(Path({str(path)!r}))); assert main(['inspect', {str(path)!r}]) == 0;"
        "assert not {'torch', 'monai', 'numpy', 'SimpleITK', 'safetensors'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "liver" in found.stdout


def test_description_of_a_segmenter():
    told = describe(CARD)
    for words in (
        "ready to segment",
        "network      unet, 3D\n",
        "architecture widths [4, 8]",
        "2 channels, CT (CT) + image (any), voxels of 0.7 x 0.7 x 3 mm",
        "CT: window; image: zscore",
        "8 x 16 x 16 voxels (z, y, x)",
        "label        1 liver, in one piece",
        "label        7 Milz äöü",
        "held out dice 0.9100",
        "macl checkpoint abababababab",
        "1 labeled and 0 unlabeled volumes, 100 steps, 2.5 min, seed 3",
        "cite         Zeng",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("kept", "said"),
    [("best", "best: those that scored best"), ("average", "average: the mean"), ("imported", "imported")],
)
def test_the_card_says_which_weights_are_kept(kept, said):
    assert f"weights      {said}" in describe(replace(CARD, provenance=replace(CARD.provenance, kept=kept)))


def test_a_description_gives_a_terminal_no_orders():
    label = Label(1, "li\x1b[2Jver\nscore\tall\u202e\ud800")
    told = describe(replace(CARD, labels=(label,), method="a\r\x9bb"))
    assert "label        1 li?[2Jver score all??" in told
    assert "method       a ?b\n" in told
    assert all(line.isprintable() for line in told.split("\n"))


def test_description_of_a_segmenter_that_learned_from_unlabeled_volumes_too():
    cases = tuple(TrainingCase(str(i), "00", i == 0) for i in range(3))
    card = replace(CARD, provenance=replace(CARD.provenance, cases=cases, case_count=3))
    for kind in ("segmenter", "pretrained"):
        text = describe(replace(card, kind=kind))
        assert "trained on   1 labeled and 2 unlabeled volumes, 100 steps" in text


def test_rows_are_translated_before_their_values_are_filled_in():
    texts = []
    rows = dict(card_rows(CARD, lambda text: texts.append(text) or text.replace(" steps", " pas")))
    assert "100 pas" in rows["trained on"]
    assert not any("100" in text for text in texts)


def test_description_of_a_pre_trained_starter():
    plan = Plan(2, (Channel(),), (5.0, 1.0, 1.0), (1, 64, 64))
    told = describe(Card("pretrained", "macl", NetworkSpec("unet", 2, 1), plan, transferred=("encoder", "decoder.0")))
    for words in (
        "fine-tune it before it can segment",
        "2D",
        "follows your data",
        "encoder, decoder.0",
        "from         scratch",
    ):
        assert words in told
    assert "label " not in told


def test_what_is_printed_of_a_stranger_s_names(capsys):
    from contrastiveseg import events
    from contrastiveseg.terminal import watcher

    bad = "\x1b[2J\x9b31m\u202egnp\r\nlicense: free"
    say = watcher(False)
    say(events.warning(bad))
    say(events.log(bad))
    say(events.Error(bad, 2))
    say(events.StageStarted(events.Stage.LEAVE_OUT, bad))
    say(events.Progress(1, 1, None, "steps"))
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x9b\u202e\r")
    assert [line for line in (out + err).splitlines() if line.startswith("license")] == []
    assert out.count("license: free") == 2
    assert err.count("license: free") == 2

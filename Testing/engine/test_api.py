"""``import contrastiveseg``: light, documented by examples that run, and strict about what it is given."""

import ast
import dataclasses
import doctest
import inspect
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import contrastiveseg as cs
from contrastiveseg import api
from contrastiveseg.descriptions import JOBS, FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.events import Log, StageStarted
from contrastiveseg.methods import registry as methods
from contrastiveseg.networks import registry as backbones
from contrastiveseg.parameters import parameters_of
from contrastiveseg.remote.near import Host
from contrastiveseg.volumes.reading import read_labels, read_volume

HEAVY = ("torch", "monai", "SimpleITK", "numpy", "scipy", "safetensors", "tqdm")


@pytest.fixture
def folder(dataset, segmenter, tmp_path, monkeypatch) -> Path:
    """The folder that examples run in, with scans/ and organs.safetensors; what they register is gone afterwards."""
    for registry in (methods._METHODS, backbones._BACKBONES):
        monkeypatch.setattr(registry, "entries", dict(registry.all()))
    shutil.copytree(dataset, tmp_path / "scans")
    shutil.copy(segmenter, tmp_path / "organs.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["", *cs.__all__])
def test_every_public_name_is_explained_by_an_example_that_runs(name, folder):
    text = inspect.getdoc(getattr(cs, name) if name else cs) or ""
    example = doctest.DocTestParser().get_doctest(text, {"__name__": "example"}, name or "contrastiveseg", None, None)
    assert example.examples
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(example, out=output.append).failed == 0, "".join(output)


@pytest.mark.parametrize(
    "code",
    [
        "import contrastiveseg as cs",
        "import contrastiveseg as cs; dir(cs); cs.finetune; cs.starter(); cs.starters(); cs.InputError",
        "import contrastiveseg as cs; cs.inspect('starter:macl-3d-tiny')",
        "from contrastiveseg import finetune, pretrain, segment, Card",
    ],
)
def test_the_import_and_what_needs_no_torch_load_nothing_heavy(code):
    check = f"import sys; {code}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_import_alone_loads_no_other_module_of_the_package():
    code = "import sys, contrastiveseg; print(*[m for m in sys.modules if m.startswith('contrastiveseg')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["contrastiveseg"]


def test_type_checkers_see_what_is_exported():
    tree = ast.parse(Path(cs.__file__).read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: cs._HOMES.get(name, "api") for name in cs.__all__}
    assert set(cs.__all__) <= set(dir(cs))
    with pytest.raises(AttributeError, match="no attribute 'segmentt'"):
        _ = cs.segmentt


def test_weights_are_imported_with_the_options_of_the_job():
    parameters = inspect.signature(cs.import_checkpoint).parameters
    assert set(parameters) == {"path", *(f.name for f in dataclasses.fields(JOBS["import"]))} - {"file"}


@pytest.mark.parametrize("name", [kind for kind in JOBS if kind != "import"])
def test_a_job_function_has_the_signature_of_its_job(name):
    function = getattr(cs, name)
    parameters = inspect.signature(function).parameters
    fields = {f.name: f for f in dataclasses.fields(JOBS[name])}
    anywhere = {"host", "host_command"} if name in ("pretrain", "finetune", "segment") else set()
    assert set(parameters) == {*fields, *anywhere, "on_event", "progress", "cancelled"}
    assert all(f"{option}: " in function.__doc__ for option in anywhere)
    for field in fields.values():
        required = field.default is field.default_factory is dataclasses.MISSING
        assert (parameters[field.name].default is inspect.Parameter.empty) == required
    for parameter in parameters_of(JOBS[name]):
        assert f"{parameter.name}: {parameter.help}" in function.__doc__
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())


def test_options_may_be_paths_text_or_several(monkeypatch):
    jobs: list = []
    monkeypatch.setattr("contrastiveseg.jobs.run.run", lambda job, emit, cancelled: jobs.append(job))
    cs.segment(checkpoint=Path("c"), input="a", output=Path("o"))
    cs.segment(checkpoint="c", input=[Path("a")], output="o", mirror=True)
    assert jobs == [
        SegmentJob(checkpoint="c", input=("a",), output="o"),
        SegmentJob(checkpoint="c", input=("a",), output="o", mirror=True),
    ]
    for options, says in [
        ({"checkpoint": "c", "output": "o"}, "segment: input is missing"),
        ({"checkpoint": "c", "input": "a", "output": "o", "color": 1}, "segment: unknown color"),
        ({"checkpoint": "c", "inputs": "a", "output": "o"}, r"unknown inputs.* Did you mean input\?"),
        ({"checkpoint": "c", "input": "a", "output": 3}, "segment.output: expected str, found 3"),
        ({"checkpoint": "c", "input": "a", "output": "o", "cancelled": True}, "cancelled takes a function, not bool"),
        ({"checkpoint": "c", "input": "a", "output": "o", "on_event": "print"}, "on_event takes a function, not str"),
        ({"checkpoint": "c", "input": 3, "output": "o"}, "segment.input: expected a list, found 3"),
        ({"checkpoint": "c", "input": "a", "output": "o", "pieces": "some"}, "'some' is not one of"),
    ]:
        with pytest.raises(cs.InputError, match=says):
            cs.segment(**options)


def test_numbers_serve_where_a_text_may_be_one(monkeypatch):
    jobs: list = []
    monkeypatch.setattr("contrastiveseg.jobs.run.run", lambda job, emit, cancelled: jobs.append(job))
    given = {"images": "a", "output": "o", "checkpoint": "none"}
    cs.finetune(**given, validation=np.int64(2), resolution=1.5)
    assert jobs == [FinetuneJob(**given | {"images": ("a",)}, validation="2", resolution="1.5")]
    with pytest.raises(cs.InputError, match="validation: expected str, found True"):
        cs.finetune(**given, validation=True)


def test_a_job_is_done_on_the_machine_that_is_named(monkeypatch):
    asked: list = []
    monkeypatch.setattr("contrastiveseg.remote.near.run_on", lambda *given: asked.append(given[:2]))
    cs.segment(checkpoint="c", input="a", output="o", host="me@box")
    cs.pretrain(images="a", output="o", host="box", host_command="python -m contrastiveseg")
    assert asked == [
        (Host("me@box"), SegmentJob(checkpoint="c", input=("a",), output="o")),
        (Host("box", "python -m contrastiveseg"), PretrainJob(images=("a",), output="o")),
    ]
    with pytest.raises(cs.InputError, match="unknown host"):
        cs.rank(checkpoint="c", input="a", host="me@box")


def test_a_machine_that_is_not_named_is_none(tmp_path):
    with pytest.raises(cs.InputError, match="No machine is named"):
        cs.pretrain(images="a", output=tmp_path / "o.safetensors", host_command="python -m contrastiveseg")


def test_events_are_handed_on_and_warnings_logged(monkeypatch, caplog, capsys):
    def run(job, emit, cancelled):
        emit(Log("the volume is small", "warning"))
        assert cancelled() is stopped

    monkeypatch.setattr("contrastiveseg.jobs.run.run", run)
    stopped = False
    with caplog.at_level(logging.WARNING, "contrastiveseg"):
        cs.rank(checkpoint="c", input="a")
    assert [record.getMessage() for record in caplog.records] == ["the volume is small"]
    seen: list = []
    stopped = True
    cs.rank(checkpoint="c", input="a", on_event=seen.append, progress=True, cancelled=lambda: True)
    assert seen == [Log("the volume is small", "warning")]
    assert len(caplog.records) == 1
    assert "Warning: the volume is small" in capsys.readouterr().err


def test_a_job_runs_as_from_the_terminal(folder):
    events: list = []
    options = {"precision": "32", "threads": 1}
    cs.segment(
        checkpoint="organs.safetensors", input="scans/imagesTr", output="out/", on_event=events.append, **options
    )
    assert isinstance(events[0], StageStarted)
    labels = read_labels(folder / "out" / "synthetic_00000.nii.gz")
    predictor = cs.Predictor.open("organs.safetensors", "cpu", dtype=None)
    assert np.array_equal(predictor("scans/imagesTr/synthetic_00000.nii.gz").array, labels.array)


def test_a_predictor_takes_arrays_volumes_and_files_alike(folder):
    path = folder / "scans" / "imagesTr" / "synthetic_00001.nii.gz"
    predictor = cs.Predictor.open("organs.safetensors", "cpu", dtype=None)
    volume = read_volume(path)
    labels = predictor(path)
    assert labels.geometry == volume.geometry
    for given in ([str(path)], volume):
        assert np.array_equal(predictor(given).array, labels.array)
    for array in (volume.array, volume.array[0]):
        plain = cs.Volume.from_array(array, volume.geometry.spacing_zyx)
        assert np.array_equal(predictor(array, volume.geometry.spacing_zyx).array, predictor(plain).array)
    with pytest.raises(cs.InputError, match="A spacing is given with a NumPy array alone"):
        predictor("scan.nii.gz", spacing=(1, 1, 1))
    with pytest.raises(cs.InputError, match="not Tensor"):
        predictor(torch.from_numpy(volume.array), spacing=(1, 1, 1))
    with pytest.raises(cs.InputError, match="pieces is one of auto, all, largest, not 'larges'"):
        predictor(volume, pieces="larges")
    with pytest.raises(cs.InputError, match="Give their spacing"):
        predictor(volume.array)
    with pytest.raises(cs.InputError, match="was only pre-trained"):
        cs.Predictor.open("starter:macl-3d-tiny")
    with pytest.raises(cs.InputError, match="abacus"):
        cs.Predictor.open("organs.safetensors", "abacus")


@pytest.mark.parametrize(
    ("array", "spacing", "says"),
    [
        (np.zeros((4, 4)), (1, 1, 1), r"not float64 of shape \(4, 4\)"),
        (np.zeros((0, 4, 4)), (1, 1, 1), "of shape"),
        (np.zeros((4, 4, 4), complex), (1, 1, 1), "not complex128"),
        (np.array("scan"), (1, 1, 1), "not <U4"),
        (np.full((4, 4, 4), np.nan), (1, 1, 1), "NaN or infinity"),
        (np.full((4, 4, 4), -1e39), (1, 1, 1), "too large for numbers of 32 bits"),
        (np.zeros((4, 4, 4)), (1, 1), "three numbers above 0"),
        (np.zeros((4, 4, 4)), (1, 0, 1), "three numbers above 0"),
        (np.zeros((4, 4, 4)), (1, 1, np.inf), "three numbers above 0"),
    ],
)
def test_an_array_that_is_no_volume_is_refused(array, spacing, says):
    with pytest.raises(cs.InputError, match=says):
        cs.Volume.from_array(array, spacing)


def test_images_of_other_libraries_and_lists_are_refused_with_the_way_out(segmenter):
    predictor = cs.Predictor.open(segmenter)
    with pytest.raises(cs.InputError, match=r"not Tensor\. Give its file, or its voxels as an array"):
        predictor(torch.zeros(4, 4, 4), spacing=(1, 1, 1))
    with pytest.raises(cs.InputError, match="Of lists make an array"):
        predictor([[[0.0]]], spacing=(1, 1, 1))


def test_a_checkpoint_is_loaded_whole(segmenter):
    card, weights = cs.load_checkpoint(segmenter)
    assert card == cs.inspect(segmenter)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert api.load_checkpoint is cs.load_checkpoint

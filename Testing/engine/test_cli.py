"""The terminal: quick to answer, every option of every job, plain refusals, exit codes."""

import argparse
import dataclasses
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import types
import typing

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg import cli
from contrastiveseg.arguments import parser
from contrastiveseg.cli import main
from contrastiveseg.descriptions import JOBS, FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.errors import Cancelled
from contrastiveseg.jobs import run as runner
from contrastiveseg.results import Failure, SegmentResult
from contrastiveseg.serialization import to_json

REQUIRED = {
    "pretrain": ["--images", "a", "--output", "b"],
    "finetune": ["--checkpoint", "none", "--images", "a", "--output", "b"],
    "segment": ["--checkpoint", "c", "--input", "a", "--output", "b"],
    "evaluate": ["--predictions", "a", "--references", "b", "--output", "c"],
    "rank": ["--checkpoint", "c", "--input", "a"],
    "quality": ["--input", "a", "--segmentations", "b"],
    "import": ["a", "--from", "macl", "--output", "b"],
    "export": ["--segmentation", "a", "--series", "b", "--checkpoint", "c", "--output", "d"],
    "models": [],
    "preview": ["--image", "a", "--labels", "b", "--output", "c"],
}
#: What the formats of export that are not its default need.
TO_NNUNET = ["--to", "nnunet", "--images", "a", "--output", "d"]
EXPORTS: dict[str, list[str]] = dict.fromkeys(
    ("images", "labels", "label_table", "labeled_part", "background_label", "missing_structures"), TO_NNUNET
) | {"to": ["--checkpoint", "c", "--output", "d"]}
#: Fields whose flags are called otherwise.
FLAGS = {"source": "--from"}


def test_a_console_without_the_letters_of_a_name(tmp_path):
    command = [sys.executable, "-m", "contrastiveseg", "inspect", str(tmp_path / "Größe.safetensors")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert rb"Gr\xf6\xdfe.safetensors" in done.stderr


@pytest.fixture
def given(monkeypatch):
    """The jobs that the command line asks for, instead of doing them."""
    jobs: list = []

    def take(job, emit, cancelled):
        jobs.append(job)
        return {"written": ["x.nii.gz"], "failures": []}

    monkeypatch.setattr(runner, "run", take)
    return jobs


def test_help_is_quick_and_loads_nothing_heavy():
    times = []  # of the processor, which a busy machine does not change much
    for _ in range(3):
        start = sum(os.times()[2:4])
        subprocess.run([sys.executable, "-m", "contrastiveseg", "--help"], check=True, capture_output=True)
        times.append(sum(os.times()[2:4]) - start)
    assert min(times) < 0.25
    for command in ("--help", "segment --help", "--version"):
        code = (
            "import sys\nfrom contrastiveseg.cli import main\n"
            f"try: main({command.split()!r})\nexcept SystemExit as end: assert end.code == 0\n"
            "assert not {'torch', 'monai', 'SimpleITK', 'numpy', 'scipy', 'safetensors'} & set(sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def sample(job, name: str) -> tuple[list[str], object]:
    """Words to type for a field, and the value the job then has."""
    hint = typing.get_type_hints(job)[name]
    kinds = [k for k in typing.get_args(hint) if k is not type(None)]
    kind = kinds[0] if typing.get_origin(hint) in (typing.Union, types.UnionType) else hint
    if kind is bool:
        return [], True
    if typing.get_origin(kind) is typing.Literal:
        value = typing.get_args(kind)[-1]
        return [str(value)], value
    if typing.get_origin(kind) is tuple and float in typing.get_args(kind):
        return ["-1.5", "2", "0", "1", "-4", "-3"], (-1.5, 2.0, 0.0, 1.0, -4.0, -3.0)
    if typing.get_origin(kind) is tuple:
        return ["x", "y z"], ("x", "y z")
    if kind in (int, float):
        return ["3"], kind(3)
    return ["x"], "x"


@pytest.mark.parametrize(("kind", "name"), [(k, f.name) for k, j in JOBS.items() for f in dataclasses.fields(j)])
def test_every_field_of_every_job_has_a_flag(given, kind, name):
    job = JOBS[kind]
    if name == "settings":
        words = ["--set", "batch=2", "--set", "spatial.flip=0.5", "--set", "mode=axis", "--set", "size=[1, 2]"]
        value: object = {"batch": 2, "spatial.flip": 0.5, "mode": "axis", "size": [1, 2]}
    else:
        typed, value = sample(job, name)
        flag, required = FLAGS.get(name, "--" + name.rstrip("_").replace("_", "-")), required_for(kind, name)
        words = [flag, *typed]
        if isinstance(value, tuple) and flag in required:
            # A list goes on where its flag is repeated.
            value = (required[required.index(flag) + 1], *value)
    if name == "file":  # a word without a flag
        words, value = [], REQUIRED[kind][0]
    assert main([kind, *required_for(kind, name), *words]) == 0
    assert getattr(given[-1], name) == value


def required_for(kind: str, name: str) -> list[str]:
    return EXPORTS.get(name, REQUIRED[kind]) if kind == "export" else REQUIRED[kind]


def test_an_option_of_another_format_is_refused(capsys):
    for words, says in (
        ([*TO_NNUNET, "--series", "x"], "--series is not for nnunet."),
        ([*REQUIRED["export"], "--labeled-part", "slices"], "--labeled-part is not for dicom-seg."),
        (["--output", "x.dcm", "--segmentation", "y"], "--series is needed for dicom-seg."),
    ):
        assert main(["export", *words]) == 2
        assert says in capsys.readouterr().err


BRITISH = {"labeled": "labelled", "unlabeled": "unlabelled", "optimizer": "optimiser", "license": "licence"}


@pytest.mark.parametrize(
    ("kind", "name"), [(k, f.name) for k, j in JOBS.items() for f in dataclasses.fields(j) if f.name in BRITISH]
)
def test_british_options_are_taken_and_not_shown(given, kind, name, capsys):
    typed, value = sample(JOBS[kind], name)
    for words in ([f"--{BRITISH[name]}", *typed], [f"--{BRITISH[name]}={typed[0]}", *typed[1:]]):
        if len(typed) == 1 or "=" not in words[0]:
            assert main([kind, *REQUIRED[kind], *words]) == 0
            assert getattr(given[-1], name) == value
    with pytest.raises(SystemExit):
        main([kind, "--help"])
    assert BRITISH[name] not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["finetune", *REQUIRED["finetune"], "--optimiser", "magic"], "--optimiser: invalid choice"),
        (["evaluate", *REQUIRED["evaluate"], "--colour=red"], "unrecognized arguments: --colour=red"),
        (["sample-data", "--output", "x", "--labelled", "many"], "--labelled: invalid int"),
    ],
)
def test_an_option_is_refused_by_the_name_that_was_typed(words, says, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert says in capsys.readouterr().err


def test_a_value_is_refused_by_the_name_that_was_typed(capsys):
    assert main(["rank", *REQUIRED["rank"], "--labelled", ""]) == 2
    assert "--labelled is empty" in capsys.readouterr().err


def test_british_words_in_values_stay(given):
    main(["evaluate", "--predictions", "labelled", "--references=licence/labelled", "--output", "c"])
    assert (given[0].predictions, given[0].references) == ("labelled", "licence/labelled")


def test_what_a_job_refuses_is_an_event_too(capsys):
    assert main(["evaluate", *REQUIRED["evaluate"], "--csv", "", "--json"]) == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "error", "what": "--csv is empty. Is a variable not set?", "exit_code": 2}


def test_defaults_are_those_of_the_description(given):
    main(["pretrain", *REQUIRED["pretrain"]])
    main(["finetune", *REQUIRED["finetune"]])
    main(["segment", *REQUIRED["segment"]])
    assert given == [
        PretrainJob(images=("a",), output="b"),
        FinetuneJob(checkpoint="none", images=("a",), output="b"),
        SegmentJob(checkpoint="c", input=("a",), output="b"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["dance"],
        ["segment"],
        ["segment", "--checkpoint", "c"],
        ["segment", *REQUIRED["segment"], "--color", "red"],
        ["segment", *REQUIRED["segment"], "--precision", "16"],
        ["pretrain", *REQUIRED["pretrain"], "--steps", "many"],
        ["pretrain", *REQUIRED["pretrain"], "--dimensions", "4"],
        ["pretrain", *REQUIRED["pretrain"], "--set", "batch"],
        ["pretrain", *REQUIRED["pretrain"], "--set", "=2"],
        ["inspect"],
        ["inspect", ""],
        ["import", "", "--from", "macl", "--output", "b"],
        ["import", "a", "--output", "b"],
        ["sample-data", "--output", ""],
    ],
)
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: contrastiveseg" in capsys.readouterr().err


def test_what_the_jobs_refuse_is_wrong_usage_too(dataset, tmp_path, capsys):
    ready = ["pretrain", "--images", str(dataset), "--output", str(tmp_path / "c.safetensors")]
    for words, says in [
        (["--steps", "1", "--set", "nonsense=1"], "There is no setting 'nonsense'"),
        (["--steps", "1", "--set", "spatial.nonsense=1"], "There is no setting 'spatial.nonsense'"),
        (["--steps", "1", "--set", "temperature=warm"], "settings.temperature: expected float"),
        ([], "budget either in steps or in minutes"),
        (["--steps", "1", "--minutes", "1"], "budget either in steps or in minutes"),
        (["--minutes", "0"], "--minutes must be more than 0"),
        (["--steps", "1", "--method", "guess"], "no method 'guess' to pretrain with. There are:"),
        (["--steps", "1", "--network", "guess"], "There is no backbone 'guess'"),
        (["--steps", "1", "--device", "tpu"], "There is no device 'tpu'"),
        (["--steps", "1", "--device", "cuda:99"], "cuda:99 is asked for"),
        (["--steps", "1", "--output", str(tmp_path / "c.pth")], "ends in .safetensors"),
        (["--steps", "1", "--resume"], "nothing to resume"),
    ]:
        assert main([*ready, *words]) == 2, words
        assert says in capsys.readouterr().err
    assert not (tmp_path / "c.safetensors").exists()


def test_json_events(segmenter, image, tmp_path, capsys):
    given = ["segment", "--checkpoint", str(segmenter), "--input", str(image), "--output", str(tmp_path / "l.nrrd")]
    assert main([*given, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["name"] for e in events if e["event"] == "stage"] == ["import", "load", "segment"]
    assert events[-1]["event"] == "result"
    assert events[-1]["value"]["written"] == [str(tmp_path / "l.nrrd")]
    assert main([*given, "--json"]) == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("error", 2)
    assert "exists already" in last["what"]


def test_files_written_and_failures_are_told_and_some_failed_is_3(monkeypatch, capsys):
    failures = (Failure("c.nii.gz", "Bad."), Failure("d.nii.gz", "d.nii.gz is cut short."))
    result = SegmentResult(("a.nii.gz", "b.nii.gz"), failures, {}, {"total": 1.0}, 2**20)
    monkeypatch.setattr(runner, "run", lambda *_: result)
    assert main(["segment", *REQUIRED["segment"]]) == 3
    told = capsys.readouterr()
    assert told.out == "written: a.nii.gz\nwritten: b.nii.gz\npeak memory: 1 MiB\n"
    assert told.err == "Failed: c.nii.gz: Bad.\nFailed: d.nii.gz is cut short.\n"


def test_a_second_process_of_torchrun_is_silent_except_for_errors(given, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["segment", *REQUIRED["segment"]]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_the_first_and_the_last_step_with_the_time_left(dataset, tmp_path, capsys):
    given = ["--images", str(dataset), "--output", str(tmp_path / "c.safetensors"), "--steps", "2", "--threads", "1"]
    assert main(["finetune", "--checkpoint", "none", *given, "--precision", "32"]) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("train: ")]
    assert [x.split(",")[0] for x in lines] == ["train: 1/2 steps", "train: 2/2 steps"]
    assert all(" s left, loss " in x for x in lines)


def test_a_log_gets_a_line_every_few_seconds_in_numbers_people_read(monkeypatch, capsys):
    from contrastiveseg import events, terminal

    clock = iter(range(100))
    monkeypatch.setattr(terminal, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    log = terminal._Lines()
    log(events.StageStarted(events.Stage.TRAIN))
    for done in range(1, 9):
        log(events.Metric("loss", done, 0.5))
        log(events.Progress(done * 1.03125, 8, 60.0 * (8 - done), "seconds"))
    log(events.Progress(8.25, 8, -0.3, "seconds"))
    log(events.Metric("validation_dice", 8, 0.75))
    log(events.StageStarted(events.Stage.SCORE))
    log(events.Progress(9, 8, -1.0, "cases"))
    log(events.Result({"peak_memory": 3 * 2**20, "dice": 0.123456789}))
    assert capsys.readouterr().out.splitlines() == [
        "train: 1/8 seconds, 7 min left, loss 0.5",
        "train: 6.2/8 seconds, 2 min left, loss 0.5",
        "train: 8.2/8 seconds, 0 s left, loss 0.5",
        "train: validation_dice 0.7500 at step 8",
        "score: 9/8 cases, 0 s left",
        "peak memory: 3 MiB",
        "dice: 0.1235",
    ]


def test_what_takes_time_and_counts_nothing_is_told_as_it_begins(monkeypatch, capsys):
    from contrastiveseg import events, terminal

    for watch in (terminal._Lines(), terminal._Bars()):
        for loaded, said in (({}, ["Loading the libraries ..."]), ({"torch": None}, [])):
            monkeypatch.setattr(terminal, "sys", types.SimpleNamespace(modules=loaded, stderr=sys.stderr))
            watch(events.StageStarted(events.Stage.IMPORT))
            for stage in (events.Stage.LOAD, events.Stage.PLAN, events.Stage.EXPORT, events.Stage.TRAIN):
                watch(events.StageStarted(stage))
            told = capsys.readouterr()
            said = [*said, "Loading the model ...", "Looking at the volumes ...", "Writing the files ..."]
            assert (told.out, told.err.splitlines()) == ("", said)


def test_being_stopped_is_not_told_as_an_error(monkeypatch, capsys):
    def stop(*_):
        raise Cancelled("Stopped after 3 steps.")

    monkeypatch.setattr(runner, "run", stop)
    assert main(["segment", *REQUIRED["segment"]]) == 130
    assert capsys.readouterr().err == "Stopped after 3 steps.\n"


def test_bars_on_a_terminal(capsys):
    from contrastiveseg import events
    from contrastiveseg.terminal import _Bars

    bars, made = _Bars(), []
    bars._make = lambda **given: (
        made.append(given)
        or types.SimpleNamespace(
            n=0, update=lambda n: made.append(n), close=lambda: made.append("closed"), set_postfix=lambda *_, **__: None
        )
    )
    progress = events.ProgressMeter(bars, 4, "steps")
    bars(events.StageStarted(events.Stage.TRAIN))
    progress(1)
    bars(events.Metric("loss", 1, 0.5))
    progress(2)
    bars(events.log("half way"))
    assert made == [{"total": 4, "desc": "train", "unit": "steps", "leave": False}, 1, 2, "closed"]
    assert capsys.readouterr().out == "half way\n"


def test_interrupting_is_130_and_keeps_what_is_resumable(dataset, tmp_path):
    output = tmp_path / "c.safetensors"
    command = [sys.executable, "-m", "contrastiveseg", "pretrain", "--images", str(dataset), "--output", str(output)]
    command += ["--steps", "100000", "--precision", "32", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("train: 1/"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Stopping; once more to stop at once." in errors
    assert "--resume goes on" in errors
    assert output.exists()
    assert output.with_name("c.safetensors.resume").exists()


def test_handlers_are_given_back(given):
    before = signal.getsignal(signal.SIGINT)
    main(["segment", *REQUIRED["segment"]])
    assert signal.getsignal(signal.SIGINT) is before


def test_methods_are_listed_with_their_settings(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    for words in ("pretrain --method macl", "finetune --method supervised", "Cite: Zeng", "methods NAME"):
        assert words in said


def test_a_method_is_shown_with_all_its_parameters(capsys):
    assert main(["methods", "ideal"]) == 0
    said = capsys.readouterr().out
    for words in (
        "pretrain --method ideal",
        "finetune --method ideal",
        "  temperature = 0.2  (more than 0)\n      temperature of the contrast. DenseCL\n",
        '  match = "features"  (one of features, geometric)',
        "  radius = 0  (cells, 0 or more)",
        "  spatial.rotation = 15.0  (degrees, 0 or more)",
        "  intensity.blur.low = 0.5  (voxels, more than 0)",
        "  optimization.learning_rate = 0.002  (0 or more)\n      peak learning rate.\n",
        "  optimization.learning_rate = 0.006",
        "[R] reconstructed",
    ):
        assert words in said
    assert main(["methods", "ideal", "--json"]) == 0
    methods = json.loads(capsys.readouterr().out)
    assert [method["stage"] for method in methods] == ["finetune", "pretrain"]
    found = {p["name"]: p for p in methods[0]["parameters"]}["optimization.learning_rate"]
    assert (found["default"], found["bounds"]["at_least"], found["help"]) == (0.006, 0, "peak learning rate")
    assert main(["methods", "guess"]) == 2
    assert "There is no method 'guess'. There are: aligned," in capsys.readouterr().err


def test_inspect(pretrained, tmp_path, capsys):
    assert main(["inspect", str(pretrained)]) == 0
    assert "macl" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "none.safetensors")]) == 2
    assert "contrastiveseg inspect: There is no checkpoint at" in capsys.readouterr().err


def test_sample_data(tmp_path, monkeypatch, capsys):
    from contrastiveseg.synthetic import settings

    small = settings.SyntheticSettings(size=(8, 8, 8))
    monkeypatch.setattr(settings, "SyntheticSettings", lambda: small)
    assert main(["sample-data", "--output", str(tmp_path / "s"), "--cases", "3", "--labeled", "2", "--seed", "5"]) == 0
    assert sorted(p.name for p in (tmp_path / "s" / "imagesTr").iterdir()) == [
        f"synthetic_0000{i}.nii.gz" for i in (5, 6, 7)
    ]
    assert len(list((tmp_path / "s" / "labelsTr").iterdir())) == 2
    assert capsys.readouterr().out.splitlines() == [
        "synthesize: 0/3 volumes",
        "synthesize: 3/3 volumes, 0 s left",
        f"3 synthetic volumes in {tmp_path / 's'}",
    ]
    again = ["sample-data", "--output", str(tmp_path / "s")]
    for words, says in [
        (again, "holds a data set already. Choose another folder.\n"),
        ([*again[:2], str(tmp_path / "t"), "--cases", "1", "--labeled", "2"], "of which 2 are labeled"),
        ([*again[:2], str(tmp_path / "t"), "--seed", "-3"], "The seed must be 0 or more, not -3."),
    ]:
        assert main(words) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


def test_every_option_of_every_command_is_explained():
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(commands.choices) == {*JOBS, "far", "import", "inspect", "worker", "methods", "networks", "sample-data"}
    for name, command in commands.choices.items():
        assert command.description, name
        assert all(action.help for action in command._actions), name
        assert "(default: )" not in command.format_help()
    assert "same weights (from 0 to 4294967295; default: 0)" in " ".join(
        commands.choices["pretrain"].format_help().split()
    )


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--threads", "-1", "Error: --threads must be"),
        ("--threads", "0", "Error: --threads must be"),
        ("--threads", "1025", "Error: --threads must be"),
        ("--seed", "-1", "Error: --seed must be"),
        ("--seed", str(2**32), "Error: --seed must be"),
        ("--steps", "0", "Error: --steps must be"),
        ("--steps", "1" + "0" * 400, "Error: --steps must be"),
        ("--learning-rate", "-1", "Error: --learning-rate must be"),
        ("--learning-rate", "nan", "learning_rate: expected a finite number, found nan"),
        ("--learning-rate", "inf", "learning_rate: expected a finite number, found inf"),
    ],
)
def test_numbers_no_job_can_use_are_refused_before_any_work(option, value, told, dataset, tmp_path, capsys):
    words = ["pretrain", "--images", str(dataset), "--output", str(tmp_path / "c.safetensors"), "--steps", "1"]
    assert main([*words, option, value]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("c.safetensors*"))


@pytest.mark.parametrize("kind", REQUIRED)
def test_an_empty_path_is_not_taken_for_the_folder_one_stands_in(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for option in [word for word in REQUIRED[kind] if word.startswith("--")]:
        words = REQUIRED[kind].copy()
        words[words.index(option) + 1] = ""
        assert main([kind, *words]) == 2
        assert f"Error: {option} is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_fault_of_ours_ends_the_events_too(monkeypatch, capsys):
    def fail(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(runner, "run", fail)
    assert main(["segment", *REQUIRED["segment"], "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == {"event": "error", "what": "Unexpected ZeroDivisionError: oh.", "exit_code": 1}
    assert "Traceback" in told.err


def test_what_the_system_refuses_is_no_fault_of_ours(dataset, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    ready = ["pretrain", "--images", str(dataset), "--output", str(tmp_path / "c.safetensors"), "--steps", "1"]
    long = tmp_path / ("long" * 100)
    for words, says in [
        ([*ready, "--cache", str(tmp_path / "file")], "Error: "),
        (["sample-data", "--output", str(long)], "contrastiveseg sample-data: "),
        (["import", str(long), "--from", "macl", "--output", str(tmp_path / "c.safetensors")], "Error: "),
    ]:
        assert main(words) == 2
        said = capsys.readouterr().err
        assert says in said
        assert "Traceback" not in said

    def refused(*_):
        raise OSError(errno.ELOOP, "Too many levels of symbolic links", "a/b")

    monkeypatch.setattr(runner, "run", refused)
    assert main(["segment", *REQUIRED["segment"]]) == 2
    assert "Error: a/b: Too many levels of symbolic links. Check" in capsys.readouterr().err


def test_a_library_that_cannot_be_loaded_is_one(monkeypatch, capsys):
    def broken(*_):
        raise OSError("libcuda.so: cannot open shared object file")

    monkeypatch.setattr(runner, "run", broken)
    assert main(["segment", *REQUIRED["segment"]]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_other_commands_can_be_interrupted(monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._OTHERS, "methods", interrupted)
    assert main(["methods"]) == 130


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "contrastiveseg", "methods"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


@pytest.mark.parametrize(("words", "meant"), [([], False), (["--resume"], True), (["--resume", "auto"], "auto")])
def test_resume_is_a_switch_that_may_be_told_to_begin_where_there_is_nothing(given, words, meant):
    main(["pretrain", *REQUIRED["pretrain"], *words])
    assert given[0].resume == meant
    with pytest.raises(SystemExit):
        main(["pretrain", *REQUIRED["pretrain"], "--resume", "perhaps"])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_full_disk_under_the_log_ends_nothing(words):
    command = [sys.executable, "-c", TALKING, "segment", *REQUIRED["segment"], *words]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=full)
    assert process.returncode == 0


#: A job that says something, and ends well where it was not asked to stop.
TALKING = """
import sys
from contrastiveseg import cli, events
from contrastiveseg.errors import Cancelled
from contrastiveseg.results import SegmentResult
def run(job, emit, cancelled):
    for step in range(3000):
        emit(events.log("something"))
        emit(events.warning("or other"))
    if cancelled():
        raise Cancelled("Stopped with what there was.")
    return SegmentResult(("a.nii.gz",), (), {}, {}, 0)
sys.exit(cli.main(run=run))
"""


def test_who_reads_no_more_asks_a_job_to_stop_and_keep_what_it_has():
    command = [sys.executable, "-c", TALKING, "segment", *REQUIRED["segment"]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert "Stopped with what there was." in process.stderr.read()
    assert process.wait() != 0


def test_jobs_are_the_same_from_terminal_and_worker(given):
    from contrastiveseg.jobs.worker import job_from

    main(["finetune", *REQUIRED["finetune"], "--set", "batch=2", "--minutes", "2", "--compare-scratch"])
    assert job_from({"kind": "finetune", **json.loads(json.dumps(to_json(given[0])))}) == given[0]


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_result(closed):
    command = f"exec {shlex.quote(sys.executable)} -m contrastiveseg methods {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_job_does_not_need_its_streams(closed, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.eye(4, dtype=np.uint8)[None]), str(tmp_path / "a.nii.gz"))
    words = ["--predictions", tmp_path / "a.nii.gz", "--references", tmp_path / "a.nii.gz", "--output", tmp_path / "s"]
    command = shlex.join([sys.executable, "-m", "contrastiveseg", "evaluate", *map(str, words)])
    assert subprocess.run(f"exec {command} {closed}", shell=True).returncode == 0
    assert json.loads((tmp_path / "s").read_text())

"""Options of the command line: every field has one, old spellings are taken, and what is wrong is refused as typed."""

import argparse
import dataclasses
import types
import typing

import pytest
from test_cli import EXPORTS, REQUIRED, TO_NNUNET

from contrastiveseg.arguments import parser
from contrastiveseg.cli import main
from contrastiveseg.descriptions import JOBS, FinetuneJob, PretrainJob, SegmentJob

#: Fields whose flags are called otherwise.
FLAGS = {"source": "--from"}


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["finetune", *REQUIRED["finetune"], "--epochs", "5"],
            "finetune: error: unrecognized arguments: --epochs 5.",
        ),
        (["segment", *REQUIRED["segment"], "--mirorr"], "unrecognized arguments: --mirorr. Did you mean --mirror? All"),
        (["evaluate", *REQUIRED["evaluate"], "c"], "evaluate: error: unrecognized arguments: c. All options: contrast"),
    ],
)
def test_words_that_a_command_does_not_know_are_refused_by_that_command(words, said, capsys):
    with pytest.raises(SystemExit):
        main(words)
    told = capsys.readouterr().err
    assert told.startswith(f"usage: contrastiveseg {words[0]} ")
    assert said in told
    assert told.rstrip().endswith(f"contrastiveseg {words[0]} --help")


def test_the_commands_that_there_are_do_not_name_the_one_that_nobody_types(capsys):
    with pytest.raises(SystemExit):
        main(["predict"])
    told = capsys.readouterr().err
    assert "sample-data" in told
    assert "far" not in told


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


def test_a_tilde_that_the_shell_has_left_is_the_home_folder(given, tmp_path, monkeypatch):
    """As shells do behind --output=: a folder named ~ would be made, and removing it is dangerous."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~mine").mkdir()
    words = ["--checkpoint", "a", "--input", "~/in", "~mine", "--output=~/out/", "--timings", "b~"]
    assert main(["segment", *words]) == 0
    (job,) = given
    home = str(tmp_path / "home")
    assert (job.input, job.output, job.timings) == ((f"{home}/in", "~mine"), f"{home}/out/", "b~")


@pytest.mark.parametrize(("words", "meant"), [([], False), (["--resume"], True), (["--resume", "auto"], "auto")])
def test_resume_is_a_switch_that_may_be_told_to_begin_where_there_is_nothing(given, words, meant):
    main(["pretrain", *REQUIRED["pretrain"], *words])
    assert given[0].resume == meant
    with pytest.raises(SystemExit):
        main(["pretrain", *REQUIRED["pretrain"], "--resume", "perhaps"])

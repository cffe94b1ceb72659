"""The terminal: quick to answer, every option of every job, plain refusals, exit codes."""

import errno
import json
import os
import signal
import subprocess
import sys
import types

from contrastiveseg import cli
from contrastiveseg.cli import main
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


def test_what_a_job_refuses_is_an_event_too(capsys):
    assert main(["evaluate", *REQUIRED["evaluate"], "--csv", "", "--json"]) == 2
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "error", "what": "--csv is empty. Is a variable not set?", "exit_code": 2}


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


def test_jobs_are_the_same_from_terminal_and_worker(given):
    from contrastiveseg.jobs.worker import job_from

    main(["finetune", *REQUIRED["finetune"], "--set", "batch=2", "--minutes", "2", "--compare-scratch"])
    assert job_from({"kind": "finetune", **json.loads(json.dumps(to_json(given[0])))}) == given[0]

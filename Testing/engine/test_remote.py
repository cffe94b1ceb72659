"""Jobs on another machine: the same files as here, a connection that may break, and what is not there is said."""

import json
import os
import shutil
import socket
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from fake_ssh import COMMAND, OtherMachine

from contrastiveseg.checkpoints.format import load
from contrastiveseg.cli import main
from contrastiveseg.descriptions import EvaluateJob, FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Log, Metric, Progress, StageStarted
from contrastiveseg.jobs.run import run
from contrastiveseg.remote import near
from contrastiveseg.remote.far import far
from contrastiveseg.remote.near import Host, LostConnection, run_on, serve_on
from contrastiveseg.remote.packing import pack, place_here
from contrastiveseg.results import SegmentResult
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.dataset_json import declared_channels
from contrastiveseg.volumes.declared_labels import declared_labels
from contrastiveseg.volumes.reading import read_volume

HOST = Host("me@box", COMMAND)
COMMON = {"precision": "32", "threads": 1}


@pytest.fixture
def box(tmp_path, monkeypatch):
    machine = OtherMachine(tmp_path / "box")
    monkeypatch.setenv("PATH", f"{machine.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(near, "_AGAIN", (0.0, 0.0))
    return machine


@pytest.fixture
def job(segmenter, dataset, tmp_path):
    return SegmentJob(
        checkpoint=str(segmenter), input=(str(dataset / "imagesTr"),), output=str(tmp_path / "there"), **COMMON
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def told(said):
    return " ".join(event.text for event in said if isinstance(event, Log))


def test_a_batch_is_segmented_as_here_and_fails_as_here(box, job, tmp_path):
    said: list = []
    result = run_on(HOST, job, said.append, lambda: False)
    here = run(replace(job, output=str(tmp_path / "here")))
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert [path.replace("/there/", "/here/") for path in result.written] == list(here.written)
    assert {type(event) for event in said} >= {Progress, StageStarted, Log}
    assert "5 files go to me@box" in told(said)
    assert list(box.jobs.iterdir()) == []
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    broken = replace(job, input=(str(tmp_path / "broken.nii.gz"),), output=str(tmp_path / "other"))
    with pytest.raises(InputError, match=rf"{tmp_path}/broken\.nii\.gz is not an image"):
        run_on(HOST, broken, said.append, lambda: False)
    assert "1 files go to me@box (0.0 MB); 1 are there already" in told(said)
    assert list(box.jobs.iterdir()) == []
    assert [call.split(" far ")[1].split()[0] for call in box.calls()] == ["receive", "watch"] * 2


def test_a_training_has_the_weights_it_would_have_here(box, dataset, tmp_path):
    job = FinetuneJob(
        checkpoint="none",
        images=(str(dataset),),
        output=str(tmp_path / "there" / "organs.safetensors"),
        steps=2,
        validation="1",
        report=str(tmp_path / "report.json"),
        **COMMON,
    )
    result = run_on(HOST, job, lambda event: None, lambda: False)
    run(replace(job, output=str(tmp_path / "here" / "organs.safetensors"), report=None))
    (card, weights), (expected, ours) = (load(tmp_path / where / "organs.safetensors") for where in ("there", "here"))
    assert card.labels == expected.labels
    assert all(np.array_equal(weights[name], ours[name]) for name in ours)
    assert result.checkpoint == job.output
    assert (tmp_path / "there" / "organs.safetensors.metrics.jsonl").is_file()
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "done"
    assert list(box.jobs.iterdir()) == []


def test_a_cancelled_training_keeps_what_it_has_there(box, dataset, tmp_path):
    job = PretrainJob(
        images=(str(dataset / "imagesTr"),),
        output=str(tmp_path / "base.safetensors"),
        method="macl",
        steps=100_000,
        **COMMON,
    )
    seen: list = []
    with pytest.raises(Cancelled, match="--resume"):
        run_on(HOST, job, seen.append, lambda: any(isinstance(e, Metric) for e in seen))
    assert list(box.jobs.glob("*/out/output/base.safetensors.resume"))
    assert (tmp_path / "base.safetensors.metrics.jsonl").is_file()
    other = pack(replace(job, output=str(tmp_path / "new" / "base.safetensors")))
    assert pack(replace(job, resume=True)).shaping == other.shaping


def test_a_job_outlives_its_connection(box, job, tmp_path):
    said: list = []
    box.switch("cut")
    with pytest.raises(LostConnection, match="start the same one again to watch it"):
        run_on(HOST, job, said.append, lambda: False)
    assert told(said).count("is lost. The job goes on there; connecting anew.") == 2
    assert not (tmp_path / "there").exists()
    box.switch("cut", False)
    box.switch("cut once")
    said.clear()
    result = run_on(HOST, job, said.append, lambda: False)
    assert "This job is on me@box already: it is watched." in told(said)
    assert told(said).count("connecting anew") == 1
    stages = [event.name for event in said if isinstance(event, StageStarted)]
    assert len(stages) == len(set(stages)) + 1  # loading here and there; nothing is told twice
    assert len(result.written) == len(contents(tmp_path / "there")) == 4
    assert list(box.jobs.iterdir()) == []


def test_a_watcher_may_leave_and_the_job_goes_on(box, dataset, tmp_path):
    output = tmp_path / "base.safetensors"
    job = PretrainJob(images=(str(dataset / "imagesTr"),), output=str(output), method="macl", steps=3, **COMMON)
    seen: list = []
    with pytest.raises(LostConnection, match="The job goes on there"):
        run_on(HOST, job, seen.append, lambda: False, lambda: any(isinstance(e, Metric) for e in seen))
    assert not output.exists()
    # As the panel's worker does, which may not ask for a password.
    named = {"name": HOST.name, "command": HOST.command}
    serve_on(named, job, seen.append, lambda: False, lambda: False)
    assert output.is_file()
    assert [event.step for event in seen if isinstance(event, Metric) and event.name == "loss"][-1] == 2
    typed = (box.folder / "typed").read_text().splitlines()
    assert ["BatchMode=yes" in words for words in typed] == [False, False, True, True]
    assert list(box.jobs.iterdir()) == []


def test_the_command_line_takes_a_host(monkeypatch, job):
    asked: list = []

    def run_there(host, given, emit, cancelled):
        asked.append((host, given))
        return SegmentResult((), (), {}, {}, 0)

    monkeypatch.setattr(near, "run_on", run_there)
    words = ["segment", "--checkpoint", job.checkpoint, "--input", *job.input, "--output", job.output, "--threads", "1"]
    words += ["--precision", "32"]
    assert main([*words, "--host", "me@box", "--host-command", "python -m contrastiveseg"]) == 0
    assert main([*words, "--host", "box"]) == 0
    assert asked == [(Host("me@box", "python -m contrastiveseg"), job), (Host("box"), job)]


def test_a_command_without_a_host_is_refused(job, capsys):
    words = ["segment", "--checkpoint", job.checkpoint, "--input", *job.input, "--output", job.output]
    assert main([*words, "--host-command", "python -m contrastiveseg"]) == InputError.exit_code
    assert "--host-command goes with --host" in capsys.readouterr().err


def answering(box, answer):
    """A contrastiveseg there that gives ``answer``."""
    script = box.folder / f"other{len(list(box.folder.iterdir()))}"
    script.write_text(f"#!/bin/sh\nread line\necho '{json.dumps(answer)}'\n")
    script.chmod(0o755)
    return Host("me@box", str(script))


def test_what_is_missing_there_is_said_with_what_to_type(box, job):
    install = r'ssh me@box "python3 -m pip install contrastiveseg=='
    for host, says in (
        (Host("me@box", "no-such-command"), rf"has no contrastiveseg .* as 'no-such-command'\. .*{install}"),
        (answering(box, {"version": "0.0.9", "missing_libraries": []}), rf"has contrastiveseg 0\.0\.9, .*{install}"),
        (answering(box, {"version": "0.1.0", "missing_libraries": ["torch"]}), rf"lacks torch\. .*{install}"),
        (answering(box, "hello"), "me@box says"),
        (Host("-oProxyCommand=touch x"), "--host takes a name as user@machine"),
    ):
        with pytest.raises(InputError, match=says):
            run_on(host, job, lambda event: None, lambda: False)
    box.switch("down")
    with pytest.raises(LostConnection, match=r"cannot be reached: ssh: connect .* refused\. Try: ssh me@box"):
        run_on(HOST, job, lambda event: None, lambda: False)


def test_what_has_no_meaning_there_is_refused(box, job, dataset, tmp_path):
    labels = str(dataset / "labelsTr")
    for refused, says in (
        (replace(job, continue_=True), "--continue does not go with --host"),
        (EvaluateJob(predictions=labels, references=labels, output="x.json"), "not for evaluate"),
        (replace(job, checkpoint=str(tmp_path / "none.safetensors")), "There is no checkpoint at"),
    ):
        with pytest.raises(InputError, match=says):
            run_on(HOST, refused, lambda event: None, lambda: False)
    assert not (box.folder / "calls").exists()


@pytest.mark.parametrize("starts", [("{file}",), ("scratch,{file}",), ("scratch, elsewhere.safetensors",)])
def test_files_to_compare_with_are_refused(starts, pretrained, dataset, tmp_path):
    starts = tuple(start.format(file=pretrained) for start in starts)
    job = FinetuneJob(compare=starts, images=(str(dataset),), output=str(tmp_path / "out.safetensors"))
    with pytest.raises(InputError, match="--compare takes starters and scratch"):
        pack(job)
    kept = ("scratch, starter:macl-3d-tiny", "none")
    assert pack(replace(job, compare=kept)).job["compare"] == list(kept)


def test_only_a_jobs_own_outputs_are_taken(tmp_path):
    outputs = {"out/output/": tmp_path / "maps", "out/report/r.json": tmp_path / "r.json"}
    assert place_here(outputs, "out/output/a.nii.gz") == tmp_path / "maps" / "a.nii.gz"
    assert place_here(outputs, "out/report/r.json") == tmp_path / "r.json"
    for there in ("out/output/../x", "out/output/..", "out/output/", "out/other/x", "/etc/x/y", "out/report/s.json"):
        assert place_here(outputs, there) is None
    training = {"out/output/a.safetensors": tmp_path / "b.safetensors"}
    curve = place_here(training, "out/output/a.safetensors.metrics.jsonl")
    assert curve == tmp_path / "b.safetensors.metrics.jsonl"


@pytest.mark.parametrize("words", [("receive", "../x"), ("erase", "0" * 32), ("watch", "0" * 31)])
def test_the_other_side_takes_no_other_requests(words):
    with pytest.raises(InputError, match="is for --host"):
        far(*words)


def test_files_that_would_lie_elsewhere_are_refused_there(box):
    request = {"version": "0.1.0", "job": {}, "files": {"in/../../x": "0" * 64}, "texts": {}}
    done = subprocess.run(
        [str(box.folder / "ssh"), "--", "me@box", f"{COMMAND} far receive {'0' * 32}"],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "damaged" in done.stderr) == (2, True)


def unpacked(packed, folder):
    for there, path in packed.files.items():
        (folder / there).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / there)
    for there, text in packed.texts.items():
        (folder / there).write_text(text)
    return folder


def test_cases_are_the_same_there(dataset, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(dataset, scans)
    entries = [
        {"image": f"imagesTr/synthetic_0000{n}.nii.gz", "label": f"labelsTr/synthetic_0000{n}.nii.gz"} for n in range(3)
    ]
    entries[0] |= {"labeled_part": "slices", "structures": ["kidney"]}
    del entries[2]["label"]
    described = json.loads((scans / "dataset.json").read_text())
    described = {"labels": {**described["labels"], "ignore": 9}, "modality": {"0": "CT"}, "training": entries}
    (scans / "dataset.json").write_text(json.dumps(described))
    job = FinetuneJob(
        checkpoint="none", images=(str(scans),), unlabeled=(str(dataset / "imagesTr"),), output=str(tmp_path / "a")
    )
    there = unpacked(pack(job), tmp_path / "box")
    packed = pack(job).job
    (images,) = packed["images"]
    here, theirs = find_cases([scans]), find_cases([there / images])
    assert [(c.name, c.labeling, c.labels is None) for c in theirs] == [
        (c.name, c.labeling, c.labels is None) for c in here
    ]
    assert [c.images[0].read_bytes() for c in theirs] == [c.images[0].read_bytes() for c in here]
    assert declared_labels([there / images]) == declared_labels([scans])
    assert declared_channels([there / images]) == ("CT",)
    unlabeled = find_cases([there / packed["unlabeled"][0]])
    assert [(case.labels, len(case.images)) for case in unlabeled] == [(None, 1)] * 4


def test_a_header_goes_there_with_all_files_of_its_voxels(job, tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    (tmp_path / "scan/slices").mkdir(parents=True)
    for number, voxels in enumerate(array):
        (tmp_path / f"scan/slices/{number}.raw").write_bytes(voxels.tobytes())
    header = tmp_path / "scan/a.mhd"
    header.write_text(
        "NDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"
        "ElementDataFile = slices/%d.raw 0 1 1\n"
    )
    packed = pack(replace(job, input=(str(header),), output=str(tmp_path / "a.nii.gz")))
    (case,) = find_cases([unpacked(packed, tmp_path / "box") / packed.job["input"][0]])
    np.testing.assert_array_equal(read_volume(case.images[0]).array[0], array)


def test_data_sets_stay_apart_and_labels_go_to_their_own(dataset, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    same = {"output": str(tmp_path / "a.safetensors"), "method": "mixcl"}
    job = PretrainJob(images=(str(dataset), str(other)), labels=(str(other),), **same)
    packed = pack(job)
    there = unpacked(packed, tmp_path / "box")
    assert packed.job["labels"] == packed.job["images"][1:]
    first, second = (find_cases([there / path]) for path in packed.job["images"])
    assert [sum(case.labels is not None for case in cases) for cases in (first, second)] == [0, 4]
    without = pack(replace(job, labels=()))
    there = unpacked(without, tmp_path / "empty")
    assert without.job["labels"] == []
    assert not any(case.labels for path in without.job["images"] for case in find_cases([there / path]))


def listening_sshd(folder):
    """An sshd on loopback that takes a key made for it, and the ssh that has the key; the test is skipped without."""
    sshd, keygen, ssh = (shutil.which(name, path="/usr/sbin:/usr/bin:/bin") for name in ("sshd", "ssh-keygen", "ssh"))
    if not (sshd and keygen and ssh):
        pytest.skip("needs OpenSSH's server, client and ssh-keygen")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPidFile none\n"
    )
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=subprocess.PIPE, text=True)
    said = next((line for line in server.stderr if "listening" in line or "Missing" in line or "fatal" in line), "")
    if "listening" not in said:
        server.kill()
        pytest.skip(f"sshd does not start here: {said.strip()}")
    known = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
    (folder / "known").write_text(known)
    (folder / "config").write_text(
        f"Host box\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known\n BatchMode yes\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F "{folder}/config" "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    return server, folder / "bin"


def test_over_a_real_ssh(job, tmp_path, monkeypatch):
    (tmp_path / "sshd").mkdir()
    server, programs = listening_sshd(tmp_path / "sshd")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    there = f"env XDG_CACHE_HOME={tmp_path}/cache PYTHONPATH={os.environ.get('PYTHONPATH', '')} {COMMAND}"
    try:
        result = run_on(Host("box", there), job, lambda event: None, lambda: False)
    finally:
        server.kill()
        server.wait()
    assert len(result.written) == len(contents(tmp_path / "there")) == 4
    assert list((tmp_path / "cache" / "contrastiveseg" / "far" / "jobs").iterdir()) == []

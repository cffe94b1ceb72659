"""Kills jobs at random moments and looks at what they leave: bash ci/torture --help

Every second kill comes within the first milliseconds of a random one of the files that the job writes.

After every kill: nothing under a final name that is not whole, no process left. After the same command has gone on to
its end: the very bytes, or weights, card and curve, of a run that nobody killed, and no other file.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forked import Child
from kinds import Kind, emptied, kinds, make_data, make_model

#: A child that takes longer hangs.
_SECONDS = 300.0
#: The most kills of one job before it may end.
_KILLS_A_JOB = 3
#: So many seconds after a file was begun an aimed kill comes at the latest.
_WRITING_SECONDS = 0.03
#: A larger file in the folder for temporary ones is one that nobody removes.
_LEFT_BYTES = 1 << 20


@dataclass
class Outcome:
    """What came of the trials."""

    kills: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=240, help="how many, shared among the kinds of jobs (default: 240)"
    )
    parser.add_argument("--seed", type=int, default=None, help="of the moments; printed, to repeat a run")
    given = parser.parse_args(words)
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    _load_libraries()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
        outcome = torture(Path(scratch), given.kills, random.Random(seed))
    for name in outcome.kills:
        print(f"{name}: {outcome.kills[name]} kills, {outcome.late[name]} of them after the end")
    print(f"{sum(outcome.kills.values())} kills in {time.monotonic() - began:.0f} s: {len(outcome.faults)} faults")
    print("".join(f"  {fault}\n" for fault in outcome.faults), end="")
    return bool(outcome.faults)


def torture(scratch: Path, kills: int, moments: random.Random) -> Outcome:
    """``kills`` in all, in folders of ``scratch``."""
    outcome, data, model = Outcome(), scratch / "data", scratch / "model.safetensors"
    temporary = scratch / "temporary"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    for make in (lambda: make_data(data), lambda: make_model(data, model)):
        _finished(Child(make, scratch / "made.log"), scratch / "made.log")
    tried = kinds(data, model)
    for number, kind in enumerate(tried):
        share = kills // len(tried) + (number < kills % len(tried))
        if share:
            _try_kind(kind, scratch / kind.name, share, moments, outcome)
    large = [path for path in _files(temporary) if path.stat().st_size > _LEFT_BYTES]
    outcome.faults += [f"left among the temporary files: {path.name}" for path in large]
    return outcome


def _load_libraries() -> None:
    """What the jobs import, so that children have it."""
    import contrastiveseg.evaluation.job
    import contrastiveseg.segmentation.rank
    import contrastiveseg.segmentation.segment
    import contrastiveseg.training.finetune  # noqa: F401
    from contrastiveseg.networks.registry import available_backbones

    available_backbones()


def _finished(child: Child, log: Path) -> int:
    """Wait for a child that has to end well; returns how many files it wrote."""
    if not child.ends_within(_SECONDS):
        child.kill()
        child.ends_within(None)
    writes, code = child.writes(), child.result()
    if code:
        raise RuntimeError(f"a job ended with {code}: {log.read_text(errors='replace')[-2000:]}")
    return writes


def _try_kind(kind: Kind, folder: Path, kills: int, moments: random.Random, outcome: Outcome) -> None:
    folder.mkdir()
    reference, log = emptied(folder / "whole"), folder / "log"
    began = time.monotonic()
    writes = _finished(Child(lambda: kind.again(reference), log), log)
    seconds = time.monotonic() - began
    results = [path.relative_to(reference) for path in _files(reference)]
    expected = {path: kind.whole(reference / path) for path in results}
    # The curve grows.
    sound = {path: kind.sound(reference / path) for path in results if path.suffix != ".jsonl"}
    while outcome.kills[kind.name] < kills:
        tried = emptied(folder / "tried")
        log.write_text("")
        for attempt in range(min(moments.randint(1, _KILLS_A_JOB), kills - outcome.kills[kind.name])):
            aimed = outcome.kills[kind.name] % 2 == 1
            moment = moments.uniform(0, _WRITING_SECONDS if aimed else 1.05 * seconds)
            file = moments.randint(1, max(writes, 1))
            work = kind.again if attempt else kind.begin
            child = Child(lambda: work(tried), log)  # noqa: B023 - the child begins before the next one is chosen
            late = (aimed and not child.begins_to_write(file)) or child.ends_within(moment)
            if not late:
                child.kill()
            child.result()
            outcome.kills[kind.name] += 1
            outcome.late[kind.name] += late
            where = f"{kind.name}, killed {moment:.3f} s after " + (f"file {file} was begun" if aimed else "its start")
            if orphans := child.orphans():
                outcome.faults.append(f"{where}: {len(orphans)} processes live on")
            outcome.faults += [f"{where}: {fault}" for fault in _mixed(kind, tried, sound)]
        try:
            _finished(Child(lambda: kind.again(tried), log), log)  # noqa: B023
        except RuntimeError as problem:
            outcome.faults.append(f"{where}: {problem}")
            continue
        if "damaged" in log.read_text(errors="replace"):
            outcome.faults.append(f"{where}: a file was damaged")
        found = {path.relative_to(tried): path for path in _files(tried)}
        outcome.faults += [f"{where}: left {path}" for path in sorted(found.keys() - expected.keys())]
        outcome.faults += [f"{where}: {path} is missing" for path in sorted(expected.keys() - found.keys())]
        both = sorted(expected.keys() & found.keys())
        outcome.faults += [f"{where}: another {path}" for path in both if kind.whole(found[path]) != expected[path]]


def _mixed(kind: Kind, folder: Path, sound: dict[Path, object]) -> list[str]:
    """Files under a final name that are not whole."""
    faults = []
    for path, expected in sound.items():
        if (folder / path).exists():
            try:
                why = "" if kind.sound(folder / path) == expected else "it has another content"
            except Exception as problem:
                why = str(problem)
            if why:
                faults.append(f"{path} is not whole: {why}")
    return faults


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

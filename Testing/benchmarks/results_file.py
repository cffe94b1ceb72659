"""Results files: JSON with one run a line; scores of single cases lie compressed beside it.

``NAME.json`` is an object, and each of its lists has one element a line. A run that was scored case by case holds the
digest of those scores in place of them; ``NAME.cases.json.gz`` has them by digest. Reading a file gives the runs as
they were added, to the last digit.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contrastiveseg.files import replacing, write_text

Run = dict[str, Any]

#: The entry of a run that is kept in the compressed file.
CASES = "dice_by_case"


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a results file; every element of a list in ``report`` gets one line."""
    write_text(
        path, "{\n" + ",\n".join(f"{json.dumps(key)}: {_lines(value)}" for key, value in report.items()) + "\n}\n"
    )


def _lines(value: Any) -> str:
    if not isinstance(value, list) or not any(isinstance(element, dict) for element in value):
        return json.dumps(value)
    return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"


def read_runs(path: Path) -> list[Run]:
    """The finished runs of a results file; none if there is no such file, or it holds no runs."""
    runs: list[Run] = json.loads(path.read_text()).get("runs", []) if path.is_file() else []
    scores = _read_cases(path)
    return [{**run, CASES: scores[run[CASES]]} if isinstance(run.get(CASES), str) else run for run in runs]


def add_run(path: Path, run: Run) -> None:
    """Append a finished run, so that a killed benchmark loses one run at most."""
    write_runs(path, [*read_runs(path), run])


def write_runs(path: Path, runs: list[Run]) -> None:
    """Write all runs of a results file, and the scores of their cases first: a run never lacks them."""
    by_digest = {_digest(run[CASES]): run[CASES] for run in runs if CASES in run}
    if by_digest:
        with replacing(_cases_file(path)) as temporary:
            # Without the time of writing, so that the same scores give the same file.
            temporary.write_bytes(gzip.compress(json.dumps(by_digest, sort_keys=True).encode(), mtime=0))
    write_report(path, {"runs": [{**run, CASES: _digest(run[CASES])} if CASES in run else run for run in runs]})


def is_finished(path: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a run with all values of ``wanted`` is in the results file."""
    return any(all(run.get(k) == v for k, v in wanted.items()) for run in read_runs(path))


def _digest(scores: Any) -> str:
    return hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()[:12]


def _cases_file(path: Path) -> Path:
    return path.with_suffix(".cases.json.gz")


def _read_cases(path: Path) -> dict[str, Any]:
    file = _cases_file(path)
    return json.loads(gzip.decompress(file.read_bytes())) if file.is_file() else {}

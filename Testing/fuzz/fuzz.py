"""Changes valid files at random and has them read: bash ci/torture fuzz --help

Of every case: a right answer or an expected error of a few words, within bounded time and memory; never a crash, a
hang, or a file changed or left. The seed and the number of a case are all that it follows from.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from targets import TARGETS
from trials import Trials, try_cases


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000, metavar="N", help="how many (default: 50000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first, to go on with a run")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="printed, to repeat a run")
    parser.add_argument("--only", default="", metavar="WORD", help="kinds of files with this word in their names")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="at a time (default: 2)")
    parser.add_argument("--case", type=int, metavar="N", help="try the one case with this number, in this process")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="with --case: a new folder for its files")
    given = parser.parse_args(words)
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    if given.case is not None:
        return _one(given.case, seed, given.only, given.keep)
    began = time.monotonic()
    numbers = list(range(given.first, given.first + given.cases))
    faults, refused = try_cases(numbers, seed, given.only, given.processes)
    trials = Trials(Path(), seed, given.only)
    counts = Counter(trials.target(number)[0].name for number in numbers)
    for target in TARGETS:
        if counts[target.name]:
            print(f"{target.name}: {counts[target.name]} cases")
    for fault in faults:
        only = f" --only '{given.only}'" if given.only else ""
        print(f"\ncase {fault.number}, {fault.target}: {fault.what}")
        print(f"  again: bash ci/torture fuzz --seed {seed}{only} --case {fault.number}")
    seconds = time.monotonic() - began
    print(f"{len(numbers)} cases, {refused} of them refused, in {seconds:.0f} s: {len(faults)} faults")
    return bool(faults)


def _one(number: int, seed: int, only: str, keep: Path | None) -> int:
    """Try one case where a debugger can follow; keep its files if asked to."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        trials = Trials(Path(scratch), seed, only)
        target, _ = trials.target(number)
        file, content = trials.case(number)
        print(f"case {number}, {target.name}: {file.relative_to(scratch)}, {len(content)} bytes")
        if keep:
            keep.mkdir()
            (keep / file.name).write_bytes(content)
        trials.run(number)
        print("refused" if trials.refused else "read")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

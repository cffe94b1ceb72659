"""What keeping only the largest piece of each label is worth: Dice and distances with all pieces and with one.

    python Testing/benchmarks/pieces_dice.py --data DIR --set LA_half --precision bf16 \
        --checkpoints A.safetensors B.safetensors

The checkpoints are segmenters, such as those that ``dice.py --work`` leaves; the list ``val`` is segmented on its own
grids by the job that users run. In LA_half, ACDC and Hippocampus every label of every training case is one piece, so
"largest" here is what a checkpoint asks for by itself. Results of several sets are kept in one file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import add_common_options, add_data_options, data_set, exit_after, image, machine, parser_of, score, split
from results_file import add_run, is_finished, read_runs

from contrastiveseg.descriptions import Pieces, SegmentJob
from contrastiveseg.jobs.run import run

PIECES: tuple[Pieces, ...] = ("all", "largest")


def main() -> None:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_common_options(parser, "pieces_dice.json")
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    options = parser.parse_args()
    folder = data_set(options)
    for path in options.checkpoints:
        for pieces in PIECES:
            wanted = {"set": options.set, "checkpoint": path.stem, "pieces": pieces, "precision": options.precision}
            if not is_finished(options.output, wanted):
                print(f"{path.stem}, {pieces}", file=sys.stderr, flush=True)
                scores = _scores(options, folder, path, pieces)
                add_run(options.output, wanted | scores | {"machine": machine(options.threads)})
    print(pieces(read_runs(options.output)))


def _scores(options: argparse.Namespace, folder: Path, path: Path, pieces: Pieces) -> dict[str, Any]:
    cases = split(folder, "val")
    with tempfile.TemporaryDirectory() as predictions:
        job = SegmentJob(
            checkpoint=str(path),
            input=tuple(str(image(folder, case)) for case in cases),
            output=f"{predictions}/",
            pieces=pieces,
            precision=options.precision,
            threads=options.threads,
            device="cpu",
        )
        run(job)
        return score(Path(predictions), folder, cases)


if __name__ == "__main__":
    exit_after(main)

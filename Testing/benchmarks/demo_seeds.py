"""The demo with several seeds: whether a structure is missed, and how the starter compares with training from scratch.

    python Testing/benchmarks/demo_seeds.py --seeds 0,1,2,3,4,5,6,7,8,9

Each seed is ``bash ci/demo --seed N``: other volumes and another training. Its minutes are counted as processor time,
so that what else the machine does takes nothing from the budget. Finished seeds are in the results file and are not
run again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import torch
from common import add_common_options, counting_processor_time, exit_after, machine, numbers, parser_of
from results_file import Run, add_run, is_finished, read_runs
from tables import demo_seeds

sys.path.append(str(Path(__file__).resolve().parents[2] / "ci"))
import demo
from demo_results import SCRATCH, TUNED

from contrastiveseg.checkpoints.header import digest


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "demo_seeds.json")
    parser.add_argument("--checkpoint", type=Path, default=demo.STARTER, help="default: the shipped starter")
    parser.add_argument("--seeds", type=numbers, default=tuple(range(10)), help="such as 0,1,2 (default: 0 to 9)")
    parser.add_argument("--minutes", type=float, default=0.9, help="of each training (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="only print the table of the results file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for seed in () if options.table else options.seeds:
        wanted = {"checkpoint": digest(options.checkpoint)[:12], "minutes": options.minutes, "seed": seed}
        if is_finished(options.output, wanted | {"threads": options.threads}):
            continue
        print(f"seed {seed}", file=sys.stderr, flush=True)
        scores = _measure(options, seed)
        add_run(options.output, wanted | {"threads": options.threads} | scores | {"machine": machine(options.threads)})
    print(demo_seeds(read_runs(options.output)))


def _measure(options: argparse.Namespace, seed: int) -> Run:
    """Run the demo; returns the steps, the Dice of both trainings by structure, and what each missed altogether."""
    with tempfile.TemporaryDirectory() as folder, counting_processor_time(options.threads):
        given = [f"--output={folder}", f"--checkpoint={options.checkpoint}"]
        given += [f"--minutes={options.minutes}", f"--seed={seed}"]
        with contextlib.redirect_stdout(sys.stderr):
            if demo.main(given):
                raise SystemExit(f"The demo of seed {seed} failed.")
        report = json.loads((Path(folder) / demo.REPORT).read_text())
    scores: Run = {"steps": report["steps"], "scratch_steps": report["scratch_steps"]}
    for name, title in (("starter", TUNED), ("scratch", SCRATCH)):
        evaluation = report["models"][title]
        scores[name] = evaluation["overall"]["statistics"]["dice"]["mean"]
        scores[f"{name}_by_label"] = {s["name"]: s["statistics"]["dice"]["mean"] for s in evaluation["summary"]}
        scores[f"{name}_missed"] = {
            s["name"]: s["n_empty_prediction"] for s in evaluation["summary"] if s["n_empty_prediction"]
        }
    return scores


if __name__ == "__main__":
    exit_after(main)

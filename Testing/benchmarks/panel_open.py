"""Milliseconds until the panel can be used, and seconds from a click on Segment to the segmentation, on the bench.

    python Testing/benchmarks/panel_open.py --volume MR.nii.gz [--checkpoint SEGMENTER.safetensors] [--early]

The panel is opened --repeats times, each in a fresh process: from choosing the module until it is drawn and takes
clicks. The volume is then segmented by clicks: the first follows the opening at once, so it waits for the engine's
libraries; the later ones find them loaded. Beside the seconds from click to segmentation stand the engine's own, from
the same run, and their difference: what handing over and taking back cost.

With --early the engine's process was started while Slicer was idle, as for users who have opened the module before, and
has loaded its libraries.

Qt, MRML and files are real, Slicer's own widgets and its event loop are the bench's (Testing/slicer/bench). Without
--checkpoint a tiny network with random weights is used, as times do not depend on the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import add_common_options, exit_after, machine, parser_of
from results_file import write_report
from tables import markdown

from contrastiveseg.files import stem

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "ContrastiveSeg" / "ContrastiveSeg.py"


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "panel_open.json")
    parser.add_argument("--volume", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="a fine-tuned checkpoint that fits the volume")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes (default: %(default)s)")
    parser.add_argument("--clicks", type=int, default=4, help="clicks in each of them (default: %(default)s)")
    parser.add_argument("--early", action="store_true", help="the engine's process was started before")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(_session(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint or _random_segmenter(options.volume, Path(folder))
        runs = [_fresh(options, checkpoint) for _ in range(options.repeats)]
    warm = [click for run in runs for click in run["clicks"][1:]]
    report = {
        "machine": machine(options.threads),
        "volume": stem(options.volume),
        "early": options.early,
        "opening_ms": round(statistics.median(run["opening_ms"] for run in runs)),
        "first_click": _median([run["clicks"][0] for run in runs]),
        "later_clicks": _median(warm),
        "runs": runs,
    }
    write_report(options.output, report)
    rows = [
        (name, *(f"{report[key][part]:.2f}" for part in ("click", "engine", "beside")))
        for name, key in (("first click", "first_click"), ("later clicks", "later_clicks"))
    ]
    print(f"Opening: {report['opening_ms']} ms\n")
    print(markdown(("Seconds", "click to segmentation", "engine", "beside it"), rows))


def _random_segmenter(volume: Path, folder: Path) -> Path:
    from segment_time import random_segmenter  # loads the engine, which is not to be there when the panel opens

    return random_segmenter(volume, folder / "random.safetensors")


def _fresh(options: argparse.Namespace, checkpoint: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--once", "--volume", str(options.volume), "--checkpoint", str(checkpoint)]
    command += ["--clicks", str(options.clicks), *(["--early"] if options.early else [])]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _session(options: argparse.Namespace) -> dict[str, Any]:
    """Open the panel once and click --clicks times."""
    sys.path.insert(0, str(ROOT / "Testing" / "slicer"))
    from bench import start

    with tempfile.TemporaryDirectory() as home:
        start.start(Path(home))
        import slicer
        from bench import scripted

        slicer.app.settings().setValue("ContrastiveSeg/ModelsFolder", str(options.checkpoint.resolve().parent))
        slicer.app.settings().setValue("ContrastiveSeg/LastCheckpoint", options.checkpoint.name)
        slicer.util.loadVolume(str(options.volume))
        loaded = scripted.load(MODULE)
        slicer.util.mainWindow().show()
        slicer.app.processEvents()
        if options.early:
            _start_early()
        before = time.perf_counter()
        slicer.util.selectModule("ContrastiveSeg")
        slicer.app.processEvents()
        opening = time.perf_counter() - before
        panel = slicer.modules.ContrastiveSegWidget.panel
        clicks = [_click(panel) for _ in range(options.clicks)]
        scripted.unload(loaded)
    return {"opening_ms": round(1000 * opening, 1), "clicks": clicks}


def _start_early() -> None:
    """As at Slicer's start, until the libraries are loaded."""
    import slicer
    from ContrastiveSegPanel.engine import early

    early.remember_opening()
    early._AFTER_MS = early._THEN_MS = 0
    sys.modules["ContrastiveSeg"]._start_worker_early()
    # Nothing else is asked of it.
    while early._worker is None or early._worker._open or "ContrastiveSegPanel.ui.panel" not in sys.modules:
        slicer.app.processEvents()
        time.sleep(0.01)


def _click(panel: Any) -> dict[str, float]:
    import slicer

    lines: list[str] = []
    panel.session.log_line.connect(lines.append)
    section = panel.sections["segment"]
    before = time.perf_counter()
    section.ui.segmentButton.click()
    if not section.task.busy:
        raise SystemExit(f"Segment cannot be clicked: {section.ui.segmentButton.toolTip}")
    while section.task.busy:
        slicer.app.processEvents()
        time.sleep(0.001)
    seconds = time.perf_counter() - before
    engine = float(re.findall(r"total ([\d.]+)", "\n".join(lines))[-1])
    return {"click": round(seconds, 3), "engine": engine, "beside": round(seconds - engine, 3)}


def _median(clicks: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(click[key] for click in clicks), 3) for key in clicks[0]}


if __name__ == "__main__":
    exit_after(main)

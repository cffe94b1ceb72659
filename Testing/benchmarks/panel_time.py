"""What the panel adds to the engine's time: opening, and from click to result, cold and warm.

    python Testing/benchmarks/panel_time.py --image LA_CASE.nii.gz [--checkpoint CKPT]

Runs the real module on the bench of Testing/slicer (Qt offscreen, no Slicer). "First" is a click right after the panel
opened, when the worker is still loading its libraries; "warm" are clicks after that. The engine's own seconds are those
that the very same job tells of itself, so that what else the machine does weighs on both. Without --checkpoint, the
shipped starter is fine-tuned for one step on the image, with a made-up label: the time does not depend on what a
network has learnt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import add_common_options, machine, markdown

from ContrastiveSegLib.files import write_text

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "ContrastiveSeg" / "Resources" / "Checkpoints" / "starter-macl-3d-tiny.safetensors"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="the volume to segment")
    parser.add_argument("--checkpoint", type=Path, help="a fine-tuned checkpoint")
    parser.add_argument("--clicks", type=int, default=3, help="warm clicks (default: %(default)s)")
    add_common_options(parser, "panel_time.json")
    options = parser.parse_args()
    # Before the bench brings in Qt, and for the worker.
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "QT_QPA_PLATFORM": "offscreen"}
    sys.path.insert(0, str(ROOT / "Testing" / "slicer"))
    with tempfile.TemporaryDirectory() as temporary:
        told = measure(options, Path(temporary))
    told["machine"] = machine(options.threads)
    write_text(options.output, json.dumps(told, indent=1) + "\n")
    print(table(told))
    return 0


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Opens the panel and clicks."""
    checkpoint = options.checkpoint or fine_tuned(options.image, folder)
    from bench import scripted, start

    start.start(folder / "slicer")
    import slicer
    from ContrastiveSegPanel import settings

    models = folder / "models"
    models.mkdir()
    (models / "model.safetensors").write_bytes(checkpoint.read_bytes())
    settings.set_models_folder(models)
    volume = slicer.util.loadVolume(str(options.image))
    scripted.load(ROOT / "ContrastiveSeg" / "ContrastiveSeg.py")
    slicer.app._complete_startup()
    begin = time.perf_counter()
    slicer.util.selectModule("ContrastiveSeg")
    slicer.app.processEvents()
    opened = time.perf_counter() - begin
    panel = slicer.modules.ContrastiveSegWidget.panel
    panel.session.set_checkpoint(models / "model.safetensors")
    section = panel.sections["segment"]
    section.ui.inputSelector.setCurrentNode(volume)
    clicks = [click(section, panel.session) for _ in range(1 + options.clicks)]
    shape = slicer.util.arrayFromVolume(volume).shape
    stopped: list[bool] = []
    panel.session.worker.stop(lambda: stopped.append(True))
    wait(lambda: bool(stopped))
    panel.session.close()
    return {"shape": list(shape), "open_seconds": opened, "first": clicks[0], "warm": clicks[1:]}


def fine_tuned(image: Path, folder: Path) -> Path:
    """The starter after one step on ``image`` with a box as its label."""
    import numpy as np
    import SimpleITK as sitk

    from ContrastiveSegLib.descriptions import FinetuneJob
    from ContrastiveSegLib.jobs.run import run

    read = sitk.ReadImage(str(image))
    box = np.zeros(sitk.GetArrayFromImage(read).shape, np.uint8)
    box[tuple(slice(n // 3, 2 * n // 3) for n in box.shape)] = 1
    label = sitk.GetImageFromArray(box)
    label.CopyInformation(read)
    sitk.WriteImage(label, str(folder / "label.nii.gz"))
    output = folder / "tuned.safetensors"
    given = {"images": (str(image),), "labels": (str(folder / "label.nii.gz"),)}
    run(FinetuneJob(checkpoint=str(STARTER), output=str(output), steps=1, threads=1, **given))
    return output


def click(section: Any, session: Any) -> dict[str, float]:
    """Seconds from the click until the segmentation is in the scene, those of the job itself, and the longest time that
    the event loop did not turn."""
    told: dict[str, Any] = {}
    submit = session.worker.submit

    def watched(job: Any, on_event: Callable[[dict], None]) -> str:
        def hear(event: dict) -> None:
            if event["event"] == "result":
                told["engine"] = event["value"]["seconds"]["total"]
            on_event(event)

        return submit(job, hear)

    session.worker.submit = watched
    begin = time.perf_counter()
    section.ui.segmentButton.click()
    blocked = time.perf_counter() - begin
    longest = wait(lambda: not section.task.busy)
    seconds = time.perf_counter() - begin
    session.worker.submit = submit
    return {"click_to_result": seconds, "engine": told["engine"], "longest_block": max(blocked, longest)}


def wait(condition: Callable[[], bool]) -> float:
    """Turn the event loop until ``condition`` holds; returns the longest turn, in seconds."""
    from PySide6 import QtCore

    longest = 0.0
    while not condition():
        QtCore.QThread.msleep(1)
        begin = time.perf_counter()
        QtCore.QCoreApplication.processEvents()
        longest = max(longest, time.perf_counter() - begin)
    return longest


def table(told: dict[str, Any]) -> str:
    rows = []
    for name, clicks in (("first click", [told["first"]]), ("warm click (median)", told["warm"])):
        whole, engine, block = (
            statistics.median(c[key] for c in clicks) for key in ("click_to_result", "engine", "longest_block")
        )
        rows.append([name, f"{whole:.2f}", f"{engine:.2f}", f"{whole - engine:.2f}", f"{1000 * block:.0f}"])
    columns = ["", "Click to result (s)", "Engine's own (s)", "Added (s)", "Longest block of the panel (ms)"]
    return f"Open: {1000 * told['open_seconds']:.0f} ms\n\n" + markdown(columns, rows)


if __name__ == "__main__":
    sys.exit(main())

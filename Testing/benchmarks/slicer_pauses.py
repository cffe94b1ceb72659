"""How long the panel keeps Slicer's main thread busy beside many volumes; runs in a real Slicer.

    Slicer --no-splash --additional-module-paths ContrastiveSeg \
        --python-script Testing/benchmarks/slicer_pauses.py -- OUTPUT.json [VOLUMES]

Makes VOLUMES small volumes (50), each with two segmentations, and then does one thing after the other as a user would.
For each it lists the longest time between two turns of the event loop that follow, in seconds: by the clock, and of the
main thread's own computing, which other processes on the machine do not lengthen. The first .ui file of a session is
loaded before, as by any other module: Qt then looks for its plugins, which takes 0.15 s.

It trains for two steps with the chosen checkpoint, which has to be one to fine-tune, and cancels that.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_BEAT_MS = 20
#: What follows from an act is over by then.
_LOOK_MS = 3000
_SHAPE = (40, 96, 96)

_Acts = list[tuple[str, Callable[[], Any]]]


class Pauses:
    """The longest pause since :meth:`clear`: (seconds by the clock, of the main thread)."""

    def __init__(self) -> None:
        import qt

        self.clear()
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._beat)
        self._timer.start(_BEAT_MS)

    def clear(self) -> None:
        self.longest = (0.0, 0.0)
        self._last = time.perf_counter(), time.thread_time()

    def _beat(self) -> None:
        now = time.perf_counter(), time.thread_time()
        clock, thread = (after - before for after, before in zip(now, self._last, strict=True))
        self.longest = max(self.longest[0], clock), max(self.longest[1], thread)
        self._last = now


def scene_of(count: int) -> list[Any]:
    """``count`` volumes with a ball in noise, each with two segmentations."""
    import slicer

    random = np.random.default_rng(0)
    k, j, i = np.mgrid[: _SHAPE[0], : _SHAPE[1], : _SHAPE[2]]
    volumes = []
    for number in range(count):
        center = random.uniform(0.4, 0.6, 3) * _SHAPE
        ball = ((k - center[0]) / 8) ** 2 + ((j - center[1]) / 15) ** 2 + ((i - center[2]) / 15) ** 2 < 1
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"Patient {number} T2")
        slicer.util.updateVolumeFromArray(volume, (random.normal(100, 20, _SHAPE) + 100 * ball).astype(np.int16))
        volume.SetSpacing(1.5, 1.5, 3)
        volume.CreateDefaultDisplayNodes()
        for _ in range(2):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"Segmentation of {volume.GetName()}")
            node.CreateDefaultDisplayNodes()
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
            segment = node.GetSegmentation().AddEmptySegment("ball", "ball")
            slicer.util.updateSegmentBinaryLabelmapFromArray(ball.astype(np.uint8), node, segment, volume)
            node.SetDisplayVisibility(False)
        volumes.append(volume)
    slicer.util.setSliceViewerLayers(background=volumes[0])
    return volumes


def acts(volumes: list[Any]) -> _Acts:
    """What a user does, in order."""
    import slicer

    def panel() -> Any:
        return slicer.modules.contrastiveseg.widgetRepresentation().self().panel

    def tune() -> Any:
        return panel().sections["fineTune"].ui

    def set_up() -> None:
        tune().fineTuneBudgetComboBox.setCurrentIndex(tune().fineTuneBudgetComboBox.count - 1)
        tune().fineTuneStepsSpinBox.setValue(2)

    def new_volume() -> None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "New")
        slicer.util.updateVolumeFromArray(node, np.zeros(_SHAPE, np.int16))
        node.CreateDefaultDisplayNodes()

    return [
        ("open the module", lambda: slicer.util.selectModule("ContrastiveSeg")),
        ("open Fine-tune", lambda: setattr(panel().ui.fineTuneSection, "collapsed", False)),
        ("choose a volume", lambda: panel().sections["segment"].ui.inputSelector.setCurrentNode(volumes[-1])),
        ("add a volume", new_volume),
        ("remove a volume", lambda: slicer.mrmlScene.RemoveNode(slicer.util.getNode("New"))),
        ("rename a volume", lambda: volumes[1].SetName("Renamed")),
        ("choose a budget", set_up),
        ("click on Fine-tune", lambda: tune().fineTuneButton.click()),
        ("cancel", lambda: tune().fineTuneCancelButton.click()),
    ]


def main(output: Path, count: int) -> None:
    import qt
    import slicer

    resources = Path(slicer.modules.contrastiveseg.path).parent / "Resources"
    slicer.util.loadUI(str(resources / "UI" / "Jobs.ui"))
    todo, found, pauses = acts(scene_of(count)), [], Pauses()
    timer = qt.QTimer()
    timer.setSingleShot(True)

    def step() -> None:
        if found:
            found[-1]["clock_s"], found[-1]["thread_s"] = (round(seconds, 3) for seconds in pauses.longest)
        if not todo:
            lines = ",\n".join(map(json.dumps, found))
            output.write_text(f'{{\n"volumes": {count},\n"acts": [\n{lines}\n]\n}}\n', encoding="utf-8")
            print(*(f"{act['act']}: {act['clock_s']} s, {act['thread_s']} s" for act in found), sep="\n")
            slicer.util.exit(0)
            return
        name, do = todo.pop(0)
        found.append({"act": name})
        pauses.clear()
        try:
            do()
        except Exception:
            traceback.print_exc()
            slicer.util.exit(1)
        timer.start(_LOOK_MS)

    timer.connect("timeout()", step)
    timer.start(_LOOK_MS)
    main.kept = pauses, timer  # type: ignore[attr-defined]  # Qt keeps no reference to them


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50)

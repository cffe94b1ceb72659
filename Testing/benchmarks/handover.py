"""Seconds to hand a volume from Slicer to the engine's process and its label map back: files against shared memory.

    python Testing/benchmarks/handover.py [--output FILE] [--size 600 600 90] [--repeats 5] [--folder TMP]

Slicer's side writes and reads by its own storage nodes (slicer-core), the engine's by SimpleITK in another process that
is warm; with shared memory each side copies the voxels once. Both ways end with what the receiver works with: an ITK
image there, a VTK image here. The least of --repeats, as other programs only add to it; the files stay in the system's
cache, as they do in use.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

FORMATS = ("nrrd", "nii", "mha", "nii.gz")
SHARED = "shared memory"
MODULE = Path(__file__).resolve().parents[2] / "ContrastiveSeg"


def engine(connection: Connection) -> None:
    """The other process: takes volumes and gives label maps until it gets None."""
    import SimpleITK as sitk

    connection.send("ready")
    while (order := connection.recv()) is not None:
        way, shape, dtype, there, back = order
        start = time.perf_counter()
        if way == SHARED:
            memory = SharedMemory(there)
            image = sitk.GetImageFromArray(np.ndarray(shape, dtype, buffer=memory.buf))
            memory.close()
        else:
            image = sitk.ReadImage(there)
        taken = time.perf_counter() - start
        labels = sitk.GetImageFromArray((sitk.GetArrayViewFromImage(image) > 0).astype(np.uint8))
        labels.CopyInformation(image)
        start = time.perf_counter()
        if way == SHARED:
            memory = SharedMemory(back, create=True, size=int(np.prod(shape)))
            np.ndarray(shape, np.uint8, buffer=memory.buf)[:] = sitk.GetArrayViewFromImage(labels)
            memory.close()
        else:
            sitk.WriteImage(labels, back, useCompression=way == "nii.gz")
        connection.send((taken, time.perf_counter() - start))


def hand_over(connection: Connection, way: str, volume: Any, folder: Path, number: int) -> dict[str, float]:
    """One volume there and its label map back; seconds of each step."""
    from ContrastiveSegPanel.mrml.grids import array_of, read_image, volume_holding, write_image

    array = array_of(volume.GetImageData())
    there, back = (str(folder / f"{direction}-{number}.{way}") for direction in ("there", "back"))
    start = time.perf_counter()
    if way == SHARED:
        memory = SharedMemory(create=True, size=array.nbytes)
        np.ndarray(array.shape, array.dtype, buffer=memory.buf)[:] = array
        there, back = memory.name, f"{memory.name}-back"
    else:
        write_image(volume, Path(there), compress=way == "nii.gz")
    written = time.perf_counter() - start
    connection.send((way, array.shape, array.dtype.name, there, back))
    taken, returned = connection.recv()
    start = time.perf_counter()
    if way == SHARED:
        answer = SharedMemory(back)
        received_volume = volume_holding(np.ndarray(array.shape, np.uint8, buffer=answer.buf), np.eye(4))
    else:
        received_volume = read_image(Path(back))
    received = time.perf_counter() - start
    if not np.array_equal(array_of(received_volume.GetImageData()), array > 0):
        raise RuntimeError(f"{way} did not bring the voxels back")
    if way == SHARED:
        for block in (memory, answer):
            block.close()
            block.unlink()
    return {"write_volume": written, "read_volume": taken, "write_labels": returned, "read_labels": received}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "handover.json")
    parser.add_argument("--size", type=int, nargs=3, default=(600, 600, 90), help="voxels along i, j, k")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to put the files meanwhile (default: the system's)")
    options = parser.parse_args()

    from common import machine
    from results_file import write_report
    from tables import markdown

    sys.path.insert(0, str(MODULE))
    from ContrastiveSegPanel.mrml.grids import volume_holding

    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=engine, args=(theirs,), daemon=True)
    process.start()
    connection.recv()
    # Other programs' processes: with more than the machine has cores, seconds tell an order rather than a speed.
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    report: dict[str, Any] = {"machine": {**machine(1), "load": load}, "size": list(options.size)}
    report |= {"repeats": options.repeats, "results": []}
    for dtype in (np.int16, np.float32):
        noise = np.random.default_rng(0).normal(0, 300, options.size[::-1])
        volume = volume_holding(noise.astype(dtype), np.diag([0.7, 0.7, 2.5, 1.0]))
        del noise
        for way in (*FORMATS, SHARED):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                repeats = 1 if way == "nii.gz" else options.repeats
                runs = [hand_over(connection, way, volume, Path(folder), n) for n in range(repeats)]
            steps = {step: round(min(run[step] for run in runs), 4) for step in runs[0]}
            row = {"voxels": np.dtype(dtype).name, "way": way, **steps, "total": round(sum(steps.values()), 4)}
            report["results"].append(row)
    connection.send(None)
    process.join()
    columns = list(report["results"][0])
    print(markdown(columns, [[str(value) for value in row.values()] for row in report["results"]]))
    write_report(options.output, report)


if __name__ == "__main__":
    main()

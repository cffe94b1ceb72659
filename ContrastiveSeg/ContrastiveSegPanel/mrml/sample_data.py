"""The volumes in Slicer's module Sample Data: synthetic, so that trying things needs no network and no patient."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

#: Made by ci/build-sample-data.
FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "SampleData"
CATEGORY = "Contrastive Segmentation"


def register() -> None:
    """Offer the samples; for Slicer's ``startupCompleted()``, when the module Sample Data is there."""
    from SampleData import SampleDataLogic

    _register(SampleDataLogic, "SyntheticHeart1", labeled=True)
    _register(SampleDataLogic, "SyntheticHeart2")
    _register(SampleDataLogic, "SyntheticHeart3")


def _register(logic: Any, name: str, labeled: bool = False) -> None:
    files = [f"{name}.nrrd", f"{name}.seg.nrrd"] if labeled else [f"{name}.nrrd"]
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=name,
        thumbnailFileName=str(FOLDER / f"{name}.png"),
        uris=[(FOLDER / file).as_uri() for file in files],
        fileNames=files,
        nodeNames=[name, f"{name} segmentation"][: len(files)],
        loadFileType=["VolumeFile", "SegmentationFile"][: len(files)],
        # Slicer keeps a copy by the file's name; without checksums it would load an older version's for ever.
        checksums=[f"SHA256:{hashlib.sha256((FOLDER / file).read_bytes()).hexdigest()}" for file in files],
    )

"""The samples in Sample Data: they come without a network, and are what the committed command makes."""

import hashlib
import importlib.util
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sources():
    """Name -> source, as registered."""
    import slicer
    from ContrastiveSegPanel.mrml import sample_data

    sample_data.register()
    sample_data.register()
    return {source.sampleName: source for source in slicer.modules.sampleDataSources[sample_data.CATEGORY]}


@pytest.fixture
def build():
    """The script that made them."""
    spec = importlib.util.spec_from_file_location("build_sample_data", ROOT / "ci" / "build_sample_data.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def load(source, folder: Path) -> list:
    """What Sample Data does at a click: fetch, compare the checksum, load."""
    import slicer
    import vtk

    nodes = vtk.vtkCollection()
    for uri, name, node, kind, checksum in zip(
        source.uris, source.fileNames, source.nodeNames, source.loadFileTypes, source.checksums, strict=True
    ):
        path = folder / name
        urllib.request.urlretrieve(uri, path)
        assert checksum == f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert slicer.app.coreIOManager().loadNodes(kind, {"fileName": str(path), "name": node}, nodes)
    return [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]


def test_samples_are_on_this_disk_with_a_picture_each(sources):
    assert set(sources) == {"SyntheticHeart1", "SyntheticHeart2", "SyntheticHeart3"}
    for source in sources.values():
        assert all(urllib.parse.urlparse(uri).scheme == "file" for uri in source.uris)
        assert Path(source.thumbnailFileName).read_bytes().startswith(b"\x89PNG")
    assert sum(p.stat().st_size for p in (ROOT / "ContrastiveSeg" / "Resources" / "SampleData").iterdir()) < 600_000


def test_volumes_are_what_the_command_makes(sources, build, tmp_path):
    import slicer

    from contrastiveseg.synthetic.subject import synthesize

    for name, seed in build.CASES.items():
        node = load(sources[name], tmp_path)[0]
        made, _ = synthesize(seed, build.SETTINGS)
        # The last bit may differ with the machine's arithmetic.
        assert np.abs(slicer.util.arrayFromVolume(node).astype(int) - made.array[0]).max() <= 1
        assert node.GetName() == name
        assert node.GetSpacing() == pytest.approx(made.geometry.spacing)


def test_the_labeled_one_has_segments_on_its_volume(sources, build, tmp_path):
    import slicer
    from ContrastiveSegPanel.mrml.segments import segments_of

    from contrastiveseg.synthetic.subject import synthesize

    volume, segmentation = load(sources["SyntheticHeart1"], tmp_path)
    _, labels = synthesize(build.CASES["SyntheticHeart1"], build.SETTINGS)
    found = segments_of(segmentation)
    assert [(s.name, s.color) for s in found] == [(label.name, label.color) for label in build.LABELS]
    for segment, label in zip(found, build.LABELS, strict=True):
        assert label.terminology.split("~")[2] in segment.terminology
        array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment.id, volume)
        assert (array.astype(bool) != (labels.array == label.value)).sum() <= 2

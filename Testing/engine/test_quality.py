"""A batch without references: what is measured of each case, doubt by hand, and tables that leave names out."""

import csv
import html
import io
import re
import struct
import zlib
from base64 import b64decode

import numpy as np
import pytest
import seg_nrrd

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import QualityJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.evaluation.doubt import Measured, by_doubt
from contrastiveseg.evaluation.thumbnail import thumbnail_png
from contrastiveseg.jobs.run import run
from contrastiveseg.volumes.volume import Geometry, Volume
from contrastiveseg.volumes.writing import write_labels, write_maps

SPACING = (2.0, 1.0, 5.0)
GRID = Geometry((12, 10, 8), SPACING, (10.0, 20.0, 30.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
NAMES = {1: "liver", 2: "cyst"}


def measured(name, liver, pieces=1, uncertainty=None, unlike=(), cyst=0.0):
    volumes = {value: ml for value, ml in ((1, liver), (2, cyst)) if ml}
    return Measured(name, volumes, {1: pieces if liver else 0}, uncertainty, unlike, (0.0, 0.0, 0.0))


def test_doubt_is_the_mean_share_of_cases_with_less_of_each_sign():
    cases = [
        measured("usual", 100.0, uncertainty=0.1),
        measured("large", 300.0, uncertainty=0.2),
        measured("torn", 110.0, pieces=4, uncertainty=0.3),
        measured("gone", 0.0, uncertainty=0.05),
    ]
    doubt = {case.name: case.doubt for case in by_doubt(cases, NAMES)}
    # The median of 100, 110 and 300 is 110. Shares of the three others with less:
    # volume   usual 1/3, large 2/3, torn 0, gone 1; pieces only torn 1; unlike none; uncertainty 1/3, 2/3, 1, 0.
    assert doubt == pytest.approx({"usual": 2 / 12, "large": 4 / 12, "torn": 6 / 12, "gone": 3 / 12})
    ranked = by_doubt(cases, NAMES)
    assert [case.name for case in ranked] == ["torn", "large", "gone", "usual"]
    assert [case.reasons for case in ranked] == [
        ("liver in 4 pieces",),
        ("liver 2.7 times the median",),
        ("no liver",),
        (),
    ]


def test_a_structure_that_most_cases_lack_is_missed_in_none():
    cases = [measured("a", 100.0, cyst=3.0), measured("b", 100.0), measured("c", 100.0)]
    assert [(case.doubt, case.reasons) for case in by_doubt(cases, NAMES)] == 3 * [(0, ())]


def test_uncertainty_counts_where_every_case_has_it_alone():
    cases = [measured("a", 100.0, uncertainty=0.9), measured("b", 100.0)]
    assert [case.doubt for case in by_doubt(cases, NAMES)] == [0, 0]


def test_what_is_unlike_the_training_counts_and_is_said():
    first, second = by_doubt([measured("a", 100.0), measured("b", 100.0, unlike=("Looks like CT",))], NAMES)
    assert (first.name, first.reasons, first.doubt) == ("b", ("Looks like CT",), pytest.approx(1 / 3))
    assert second.doubt == 0
    (alone,) = by_doubt([measured("a", 100.0, pieces=9)], NAMES)
    assert alone.doubt == 0


@pytest.fixture
def batch(tmp_path):
    """Two cases: Mr Miller with a liver in two pieces, <b>Ann</b> with one; and their uncertainty."""
    for folder in ("images", "labels", "maps"):
        (tmp_path / folder).mkdir()
    random = np.random.default_rng(0)
    for name, second in (("Miller_Otto", True), ("Ann", False)):
        labels = np.zeros(GRID.shape, np.uint8)
        labels[2:5, 2:6, 2:6] = 1
        labels[6, 8, 10] = second
        entropy = np.zeros(GRID.shape, np.float32)
        entropy[3, 4, 4] = 0.96
        entropy[0, 9, 11] = 1
        write_maps(tmp_path / "images" / f"{name}.mha", random.normal(0, 100, GRID.shape), GRID)
        write_labels(tmp_path / "labels" / f"{name}.mha", labels, GRID)
        write_maps(tmp_path / "maps" / f"{name}.mha", entropy, GRID)
    return tmp_path


def job(batch, **more):
    return QualityJob(input=(str(batch / "images"),), segmentations=str(batch / "labels"), **more)


def test_volumes_pieces_and_the_place_of_the_second_piece(batch):
    first, second = run(job(batch)).cases
    assert (first.name, second.name) == ("Miller_Otto", "Ann")
    assert first.volumes_ml == pytest.approx({"label 1": 49 * 0.01})
    assert (first.pieces, second.pieces) == ({"label 1": 2}, {"label 1": 1})
    assert first.world == pytest.approx((10 + 10 * 2, 20 + 8 * 1, 30 + 6 * 5))
    assert first.uncertainty is None


def test_uncertainty_is_that_in_and_around_the_structures(batch):
    second = next(case for case in run(job(batch, uncertainty=str(batch / "maps"))).cases if case.name == "Ann")
    # 3 x 4 x 4 voxels and 2 around them, cut at the border; the corner's 1 is in neither.
    assert second.uncertainty == pytest.approx(0.96 / (7 * 8 * 8))
    # The smoothed maximum lies within a voxel of the uncertain one.
    assert np.abs(np.subtract(second.world, (10 + 4 * 2, 20 + 4, 30 + 3 * 5)) / SPACING).max() <= 1


def test_names_come_from_the_checkpoint_and_what_it_misses_is_0(batch, segmenter):
    first, _second = run(job(batch, checkpoint=str(segmenter))).cases
    assert list(first.pieces.values()) == [2, 0, 0]
    assert "label 1" not in first.pieces
    assert any("mm" in text for text in first.unlike)


def test_names_come_from_segments_and_do_not_contradict_the_checkpoint(batch, segmenter):
    (batch / "labels" / "Ann.mha").unlink()
    cyst = np.zeros(GRID.shape, np.uint8)
    cyst[1:3, 2:6, 2:6] = 1
    layout = {"origin": GRID.origin, "spacing": GRID.spacing}
    seg_nrrd.write(batch / "labels" / "Ann.seg.nrrd", [cyst], [("cyst", 0, 1)], **layout)
    assert {*run(job(batch)).cases[0].pieces} == {"cyst"}
    # What the checkpoint does not know is not left out.
    seg_nrrd.write(batch / "labels" / "Ann.seg.nrrd", [cyst * 9], [("cyst", 0, 9)], **layout)
    assert "cyst" in run(job(batch, checkpoint=str(segmenter))).cases[0].pieces
    name = read_card(segmenter).labels[1].name
    seg_nrrd.write(batch / "labels" / "Ann.seg.nrrd", [cyst], [(name, 0, 1)], **layout)
    with pytest.raises(InputError, match=f"{name!r} has the value 2 in {segmenter} and 1 in .*Ann"):
        run(job(batch, checkpoint=str(segmenter)))


def test_tables_have_no_names_unless_asked(batch):
    files = {"csv": str(batch / "q.csv"), "html": str(batch / "q.html")}
    result = run(job(batch, **files))
    assert result.csv == files["csv"]
    text, page = ((batch / name).read_text(encoding="utf-8") for name in ("q.csv", "q.html"))
    for written in (text, page):
        assert "Miller" not in written
        assert "Ann" not in written
        assert str(batch) not in written
    rows = list(csv.DictReader(io.StringIO(text)))
    # Numbered in the order of names, whatever their doubt.
    assert [row["case"] for row in rows] == ["Case 2", "Case 1"]
    assert rows[0]["label 1 pieces"] == "2"
    assert rows[0]["reasons"] == "label 1 in 2 pieces"
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    with pytest.raises(InputError, match="exists already"):
        run(job(batch, **files))
    run(job(batch, **files, names=True, overwrite=True))
    assert "Miller_Otto" in (batch / "q.csv").read_text(encoding="utf-8")
    assert "Miller_Otto" in (batch / "q.html").read_text(encoding="utf-8")


def test_hostile_names_stay_text(batch):
    for folder in ("images", "labels"):
        (batch / folder / "Ann.mha").rename(batch / folder / "=cmd<img src=x>&.mha")
    run(job(batch, csv=str(batch / "q.csv"), html=str(batch / "q.html"), names=True))
    rows = list(csv.DictReader(io.StringIO((batch / "q.csv").read_text(encoding="utf-8"))))
    assert {row["case"] for row in rows} == {"Miller_Otto", "'=cmd<img src=x>&"}
    page = (batch / "q.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert html.escape("=cmd<img src=x>&") in page


def test_pictures_are_pngs_with_outlines(batch):
    run(job(batch, html=str(batch / "q.html")))
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", (batch / "q.html").read_text(encoding="utf-8"))
    assert len(pictures) == 2
    assert all(b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    first, second = run(job(batch, pictures=str(batch / "pictures"))).cases
    assert first.picture == str(batch / "pictures" / "Miller_Otto.png")
    for case, picture in zip((first, second), pictures, strict=True):
        assert (batch / "pictures" / f"{case.name}.png").read_bytes() == b64decode(picture)
    assert (first.image, first.segmentation) == tuple(str(batch / n / "Miller_Otto.mha") for n in ("images", "labels"))


def test_a_thumbnail_has_the_proportions_of_the_body_and_the_label_in_its_color():
    image = np.linspace(0, 1, 8 * 10 * 12, dtype=np.float32).reshape(1, 8, 10, 12)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[3, 2:8, 2:8] = 1
    # Upside down and mirrored: the picture is turned to the patient.
    turned = Geometry(GRID.size, SPACING, GRID.origin, (-1, 0, 0, 0, -1, 0, 0, 0, -1))
    for geometry in (GRID, turned):
        rows, columns, pixels = decoded(thumbnail_png(Volume(image, geometry), labels, (3, 4, 4), {1: (1, 2, 3)}))
        # 12 voxels of 2 mm by 10 of 1 mm.
        assert (columns, rows) == (192, 80)
        colored = (pixels == (1, 2, 3)).all(-1)
        assert colored.any()
        corner = np.argwhere(colored).min(0)
        assert tuple(corner) == ((16, 32) if geometry is GRID else (16, 64))
    assert (
        not (decoded(thumbnail_png(Volume(image, GRID), labels, (4, 4, 4), {1: (1, 2, 3)}))[2] == (1, 2, 3))
        .all(-1)
        .any()
    )


def decoded(png):
    """Rows, columns and pixels of an unfiltered RGB PNG, whose checksums are right."""
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + 3 * columns)
    return rows, columns, lines[:, 1:].reshape(rows, columns, 3)


def test_what_cannot_be_looked_at_is_named_and_the_rest_is_done(batch):
    (batch / "labels" / "Ann.mha").unlink()
    result = run(job(batch))
    assert [case.name for case in result.cases] == ["Miller_Otto"]
    assert "Ann has no segmentation" in result.failures[0].what
    with pytest.raises(InputError, match="does not exist"):
        run(job(batch, uncertainty=str(batch / "nowhere")))
    with pytest.raises(InputError, match="Give the folder of their maps"):
        run(job(batch, uncertainty=str(batch / "maps" / "Ann.mha")))


def test_a_map_on_another_grid_is_refused(batch):
    other = Geometry(GRID.size, (1.0, 1.0, 1.0), GRID.origin, GRID.direction)
    write_maps(batch / "maps" / "Ann.mha", np.zeros(GRID.shape), other)
    result = run(job(batch, uncertainty=str(batch / "maps")))
    assert "not on the grid" in result.failures[0].what


def test_what_is_no_uncertainty_map_is_refused(batch):
    """As the label maps or the images, given in its place."""
    with pytest.raises(InputError, match=r"images/Ann\.mha is no uncertainty map: it holds -"):
        run(job(batch, uncertainty=str(batch / "images")))


def test_cancelling_writes_nothing(batch):
    with pytest.raises(Cancelled):
        run(job(batch, csv=str(batch / "q.csv")), cancelled=lambda: True)
    assert not (batch / "q.csv").exists()

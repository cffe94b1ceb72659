"""The main job as typed: pre-train, fine-tune, segment, evaluate."""

import json

import SimpleITK as sitk

from contrastiveseg.cli import main

QUICK = ["--steps", "2", "--precision", "32", "--threads", "1"]


def test_pretrain_finetune_segment_evaluate(dataset, tmp_path, capsys):
    base, organs = str(tmp_path / "base.safetensors"), str(tmp_path / "organs.safetensors")
    images, labels = str(dataset / "imagesTr"), str(dataset / "labelsTr")
    assert main(["pretrain", "--method", "macl", "--images", images, "--output", base, *QUICK]) == 0
    given = ["--checkpoint", base, "--images", images, "--labels", labels, "--validation", "1", "--compare-scratch"]
    assert main(["finetune", *given, "--output", organs, *QUICK]) == 0
    assert "with the same budget" in capsys.readouterr().out

    found = tmp_path / "found"
    assert main(["segment", "--checkpoint", organs, "--input", images, "--output", str(found), "--threads", "1"]) == 0
    told = capsys.readouterr().out
    for path in sorted((dataset / "imagesTr").iterdir()):
        assert str(found / path.name) in told
        source, result = sitk.ReadImage(str(path)), sitk.ReadImage(str(found / path.name))
        assert result.GetSize() == source.GetSize()
        assert result.GetDirection() == source.GetDirection()

    table = tmp_path / "scores.json"
    csv = tmp_path / "scores.csv"
    scored = [
        "evaluate",
        "--predictions",
        str(found),
        "--references",
        labels,
        "--output",
        str(table),
        "--csv",
        str(csv),
    ]
    assert main(scored) == 0
    names = [f"synthetic_{i:05d}" for i in range(4)]
    assert all(name in csv.read_text() for name in names)
    assert all(name in json.dumps(json.loads(table.read_text())) for name in names)

    # The references against themselves are perfect, so the table above is about the predictions.
    assert (
        main(["evaluate", "--predictions", labels, "--references", labels, "--output", str(tmp_path / "s.json")]) == 0
    )
    assert "dice: 1" in capsys.readouterr().out

    assert main(["inspect", organs]) == 0
    told = capsys.readouterr().out
    assert "ready to segment" in told
    assert "macl checkpoint" in told
    assert main(["inspect", base]) == 0
    assert "fine-tune it before it can segment" in capsys.readouterr().out

"""The license of weights goes with them: through import and fine-tuning, and to whoever uses them."""

from dataclasses import replace

import pytest
from nnunet_models import description, network, plans, save_model

from contrastiveseg.api import import_checkpoint
from contrastiveseg.checkpoints.card import Provenance
from contrastiveseg.checkpoints.describe import describe
from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.licensing import inherited, non_commercial, note_license, tell_terms
from contrastiveseg.checkpoints.starters import starter
from contrastiveseg.cli import main
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Log
from contrastiveseg.jobs.run import run


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        ("CC-BY-NC-SA 4.0", True),
        ("PolyForm-Noncommercial-1.0.0", True),
        ("free for research use only", True),
        ("non-commercial", True),
        ("Apache-2.0", False),
        ("CC-BY-SA 4.0", False),
        ("ENCORE license", False),
        ("", False),
    ],
)
def test_terms_that_exclude_commercial_use_are_known(license, expected):
    assert non_commercial(license) is expected


@pytest.mark.parametrize(
    ("own", "base", "expected"),
    [
        ("", "Apache-2.0", "Apache-2.0"),
        ("MIT", "", "MIT"),
        ("MIT", "CC-BY-NC-4.0", "MIT, from weights under CC-BY-NC-4.0"),
        ("MIT, from weights under CC-BY-NC-4.0", "CC-BY-NC-4.0", "MIT, from weights under CC-BY-NC-4.0"),
    ],
)
def test_a_license_is_never_lost_by_another(own, base, expected):
    assert inherited(own, base) == expected


def test_the_starters_license_goes_with_what_is_made_from_it(dataset, tmp_path):
    output, told = tmp_path / "mine.safetensors", []
    job = FinetuneJob(
        checkpoint=str(starter()),
        images=(str(dataset),),
        output=str(output),
        steps=1,
        precision="32",
        resolution="native",
    )
    run(job, told.append)
    origin = read_card(output).provenance
    assert origin.license == read_card(starter()).provenance.license == "Apache-2.0"
    assert origin.sources == (f"{starter().stem} ({origin.base[:12]})",)
    assert any(isinstance(event, Log) and "under Apache-2.0" in event.text for event in told)
    assert "license      Apache-2.0" in describe(read_card(output))


def test_an_import_says_its_license_and_where_it_is_from(tmp_path, image, capsys):
    output = tmp_path / "imported.safetensors"
    free = description(licence="CC-BY-NC 4.0", reference="A. Author, The hearts, 2020.")
    folder = save_model(tmp_path, network(), plans(spacing=[20.0, 20.0, 20.0]), free)
    import_checkpoint(folder, "nnunet", output)
    card = read_card(output)
    assert card.provenance.license == "CC-BY-NC 4.0"
    assert card.provenance.citation.startswith("A. Author, The hearts, 2020; Isensee")
    assert "CC-BY-NC 4.0 (not for commercial use)" in describe(card)
    words = ["segment", "--checkpoint", str(output), "--input", str(image), "--output", str(tmp_path / "a.nii.gz")]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "Warning: The weights are under CC-BY-NC 4.0: not for commercial use. Cite: A. Author and 1 more;" in said
    assert "The hearts" not in said


def test_who_gets_weights_reads_the_whole_citation_and_who_uses_them_whom_to_cite():
    cited = Provenance(license="MIT", citation="Yu et al., Uncertainty, MICCAI 2019; Li, Quan and Zhou, MixCL.")
    card, told = replace(read_card(starter()), provenance=cited), []
    tell_terms(card, told.append, in_full=True)
    tell_terms(card, told.append)
    tell_terms(replace(card, provenance=replace(cited, citation="")), told.append)
    assert [event.text for event in told] == [
        "The weights are under MIT. Cite: Yu et al., Uncertainty, MICCAI 2019; Li, Quan and Zhou, MixCL.",
        "The weights are under MIT. Cite: Yu et al. and 1 more; 'contrastiveseg inspect' shows it in full.",
        "The weights are under MIT.",
    ]


def test_a_license_that_the_file_does_not_say_is_asked_for_once(tmp_path, monkeypatch, capsys):
    output = tmp_path / "imported.safetensors"
    words = ["import", str(save_model(tmp_path, network(), plans(), description())), "--from", "nnunet"]
    words += ["--output", str(output), "--overwrite"]
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "CC0-1.0")
    assert main(words) == 0
    assert not asked
    assert "Note it with --license" in capsys.readouterr().out
    assert "not known" in describe(read_card(output))
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    assert main(words) == 0
    assert len(asked) == 1
    assert read_card(output).provenance.license == "CC0-1.0"
    assert main([*words, "--licence", "MIT"]) == 0
    assert (len(asked), read_card(output).provenance.license) == (1, "MIT")


def test_noting_a_license_leaves_the_weights_as_they_are(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(starter().read_bytes())
    note_license(path, " CC-BY-4.0 ")
    (card, weights), (before, same) = load(path), load(starter())
    assert card.provenance.license == "CC-BY-4.0"
    assert (card.plan, card.network) == (before.plan, before.network)
    assert all((weights[name] == same[name]).all() for name in same)
    with pytest.raises(InputError, match="one line"):
        note_license(path, "a\nb")

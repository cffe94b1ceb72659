"""What the panel says of a job that runs."""

import re
from pathlib import Path

import contrastiveseg

ENGINE = Path(contrastiveseg.__file__).parent


def test_every_stage_of_the_engine_has_words():
    from ContrastiveSegPanel.workflows.task import stage_words

    source = "\n".join(file.read_text(encoding="utf-8") for file in ENGINE.rglob("*.py"))
    stages = set(re.findall(r'\bstage\("([^"]+)"\)', source))
    assert {"import", "train", "segment"} <= stages
    assert [name for name in stages if stage_words(name) == name.capitalize()] == []


def test_time_is_told_as_people_do():
    from ContrastiveSegPanel.workflows.task import time_left

    assert [time_left(s) for s in (0.2, 61, 600, 9000)] == ["1 s left", "61 s left", "10 min left", "2.5 h left"]

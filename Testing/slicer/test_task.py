"""What the panel says of a job that runs."""

import pytest

from contrastiveseg.events import Stage, StageStarted


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_of_the_engine_has_words(stage):
    from ContrastiveSegPanel.workflows.task import stage_words

    assert stage_words(StageStarted(stage))


def test_a_stage_of_one_case_names_it():
    from ContrastiveSegPanel.workflows.task import stage_words

    assert stage_words(StageStarted(Stage.LEAVE_OUT, "CT 1")) == "Training without CT 1"


def test_time_is_told_as_people_do():
    from ContrastiveSegPanel.workflows.task import time_left

    assert [time_left(s) for s in (0.2, 61, 600, 9000)] == ["1 s left", "61 s left", "10 min left", "2.5 h left"]

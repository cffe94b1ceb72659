"""What the panel says of a job that runs."""

import pytest

from contrastiveseg.events import Result, Stage, StageStarted


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


class Worker:
    """An engine that is done at once."""

    def submit(self, job, on_event, host):
        on_event(Result("made"))
        return "1"


def test_what_a_job_made_is_taken_step_by_step_before_its_result_is_told(wait_for):
    from ContrastiveSegPanel.workflows.task import Task

    task, told, taken = Task(Worker()), [], []
    problems = []
    steps = [(f"part {n}", lambda n=n: taken.append((n, task.state))) for n in range(3)]
    task.start([], None, told.append, lambda problem, cancelled: problems.append(problem), take=lambda: steps)
    wait_for(lambda: not task.busy)
    assert (taken, told) == ([(0, "writing"), (1, "writing"), (2, "writing")], ["made"])

    def fails():
        raise ValueError("damaged")

    task.start([], None, told.append, lambda problem, cancelled: problems.append(problem), take=lambda: [("", fails)])
    wait_for(lambda: not task.busy)
    assert ([str(problem) for problem in problems], told) == (["damaged"], ["made"])

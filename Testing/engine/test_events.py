"""Events are flat JSON objects that can be read again, and progress estimates the time left."""

import json

import pytest

from contrastiveseg import events
from contrastiveseg.errors import InputError
from contrastiveseg.events import Error, Metric, Progress, ProgressMeter, Ready, Result, Stage, StageStarted

EVENTS = [
    (StageStarted(Stage.LOAD), {"event": "stage", "name": "load"}),
    (StageStarted(Stage.LEAVE_OUT, "CT 1"), {"event": "stage", "name": "leave_out", "detail": "CT 1"}),
    (
        Progress(3, 8, None, "steps"),
        {"event": "progress", "done": 3, "total": 8, "seconds_left": None, "unit": "steps"},
    ),
    (Metric("loss", 3, 0.25), {"event": "metric", "name": "loss", "step": 3, "value": 0.25}),
    (events.log("text"), {"event": "log", "text": "text", "level": "info"}),
    (events.warning("text"), {"event": "log", "text": "text", "level": "warning"}),
    (Result({"written": []}), {"event": "result", "value": {"written": []}}),
    (Error("what", 2), {"event": "error", "what": "what", "exit_code": 2}),
    (Ready("0.1", 7), {"event": "ready", "version": "0.1", "pid": 7}),
]


@pytest.mark.parametrize(("event", "data"), EVENTS, ids=[data["event"] for _event, data in EVENTS])
def test_events_are_json_with_the_documented_fields(event, data):
    assert json.loads(json.dumps(events.to_json(event))) == data
    assert events.from_json(data) == event


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([1], "is not an event"),
        ({"event": "party"}, "'party' is not an event. Known: stage, progress"),
        ({"event": "log"}, "log: text is missing"),
        ({"event": "stage", "name": "lunch"}, "stage.name: 'lunch' is not one of 'import', 'load'"),
    ],
)
def test_what_is_no_event_is_refused(data, reason):
    with pytest.raises(InputError, match=reason):
        events.from_json(data)


def test_time_left_follows_the_pace_since_the_start(monkeypatch):
    clock = iter([100.0, 100.0, 110.0, 120.0])
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    seen: list[Progress] = []
    progress = ProgressMeter(seen.append, 50, "steps", done=20)
    progress(20)
    progress(30)
    progress(50)
    assert [e.seconds_left for e in seen] == [None, pytest.approx(20), pytest.approx(0)]
    assert seen[1] == Progress(30, 50, 20.0, "steps")

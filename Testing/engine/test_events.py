"""Events are flat JSON objects, and progress tells the time left."""

import json

import pytest

from contrastiveseg import events


def test_events_are_json_with_the_documented_fields():
    made = [
        events.stage("load"),
        events.metric("loss", 3, 0.25),
        events.log("text"),
        events.warning("text"),
        events.result({"written": []}),
        events.error("what", 2),
    ]
    assert [json.loads(json.dumps(e)) for e in made] == [
        {"event": "stage", "name": "load"},
        {"event": "metric", "name": "loss", "step": 3, "value": 0.25},
        {"event": "log", "level": "info", "text": "text"},
        {"event": "log", "level": "warning", "text": "text"},
        {"event": "result", "value": {"written": []}},
        {"event": "error", "what": "what", "exit_code": 2},
    ]


def test_time_left_follows_the_pace_since_the_start(monkeypatch):
    clock = iter([100.0, 100.0, 110.0, 120.0])
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    seen: list[dict] = []
    progress = events.Progress(seen.append, 50, "steps", done=20)
    progress(20)
    progress(30)
    progress(50)
    assert [e["seconds_left"] for e in seen] == [None, pytest.approx(20), pytest.approx(0)]
    assert seen[1] == {"event": "progress", "done": 30, "total": 50, "seconds_left": 20.0, "unit": "steps"}

"""An engine that misbehaves in every way, and what is asked of it."""

import json
from pathlib import Path
from typing import Any

from contrastiveseg.events import Error, Event, Result

#: Stands in for the engine: does what a job's ``predictions`` say. Real are the pipes, the group and the processes.
ENGINE = """
import json, os, subprocess, sys, threading, time

os.setpgid(0, 0)
cancelled = set()

def say(identifier, kind, **content):
    sys.stdout.write(json.dumps({"id": identifier, "event": kind, **content}) + "\\n")
    sys.stdout.flush()

def serve(identifier, job):
    what = job["predictions"]
    say(identifier, "stage", name="import")
    if what == "die":
        print("first\\nhalf of it\\rlast words: \\u00e9", file=sys.stderr, flush=True)
        os._exit(7)
    if what == "crash":
        os.abort()
    if what == "chatter":
        print("no JSON at all")
        print(json.dumps({"event": "log", "id": ["7"]}))
        print(json.dumps([1, 2]), json.dumps({"event": "result"}), sep="\\n")
        say("another", "result", value=0)
        text = json.dumps({"id": identifier, "event": "log", "level": "info", "text": "\\u00e9"}, ensure_ascii=False)
        for byte in text.encode() + b"\\n":
            os.write(1, bytes([byte]))
    if what == "flood":
        for step in range(3000):
            say(identifier, "metric", name="loss", step=step, value=0.5)
            say(identifier, "progress", done=step + 1, total=3000, seconds_left=None, unit="steps")
    if what == "deaf":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say(identifier, "log", level="info", text=f"{os.getpid()} {child.pid}")
        time.sleep(600)
    if what == "slow":
        say(identifier, "log", level="info", text="at work")
        time.sleep(1)
        open(job["references"], "w").close()
    while what == "polite":
        say(identifier, "progress", done=1, total=2, seconds_left=1.0, unit="steps")
        if identifier in cancelled:
            return say(identifier, "error", what="Cancelled as asked.", exit_code=130)
        time.sleep(0.01)
    waits = {name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    # A result of the job's kind, with what the tests ask of the process in one of its texts.
    process = json.dumps({"pid": os.getpid(), "waits": waits, "arguments": sys.argv[1:]})
    say(identifier, "result", value=dict(output=what, csv=process, dice=None, cases=0, rows=[], failures=[]))

def listen():
    for line in sys.stdin:
        request = json.loads(line)
        if "cancel" in request:
            cancelled.add(request["cancel"])
        else:
            waiting.append(request)
    waiting.append(None)

waiting = []
say(None, "ready", version="0", pid=os.getpid())
threading.Thread(target=listen, daemon=True).start()
while True:
    if not waiting:
        time.sleep(0.005)
        continue
    request = waiting.pop(0)
    if request is None:
        break
    if "query" in request:
        known = request["query"] in ("methods", "libraries")
        answer = {"value": ["macl"]} if known else {"what": "There is no such query.", "exit_code": 2}
        say(request["id"], "result" if known else "error", **answer)
    else:
        serve(request["id"], request["job"])
"""


def job(what: str, references: str = "references"):
    from contrastiveseg.descriptions import EvaluateJob

    return EvaluateJob(predictions=what, references=references, output="scores.json")


class Watched:
    """The events of one job."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def ended(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], Result | Error)

    def process(self) -> dict[str, Any]:
        """What the result says of the process that did the job."""
        return json.loads(self.events[-1].value.csv)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""Slurm's commands for tests: one queue with one place, in a folder. A job runs at once, or when a test says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SBATCH = """
if [ -f "$here/refuse" ]; then
    said=$(cat "$here/refuse")
    echo "sbatch: error: ${said:-invalid partition specified: nowhere}" >&2
    exit 1
fi
for script; do :; done
cp "$script" "$here/script"
echo "PENDING Resources" > "$here/state"
echo "4711"
[ -f "$here/hold" ] || "$here/begin" > /dev/null 2>&1 &
"""
_BEGIN = """
echo "RUNNING None" > "$here/state"
log=$(sed -n "s/^#SBATCH --output=//p" "$here/script")
cd "$(sed -n "s/^#SBATCH --chdir=//p" "$here/script")"
bash "$here/script" >> "$log" 2>&1 &
echo $! > "$here/process"
if wait $!; then ended=COMPLETED; else ended=FAILED; fi
[ -f "$here/ended" ] && ended=$(cat "$here/ended")
echo "$ended None" > "$here/state"
"""
_SQUEUE = """
if [ -f "$here/silent" ]; then rm "$here/silent"; echo "slurm_load_jobs error: Unable to contact" >&2; exit 1; fi
if [ -f "$here/forgotten" ]; then echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; fi
cat "$here/state"
"""
_SCANCEL = """
read -r state reason < "$here/state"
case "$state $*" in
    PENDING*--state=PENDING*) echo "CANCELLED None" > "$here/state";;
    RUNNING*--signal=INT*) kill -INT "$(cat "$here/process")";;
esac
"""
_SACCT = """
cut -d " " -f 1 "$here/state"
"""


class FakeSlurm:
    """The folder with the commands, to be put before PATH. Files in it switch, as "hold" and "refuse"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        scripts = {"sbatch": _SBATCH, "begin": _BEGIN, "squeue": _SQUEUE, "sacct": _SACCT}
        scripts["scancel"] = _SCANCEL
        for name, script in scripts.items():
            note = f'echo "{name} $*" >> "$here/calls"'
            (folder / name).write_text(f'#!/bin/sh\nhere="{folder}"\n{note}\n{script}')
            (folder / name).chmod(0o755)

    def begin(self, restarts: int = 0) -> None:
        """Run the job that waits, to its end."""
        subprocess.run(["env", f"SLURM_RESTART_COUNT={restarts}", str(self.folder / "begin")], check=True)

    def calls(self, command: str) -> list[str]:
        said = (self.folder / "calls").read_text().splitlines()
        return [line.removeprefix(f"{command} ") for line in said if line.startswith(f"{command} ")]

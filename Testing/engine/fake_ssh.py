"""An ssh for tests: runs the command here, as another machine would, and breaks where a test asks it to."""

from __future__ import annotations

import sys
from pathlib import Path

#: Files beside it switch: "down" (no connection), "cut" (every watch is cut after three lines), "cut once".
_SCRIPT = """#!/bin/sh
here="{here}"
echo "$*" >> "$here/typed"
while [ "$1" != "--" ]; do shift; done
shift; host=$1; shift
echo "$*" >> "$here/calls"
if [ -f "$here/down" ]; then echo "ssh: connect to host $host port 22: Connection refused" >&2; exit 255; fi
export XDG_CACHE_HOME="$here/cache"
cd /
case "$*" in *" watch "*)
    if [ -f "$here/cut once" ] || [ -f "$here/cut" ]; then
        rm -f "$here/cut once"
        mkfifo "$here/pipe.$$"
        exec 3<&0
        sh -c "exec $*" <&3 > "$here/pipe.$$" &
        head -n 3 < "$here/pipe.$$"
        kill $!
        exit 255
    fi;;
esac
exec sh -c "$*"
"""
#: How contrastiveseg is called "there".
COMMAND = f"{sys.executable} -m contrastiveseg"


class OtherMachine:
    """A folder with the fake ssh, to be put before PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "ssh").write_text(_SCRIPT.format(here=folder))
        (folder / "ssh").chmod(0o755)
        self.jobs = folder / "cache" / "contrastiveseg" / "far" / "jobs"
        self.store = self.jobs.parent / "files"

    def switch(self, name: str, on: bool = True) -> None:
        if on:
            (self.folder / name).touch()
        else:
            (self.folder / name).unlink()

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

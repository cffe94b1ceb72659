"""The checkpoints there are: starters that ship, and the user's own in the models folder."""

from __future__ import annotations

import re
import shutil
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.checkpoints.header import SUFFIX, digest, read_card
from contrastiveseg.checkpoints.starters import default_first
from contrastiveseg.errors import InputError
from contrastiveseg.files import replacing


@dataclass(frozen=True)
class Entry:
    """A checkpoint file. ``card`` is None if it cannot be used, and ``problem`` then says why."""

    path: Path
    origin: Literal["starter", "mine"]
    card: Card | None
    problem: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def segments(self) -> bool:
        """Whether it can segment as it is, without fine-tuning."""
        return self.card is not None and self.card.kind == "segmenter"


class Catalog:
    """Starters in ``starters`` (never written to), the user's own in ``models`` (made when first needed)."""

    def __init__(self, starters: Path, models: Path) -> None:
        self.starters, self.models = starters, models
        self._read: dict[Path, tuple[tuple[int, int], Entry]] = {}

    def entries(self) -> list[Entry]:
        """Every checkpoint file there is now: starters, the default first, then the user's own, the newest first.

        A broken file has its reason.
        """
        entries = [self._entry(path, "starter") for path in sorted(_files(self.starters), key=default_first)]
        entries += [self._entry(path, "mine") for path in sorted(_files(self.models), key=_age)]
        return [entry for entry in entries if entry is not None]

    def add(self, path: Path) -> Path:
        """Copy the checkpoint at ``path`` into the models folder; returns where it lies now.

        A file that is in the catalog already, here or with the same content under its name, is not copied again;
        another file of that name is never overwritten.

        Raises:
            InputError: not a checkpoint of ours, or the models folder cannot be written.
        """
        read_card(path)
        path, content = path.resolve(), ""
        for entry in self.entries():
            if entry.path.resolve() == path:
                return entry.path
            if entry.path.stat().st_size == path.stat().st_size:
                # Slow enough for Slicer to feel it, and checkpoints of one network are of one size.
                content = content or digest(path)
                if digest(entry.path) == content:
                    return entry.path
        target = self.new_path(path.stem)
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
        return target

    def new_path(self, name: str) -> Path:
        """A path in the models folder that no file has yet, nor one beside it to resume from, named after ``name``."""
        without = re.sub(re.escape(SUFFIX) + r"\s*$", "", name, flags=re.IGNORECASE)
        plain = re.sub(r"[^\w.+-]+", "-", without).strip("-.") or "checkpoint"
        taken = [_same_file(path.name) for path in (*_files(self.starters), *_all_files(self.models))]
        free, count = plain, 2
        while any(file.startswith(_same_file(free + SUFFIX)) for file in taken):
            free, count = f"{plain}-{count}", count + 1
        return self.models / f"{free}{SUFFIX}"

    def _entry(self, path: Path, origin: Literal["starter", "mine"]) -> Entry | None:
        """Read again only when the file changed: the panel calls this often. None: the file is gone."""
        try:
            state = path.stat()
        except OSError:
            return None
        stamp = state.st_mtime_ns, state.st_size
        if path not in self._read or self._read[path][0] != stamp:
            try:
                entry = Entry(path, origin, read_card(path))
            except InputError as problem:
                entry = Entry(path, origin, None, str(problem))
            except OSError as problem:
                entry = Entry(
                    path, origin, None, _("{path} cannot be read: {why}.").format(path=path, why=problem.strerror)
                )
            except Exception as problem:  # whatever is wrong with one file, the others stay in the list
                entry = Entry(path, origin, None, _("{path} cannot be read: {why}.").format(path=path, why=problem))
            self._read[path] = stamp, entry
        return self._read[path][1]


def _files(folder: Path) -> list[Path]:
    return [p for p in _all_files(folder) if p.suffix == SUFFIX and not p.name.startswith(".")]


def _all_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _age(path: Path) -> int:
    """Less for newer files; one that is gone meanwhile is left out later."""
    try:
        return -path.stat().st_mtime_ns
    except OSError:
        return 0


def _same_file(name: str) -> str:
    """``name`` without what some file systems do not tell apart: capitals, and the ways to write an accent."""
    return unicodedata.normalize("NFC", name).casefold()

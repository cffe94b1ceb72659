"""Names for what users choose from: our own, and what other packages add by entry points.

A package adds a method or a backbone without a change here, by naming it in its ``pyproject.toml``::

    [project.entry-points."contrastiveseg.methods"]
    vicreg = "my_package.vicreg:VICReg"

    [project.entry-points."contrastiveseg.backbones"]
    swin = "my_package.swin:swin"

The object named there is the decorated one (:func:`.methods.registry.register_method`,
:func:`.networks.registry.register_backbone`); the entry point's own name is for the reader.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import pkgutil
import sys
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import InputError

Key = TypeVar("Key")
Entry = TypeVar("Entry")

_log = logging.getLogger(__name__)


class Registry(Generic[Key, Entry]):
    """Classes or functions by key: those in the modules of ``package``, and those of the entry points of ``group``.

    Ours are loaded first, so that no other package can take one of their keys. A package that cannot be loaded is
    named in a warning and left out.
    """

    def __init__(self, package: str, group: str) -> None:
        self.package, self.group = package, group
        self.entries: dict[Key, Entry] = {}
        self._entry_points_loaded = False

    def add(self, key: Key, entry: Any) -> None:
        """Register ``entry``, which a decorator was applied to. Running its definition again replaces it.

        Raises:
            InputError: the key is another's already.
        """
        if not entry.__module__.startswith(f"{self.package}."):
            self._load_own()
        other: Any = self.entries.get(key)
        if other is not None and _definition(other) != _definition(entry):
            name = " ".join(key) if isinstance(key, tuple) else key
            raise InputError(f"{name} is the name of {'.'.join(_definition(other))} already. Choose another.")
        self.entries[key] = entry

    def get(self, key: Key) -> Entry | None:
        """The entry of ``key``, None if there is none. Other packages are loaded only where none of ours has it."""
        self._load_own()
        return self.entries.get(key) or self.all().get(key)

    def all(self) -> dict[Key, Entry]:
        """Every entry by its key, sorted; loads what is not loaded yet."""
        self._load_own()
        if not self._entry_points_loaded:
            self._entry_points_loaded = True
            # The same package may be seen twice, as where it is installed from a folder that is on the path too.
            points = {(point.name, point.value): point for point in entry_points(group=self.group)}
            for _, point in sorted(points.items()):
                self._load(point)
        return dict(sorted(self.entries.items()))

    def _load_own(self) -> None:
        for module in pkgutil.iter_modules(sys.modules[self.package].__path__):
            importlib.import_module(f"{self.package}.{module.name}")

    def _load(self, point: EntryPoint) -> None:
        """Load what an entry point names; a failure there is a warning, and the other packages stay usable."""
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout may be read by a program
                loaded = point.load()
            if not isinstance(loaded, ModuleType) and loaded not in self.entries.values():
                raise InputError("it is not registered; the decorator is missing.")
        except (Exception, SystemExit) as problem:
            package = point.dist.name if point.dist else point.value
            what = problem if isinstance(problem, InputError) else f"{type(problem).__name__}: {problem}"
            _log.warning("The package %s cannot add %r (%s): %s", package, point.name, point.value, what)


def package_of(entry: Any) -> str:
    """The top-level package in which a registered class or function is defined."""
    return entry.__module__.partition(".")[0]


def _definition(entry: Any) -> tuple[str, str]:
    return entry.__module__, entry.__qualname__

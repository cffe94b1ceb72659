"""What the stand-ins for CTK's and Slicer's widgets are made with."""

from __future__ import annotations

from typing import Any

from . import connections
from .pythonqt import check


class Declared(property):
    """A property of a stand-in with the type of the C++ one, which .ui files and assignments are held to."""

    type_name: str

    @classmethod
    def of(cls, name: str, type_name: str, default: Any) -> Declared:
        """A property whose value is kept; a change calls the class's ``_refresh``."""
        key = "_" + name

        def read(self: Any) -> Any:
            return vars_of(self).get(key, default)

        def write(self: Any, value: Any) -> None:
            check(value, type_name, f"{type(self).__name__}.{name}")
            vars_of(self)[key] = list(value) if type_name == "QStringList" else value
            if hasattr(type(self), "_refresh"):
                self._refresh()

        made = cls(read, write)
        made.type_name = type_name
        return made


def vars_of(obj: Any) -> dict[str, Any]:
    """The Python attributes of an instance."""
    return object.__getattribute__(obj, "__dict__")


emit = connections.emit

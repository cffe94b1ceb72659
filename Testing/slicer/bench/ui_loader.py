"""``qt.QUiLoader``: Qt's own loader, after the file was checked for what it would pass over in silence.

Qt replaces a class it does not know by the one it extends and drops properties that do not exist; Slicer then fails
later, and elsewhere. Here every class, property and connection of the file must exist.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtUiTools, QtWidgets

from . import connections, pythonqt

_read = QtCore.QObject.__getattribute__

# class name -> class; filled by ctk.py and qmrml.py
custom: dict[str, type] = {}


class UiError(Exception):
    """The file names something that does not exist."""


class _Loader(QtUiTools.QUiLoader):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[QtWidgets.QWidget] = []

    def createWidget(
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        if class_name in custom:
            widget = custom[class_name](parent)
            _read(widget, "setObjectName")(name)
            self.kept.append(widget)
            return widget
        widget = super().createWidget(class_name, parent, name)
        if not isinstance(widget, QtWidgets.QWidget):
            # Where the widget is now, C++ once deleted an item that PySide6 takes to be there still.
            address = shiboken6.getCppPointer(widget)[0]
            shiboken6.invalidate(widget)
            widget = shiboken6.wrapInstance(address, getattr(QtWidgets, class_name))
        return widget


class QUiLoader:
    """``load(file)`` returns the top widget."""

    def load(self, file: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        root = ET.fromstring(bytes(file.readAll().data()))
        _check_names(root)
        properties = _take_properties(root)
        links = _take(root, "connections")
        _take(root, "customwidgets")
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        loader = _Loader()
        pythonqt.loading.append(True)
        try:
            top = _read(loader, "load")(buffer, parent)
        finally:
            pythonqt.loading.clear()
        if top is None:
            raise UiError(_read(loader, "errorString")())
        widgets = {w.objectName: w for w in [top, *_read(top, "findChildren")(QtCore.QObject)] if w.objectName}
        for name, values in properties.items():
            for key, value in values.items():
                setattr(widgets[name], key, value)
        for link in links:
            _connect(widgets, link)
        # The Python half of a stand-in lives as long as its widget.
        pythonqt.vars_keep(top, loader.kept)
        return top


def _check_names(root: ET.Element) -> None:
    seen: set[str] = set()
    for element in root.iter("widget"):
        name, class_name = element.get("name", ""), element.get("class", "")
        if name in seen:
            raise UiError(f"two widgets are called {name}")
        seen.add(name)
        if class_name in custom:
            continue
        qt_class = getattr(QtWidgets, class_name, None)
        if qt_class is None and class_name != "Line":
            raise UiError(f"the bench has no {class_name} (widget {name}): add it or do not use it")
        if qt_class is not None:
            meta = qt_class.staticMetaObject
            for prop in element.findall("property"):
                # A label's buddy is no property of the class; Qt's loader joins the two itself.
                known = meta.indexOfProperty(prop.get("name", "")) >= 0 or prop.get("name") == "buddy"
                if not known and prop.get("stdset") != "0":
                    raise UiError(f"{class_name} has no property {prop.get('name')} (widget {name})")


def _take(root: ET.Element, tag: str) -> list[ET.Element]:
    found = root.find(tag)
    if found is None:
        return []
    root.remove(found)
    return list(found)


def _take_properties(root: ET.Element) -> dict[str, dict[str, Any]]:
    """Those that stand-ins declare in Python, which Qt's loader cannot set."""
    taken: dict[str, dict[str, Any]] = {}
    for element in root.iter("widget"):
        cls = custom.get(element.get("class", ""))
        if cls is None:
            continue
        for prop in element.findall("property"):
            name = prop.get("name", "")
            declared = pythonqt.defined_in_python(cls, name)
            if isinstance(declared, property):
                taken.setdefault(element.get("name", ""), {})[name] = _python_value(cls, prop)
                element.remove(prop)
            elif cls.staticMetaObject.indexOfProperty(name) < 0 and prop.get("stdset") != "0":  # type: ignore[attr-defined]
                raise UiError(f"the bench has no {cls.__name__}.{name} (widget {element.get('name')})")
    return taken


def _python_value(cls: type, prop: ET.Element) -> Any:
    value = prop[0]
    text = value.text or ""
    convert: dict[str, Callable[[], Any]] = {
        "bool": lambda: text == "true",
        "string": lambda: text,
        "number": lambda: int(text),
        "double": lambda: float(text),
        "stringlist": lambda: [s.text or "" for s in value],
        "enum": lambda: getattr(cls, text.rsplit("::", 1)[-1]),
        "set": lambda: _flags(cls, text),
    }
    return convert[value.tag]()


def _flags(cls: type, text: str) -> Any:
    result = None
    for word in text.split("|"):
        flag = getattr(cls, word.rsplit("::", 1)[-1])
        result = flag if result is None else result | flag
    return result


def _connect(widgets: dict[str, Any], link: ET.Element) -> None:
    sender, signal, receiver, slot = (link.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot"))
    for name in (sender, receiver):
        if name not in widgets:
            raise UiError(f"a connection names {name}, which is no widget")
    target = getattr(widgets[receiver], slot.split("(")[0], None)
    if not callable(target):
        raise UiError(f"{type(widgets[receiver]).__name__} has no slot {slot}")
    takes_none = slot.endswith("()")
    call = (lambda: target()) if takes_none else (lambda value: target(value))
    connections.connect(widgets[sender], signal, call)

"""PythonQt's rules laid over PySide6: properties are values, signals are connected by their signature in a string.

Where the two differ, PythonQt's way is the only one accepted: ``label.text`` is a string and ``label.text()`` fails;
assigning to a name that a C++ object does not have fails; a signal that does not exist raises here, where PythonQt only
prints. Values of the wrong type, which PythonQt converts by rules of its own ("false" is True), are refused.

The look-up follows PythonQtInstanceWrapper_getattro: names defined in Python, then properties, methods and signals,
then children by their object name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from . import connections, dialogs, qt5

Qt_Object = QtCore.QObject
_read = Qt_Object.__getattribute__
_property = Qt_Object.property
_set_property = Qt_Object.setProperty

# Python classes that stand in for C++ ones: new attributes are refused on them as on those.
stand_ins: set[type] = set()


# Not empty while a .ui file is being loaded.
loading: list[bool] = []


def stands_in(cls: type) -> type:
    """Class decorator: instances behave as C++ objects do."""
    stand_ins.add(cls)
    return cls


@cache
def defined_in_python(cls: type, name: str) -> Any:
    """The attribute where a Python class has it before Qt's own classes do, else None."""
    for klass in cls.__mro__:
        if name in vars(klass):
            return None if connections.is_native(klass) else vars(klass)[name]
    return None


@cache
def _properties_of(cls: type) -> dict[str, QtCore.QMetaProperty]:
    meta = connections.meta_of(cls)
    return {meta.property(i).name(): meta.property(i) for i in range(meta.propertyCount())}


def properties(obj: QtCore.QObject) -> dict[str, QtCore.QMetaProperty]:
    """The object's Qt properties, by name."""
    return _properties_of(type(obj))


# Classes where a static function shares its name with a method have a look-up of their own: QProcess, QFile, QMenu.
_native_reads: dict[type, Any] = {Qt_Object: _read}


_reading: set[tuple[int, str]] = set()


def _native_read(obj: QtCore.QObject, name: str) -> Any:
    """PySide6's own look-up; some classes' asks the base's, and thereby this bench, for what it does not know."""
    key = (id(obj), name)
    own = next(read for klass in type(obj).__mro__ if (read := _native_reads.get(klass)) is not None)
    if own is _read or key in _reading:
        return _read(obj, name)
    _reading.add(key)
    try:
        return own(obj, name)
    finally:
        _reading.discard(key)


def _get(self: QtCore.QObject, name: str) -> Any:
    if name.startswith("__"):
        return _read(self, name)
    cls = type(self)
    if defined_in_python(cls, name) is not None:
        return _read(self, name)
    if name in _EVERYWHERE:
        return _EVERYWHERE[name].__get__(self)
    own = _read(self, "__dict__")
    if name in own and not isinstance(own[name], QtCore.SignalInstance):  # PySide6 keeps its signals there
        return own[name]
    if any(signal.startswith(name + "(") for signal in connections.declared(self)):
        return connections.BoundSignal(self, name)
    if _missing_in_qt5(cls, name):
        return _child_or_dynamic(self, name)
    if name in properties(self):
        return _value(self, name)
    if name in ("exec", "exec_", "open") and isinstance(self, QtWidgets.QDialog | QtWidgets.QMenu):
        return lambda *position: dialogs.run(self)
    if name == "exec_":
        name = "exec"
    try:
        value = _native_read(self, name)
    except AttributeError:
        return _child_or_dynamic(self, name)
    if isinstance(value, QtCore.SignalInstance):
        return connections.BoundSignal(self, name)
    return value


@cache
def _missing_in_qt5(cls: type, name: str) -> bool:
    native = next(klass for klass in cls.__mro__ if connections.is_native(klass))
    return qt5.lacks(native.__name__, name)


def _child_or_dynamic(obj: QtCore.QObject, name: str) -> Any:
    """What PythonQt looks for last."""
    for child in _read(obj, "children")():
        if _property(child, "objectName") == name:
            return child
    if name.encode() in [bytes(n.data()) for n in _read(obj, "dynamicPropertyNames")()]:
        return _property(obj, name)
    cls = type(obj)
    hint = ": the bench has no {0}.{1}, add the real behavior or do not use it" if cls in stand_ins else ""
    raise AttributeError(f"{cls.__name__} has no attribute named '{name}'" + hint.format(cls.__name__, name))


def _value(obj: QtCore.QObject, name: str) -> Any:
    """A property's value: by its getter, which knows flags and enumerations that QVariant does not, else by name."""
    getter = getattr(type(obj), name, None)
    if callable(getter):
        try:
            return getter(obj)
        except TypeError:
            pass  # a static method or a signal of that name
    return _property(obj, name)


def _set(self: QtCore.QObject, name: str, value: Any) -> None:
    cls = type(self)
    if name == "name" and defined_in_python(cls, name) is None:
        name = "objectName"
    own = defined_in_python(cls, name)
    if isinstance(own, property):
        if own.fset is None:
            raise AttributeError(f"Property '{name}' of {cls.__name__} object is not writable")
        own.fset(self, value)
        return
    if name.startswith("_") and not connections.is_native(cls):
        _write_python(self, name, value)
        return
    if name in properties(self) and not _missing_in_qt5(cls, name):
        _assign(self, name, value)
        return
    if loading and isinstance(value, QtWidgets.QWidget):
        return  # PySide6's QUiLoader names the children on the top widget
    like_cpp = connections.is_native(cls) or cls in stand_ins
    if not like_cpp:
        _write_python(self, name, value)
        return
    if _property(self, name) is not None:
        _set_property(self, name, value)
        return
    if isinstance(value, QtCore.SignalInstance):
        return  # PySide6 would keep a signal that was read in the instance; it may as well read it again
    if hasattr(cls, name):
        raise AttributeError(f"Slot '{name}' can not be overwritten on {cls.__name__} object")
    raise AttributeError(
        f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
    )


def _write_python(obj: QtCore.QObject, name: str, value: Any) -> None:
    _read(obj, "__dict__")[name] = value


def _assign(obj: QtCore.QObject, name: str, value: Any) -> None:
    prop = properties(obj)[name]
    if not prop.isWritable():
        raise AttributeError(f"Property '{name}' of {type(obj).__name__} object is not writable")
    check(value, prop.typeName(), f"{type(obj).__name__}.{name}")
    setter = getattr(type(obj), "set" + name[0].upper() + name[1:], None)
    if setter is not None:
        setter(obj, value)
    elif not _set_property(obj, name, value):
        raise TypeError(f"Property '{name}' of type '{prop.typeName()}' does not accept {value!r}")


_TYPES: dict[str, Callable[[Any], bool]] = {
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "uint": lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    "double": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "QString": lambda v: isinstance(v, str),
    "QStringList": lambda v: isinstance(v, list | tuple) and all(isinstance(x, str) for x in v),
}


def check(value: Any, type_name: str, where: str) -> None:
    """Refuses what PythonQt would silently turn into something else."""
    if type_name in _TYPES and not _TYPES[type_name](value):
        raise TypeError(f"{where} is a {type_name}: {value!r} ({type(value).__name__}) would be converted silently")


def _class_name(self: QtCore.QObject) -> str:
    return _read(self, "metaObject")().className()


def _delete(self: QtCore.QObject) -> None:
    shiboken6.delete(self)


def _single_shot(milliseconds: int, slot: Callable[[], None]) -> None:
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    _read(timer, "setSingleShot")(True)

    def fire() -> None:
        _read(timer, "deleteLater")()
        connections.call(slot, (), "QTimer.singleShot")

    connections.connect_native(timer, "timeout()", fire)
    _read(timer, "start")(milliseconds)


class _Name:
    """``name`` is PythonQt's other word for ``objectName``."""

    def __get__(self, obj: QtCore.QObject, cls: type | None = None) -> str:
        return _property(obj, "objectName")


_EVERYWHERE: dict[str, Any] = {
    "connect": connections.connect,
    "disconnect": connections.disconnect,
    "className": _class_name,
    "delete": _delete,
    "name": _Name(),
}


def _every_class(root: type) -> list[type]:
    found, queue = [], [root]
    while queue:
        cls = queue.pop()
        found.append(cls)
        queue += cls.__subclasses__()
    return found


# PythonQt's wrappers are false when the thing has nothing in it: slicer.util.findChildren passes over an empty layout,
# so that childWidgetVariables has neither it nor what it holds.
_FALSE_WHEN_EMPTY = (QtWidgets.QLayout, QtWidgets.QMenu, QtCore.QDir, QtCore.QUrl, QtCore.QSize, QtCore.QRect)


# Static functions with the name of a method: PythonQt may find the method first, and ask for an instance.
_HIDDEN = ((QtCore.QProcess, "startDetached"), (QtCore.QFile, "copy"), (QtCore.QFile, "exists"))


def _refused(cls: type, name: str) -> Callable[..., Any]:
    def refuse(*arguments: Any) -> Any:
        raise TypeError(f"{cls.__name__}.{name} is a static function and a method, which PythonQt may mix up")

    return staticmethod(refuse)


def lay_over() -> None:
    """Changes PySide6's classes, once a process."""
    if Qt_Object.__getattribute__ is _get:
        return
    Qt_Object.__getattribute__ = _get  # type: ignore[method-assign]
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):  # classes are made when first named
            getattr(module, name)
    for cls in _every_class(Qt_Object):
        if connections.is_native(cls):
            cls.__setattr__ = _set  # type: ignore[assignment]
            if cls is not Qt_Object and "__getattribute__" in vars(cls):
                _native_reads[cls] = cls.__getattribute__
                cls.__getattribute__ = _get  # type: ignore[method-assign]
    for cls in _FALSE_WHEN_EMPTY:
        cls.__bool__ = lambda self: not self.isEmpty()  # type: ignore[attr-defined]
    for cls, name in _HIDDEN:
        setattr(cls, name, _refused(cls, name))
    QtCore.QTimer.singleShot = staticmethod(_single_shot)  # type: ignore[method-assign,assignment]
    dialogs.lay_over()


def vars_keep(owner: QtCore.QObject, things: Any) -> None:
    """Keeps Python objects alive as long as the Qt object is."""
    address = shiboken6.getCppPointer(owner)[0]
    _kept.setdefault(address, []).append(things)
    connections.connect_native(owner, "destroyed()", lambda: _kept.pop(address, None))


_kept: dict[int, list[Any]] = {}

"""Signals and slots as PythonQt has them: ``sender.connect("clicked(bool)", f)``.

The argument list is cut to what a function or method takes; ``functools.partial``, objects with ``__call__`` and
built-ins get all of it (PythonQtSignalTarget::call). An exception in a slot does not reach the emitter: it fails the
test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import failures, qt5

_read = QtCore.QObject.__getattribute__
_native_connect = QtCore.QObject.connect
_native_disconnect = QtCore.QObject.disconnect
_native_emit = QtCore.QObject.emit

# (address of the sender, signature) -> the connected callables, each with what was given to Qt
_table: dict[tuple[int, str], list[tuple[Callable[..., Any], Callable[..., Any]]]] = {}
_watched: set[int] = set()

# Names that have a second overload in Qt 5, which Slicer uses: which one a bare name means there is a matter of luck.
OVERLOADED_IN_QT5 = {
    "QComboBox": {"activated", "currentIndexChanged", "highlighted"},
    "QSpinBox": {"valueChanged"},
    "QDoubleSpinBox": {"valueChanged"},
    "QButtonGroup": {"buttonClicked", "buttonPressed", "buttonReleased", "buttonToggled"},
    "QProcess": {"finished", "error"},
    "QCompleter": {"activated", "highlighted"},
}


def is_native(cls: type) -> bool:
    """Whether the class is Qt's own rather than written in Python."""
    return cls.__module__.startswith(("PySide6", "shiboken6", "Shiboken")) or cls is object


def meta_of(cls: type) -> QtCore.QMetaObject:
    """The meta-object of the Qt class behind ``cls``; PySide6 replaces those of Python classes while one holds them."""
    return next(klass for klass in cls.__mro__ if is_native(klass)).staticMetaObject


def _qt_signals(sender: QtCore.QObject) -> dict[str, QtCore.QMetaMethod]:
    meta = meta_of(type(sender))
    methods = [meta.method(i) for i in range(meta.methodCount())]
    known = {
        bytes(m.methodSignature().data()).decode(): m
        for m in methods
        if m.methodType() == QtCore.QMetaMethod.MethodType.Signal
    }
    name = str(meta.className())
    return {s: m for s, m in known.items() if s in qt5.signals(name)} if name in qt5.TABLE else known


def declared(sender: QtCore.QObject) -> tuple[str, ...]:
    """The signals that a stand-in declares in its classes' ``signals``."""
    return tuple(s for cls in type(sender).__mro__ for s in vars(cls).get("signals", ()))


def normalized(signal: str) -> str:
    """The signature without the blanks and references that do not matter."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()


def connect(sender: QtCore.QObject, signal: str, slot: Callable[..., Any]) -> bool:
    """Connects; raises where the signal does not exist, which PythonQt only prints."""
    if not isinstance(signal, str) or not callable(slot):
        raise TypeError(f"connect takes a signature and a callable, not {signal!r} and {slot!r}")
    signature = normalized(signal)
    key = (_address(sender), signature)
    if signature in declared(sender):
        receiver: Callable[..., Any] = slot
    else:
        method = _method(sender, signature)
        receiver = _receiver(slot, method.parameterCount(), f"{type(sender).__name__}.{signature}")
        connect_native(sender, signature, receiver)
    _table.setdefault(key, []).append((slot, receiver))
    return True


def disconnect(sender: QtCore.QObject, signal: str, slot: Callable[..., Any] | None = None) -> bool:
    """Ends the connection to an equal callable; False where there is none."""
    signature = normalized(signal)
    if signature not in declared(sender):
        _method(sender, signature)
    entries = _table.get((_address(sender), signature), [])
    for entry in [e for e in entries if slot is None or e[0] == slot]:
        entries.remove(entry)
        if signature not in declared(sender):
            _native_disconnect(sender, QtCore.SIGNAL(signature), entry[1])
        if slot is not None:
            return True
    return slot is None


def emit(sender: QtCore.QObject, signature: str, *args: Any) -> None:
    """Emits a signal that a stand-in declares."""
    if signature not in declared(sender):
        raise AttributeError(f"{type(sender).__name__} declares no signal {signature}")
    if _read(sender, "signalsBlocked")():
        return
    for slot, _ in list(_table.get((_address(sender), signature), [])):
        call(slot, args, f"{type(sender).__name__}.{signature}")


def connect_native(sender: QtCore.QObject, signature: str, receiver: Callable[..., Any]) -> None:
    """Connects by Qt itself; the receiver takes exactly the signal's arguments."""
    _native_connect(sender, QtCore.SIGNAL(signature), receiver)


def call(slot: Callable[..., Any], args: tuple[Any, ...], where: str) -> None:
    """Calls a slot as PythonQt does: arguments cut to what it takes, exceptions kept from the caller."""
    try:
        slot(*args[: _arity(slot, len(args))])
    except Exception:
        failures.record_exception(f"in a slot of {where}")


def _arity(slot: Callable[..., Any], given: int) -> int:
    if not (inspect.isfunction(slot) or inspect.ismethod(slot)):
        return given
    code = slot.__code__
    if code.co_flags & inspect.CO_VARARGS:
        return given
    return min(given, code.co_argcount - inspect.ismethod(slot))


def _receiver(slot: Callable[..., Any], count: int, where: str) -> Callable[..., Any]:
    """A function of exactly ``count`` parameters, from which PySide6 chooses the overload."""
    names = ", ".join(f"a{i}" for i in range(count))
    return eval(
        f"lambda {names}: call(slot, ({names}{',' if count else ''}), where)",
        {"call": call, "slot": slot, "where": where},
    )


def _method(sender: QtCore.QObject, signature: str) -> QtCore.QMetaMethod:
    known = _qt_signals(sender)
    if signature not in known:
        names = ", ".join(sorted({*known, *declared(sender)}))
        raise AttributeError(f"{type(sender).__name__} has no signal {signature}; it has {names}")
    return known[signature]


def _count(signature: str) -> int:
    """How many arguments a signature has; none of ours has templates with several."""
    arguments = signature[signature.index("(") + 1 : -1]
    return arguments.count(",") + 1 if arguments else 0


def _address(sender: QtCore.QObject) -> int:
    """The object's place in memory. Another may be there later, so connections are forgotten with the object."""
    address = shiboken6.getCppPointer(sender)[0]
    if address not in _watched:
        _watched.add(address)

        def forget() -> None:
            _watched.discard(address)
            for key in [k for k in _table if k[0] == address]:
                del _table[key]

        connect_native(sender, "destroyed()", forget)
    return address


class BoundSignal:
    """``button.clicked``: can be connected, emitted and called, which emits too."""

    def __init__(self, sender: QtCore.QObject, name: str) -> None:
        self._sender, self._name = sender, name

    def _signatures(self) -> list[str]:
        every = [*declared(self._sender), *_qt_signals(self._sender)]
        return [s for s in every if s.startswith(self._name + "(")]

    def _signature(self) -> str:
        """The one a bare name means: with all its arguments, since shorter ones leave out those with defaults."""
        classes = type(self._sender).__mro__
        several = sum(s.startswith(self._name + "(") for s in declared(self._sender)) > 1
        if several or any(self._name in OVERLOADED_IN_QT5.get(cls.__name__, ()) for cls in classes):
            raise TypeError(f'{classes[0].__name__}.{self._name} has overloads: use connect("{self._name}(...)", f)')
        return max(self._signatures(), key=_count)

    def connect(self, slot: Callable[..., Any]) -> bool:
        return connect(self._sender, self._signature(), slot)

    def disconnect(self, slot: Callable[..., Any] | None = None) -> bool:
        return disconnect(self._sender, self._signature(), slot)

    def emit(self, *args: Any) -> None:
        fitting = [s for s in self._signatures() if _count(s) == len(args)]
        if not fitting:
            raise TypeError(f"{self._name} has no overload of {len(args)} arguments: {', '.join(self._signatures())}")
        if fitting[0] in declared(self._sender):
            emit(self._sender, fitting[0], *args)
        else:  # not by SignalInstance.emit: it asks the object for its "emit", which objects in Slicer do not have
            _native_emit(self._sender, QtCore.SIGNAL(fitting[0]), *args)

    __call__ = emit

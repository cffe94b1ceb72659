"""The stand-ins invent nothing: what they offer is in the headers of CTK 2026-08 and Slicer 5.12."""

import json
from pathlib import Path

import pytest

TABLE = json.loads((Path(__file__).parent / "bench" / "allowed_names.json").read_text(encoding="utf-8"))
# How the headers write what Declared calls otherwise.
SAME_TYPE = {"ctkPathLineEdit::Filters": "Filters"}


@pytest.fixture
def stand_ins(slicer_started):
    from bench import pythonqt

    return sorted(pythonqt.stand_ins, key=lambda cls: cls.__name__)


def offered(name, what):
    """Of the class and its parents, as far as those are in the table."""
    entry = TABLE.get(name)
    if entry is None:
        return {}
    merged = {}
    for parent in entry["parents"]:
        merged |= offered(parent, what)
    if what == "read_only":  # a parent's property may have become writable
        merged = {n: None for n in merged if n not in entry["properties"]}
    mine = entry[what]
    return merged | (mine if isinstance(mine, dict) else dict.fromkeys(mine))


def qt_base(name):
    entry = TABLE.get(name)
    return qt_base(entry["parents"][0]) if entry else name


def own(cls):
    """The public names of the bench's classes in its order of inheritance; those that Qt has anyway are left out."""
    from bench import connections

    native = next(k for k in cls.__mro__ if connections.is_native(k))
    ours = [k for k in cls.__mro__ if not connections.is_native(k)]
    return {n: v for k in reversed(ours) for n, v in vars(k).items() if n[0] != "_" and not hasattr(native, n)}


def test_every_stand_in_is_in_the_table_and_on_the_right_class_of_qt(stand_ins):
    from bench import connections

    assert [c.__name__ for c in stand_ins if c.__name__ not in TABLE] == []
    bases = {c.__name__: next(k for k in c.__mro__ if connections.is_native(k)).__name__ for c in stand_ins}
    wrong = {n: b for n, b in bases.items() if b != qt_base(n)}
    assert wrong == {}


def test_no_name_is_invented(stand_ins):
    invented = [
        f"{cls.__name__}.{name}"
        for cls in stand_ins
        for name in own(cls)
        if name != "signals"
        and not any(name in offered(cls.__name__, what) for what in ("properties", "methods", "enumerators"))
    ]
    assert not invented, invented


def test_properties_are_properties_and_methods_are_methods(stand_ins):
    wrong = []
    for cls in stand_ins:
        properties, methods = offered(cls.__name__, "properties"), offered(cls.__name__, "methods")
        for name, value in own(cls).items():
            if isinstance(value, property) and name not in properties:
                wrong.append(f"{cls.__name__}.{name} is no property")
            if callable(value) and name not in methods and name not in offered(cls.__name__, "enumerators"):
                wrong.append(f"{cls.__name__}.{name} is no method")
    assert not wrong, wrong


def test_properties_have_the_headers_types_and_are_writable_where_those_are(stand_ins):
    wrong = []
    for cls in stand_ins:
        properties, fixed = offered(cls.__name__, "properties"), offered(cls.__name__, "read_only")
        for name, value in own(cls).items():
            if isinstance(value, property) and name in properties:
                kind = getattr(value, "type_name", None)
                if kind is not None and kind != SAME_TYPE.get(properties[name], properties[name]):
                    wrong.append(f"{cls.__name__}.{name} is a {properties[name]}, not a {kind}")
                if value.fset is not None and name in fixed:
                    wrong.append(f"{cls.__name__}.{name} is not writable")
    assert not wrong, wrong


def test_no_signal_is_invented(stand_ins):
    from bench import connections

    invented = [
        f"{cls.__name__}.{signal}"
        for cls in stand_ins
        for klass in cls.__mro__
        if not connections.is_native(klass)
        for signal in vars(klass).get("signals", ())
        if signal not in offered(cls.__name__, "signals")
    ]
    assert not invented, invented

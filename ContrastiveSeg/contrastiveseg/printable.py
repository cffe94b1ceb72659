"""Texts that hold names from files, made fit for a terminal or a table."""

from __future__ import annotations

import reprlib
import traceback

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def printable(text: str) -> str:
    """``text`` in one line, without what a stranger's file could do to a terminal with it: escape sequences, lines that
    look like others of ours, text that is turned around."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def quoted(value: object) -> str:
    """``value`` as Python writes it, shortened: what a file holds may be long, and nested without end."""
    return _SHORT.repr(value)


def shortened(name: object) -> str:
    """A ``name`` from a file, its middle left out where it is too long to be one."""
    text = str(name)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-30:]}"


def inert(text: str) -> str:
    """``text`` that a spreadsheet does not take for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def printable_trace() -> str:
    """The trace of the exception that is being handled, line by line as :func:`printable`."""
    return "\n".join(map(printable, traceback.format_exc().splitlines()))

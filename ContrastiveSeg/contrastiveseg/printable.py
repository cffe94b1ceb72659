"""Texts that hold names from files, made fit for a terminal."""

from __future__ import annotations

import traceback


def printable(text: str) -> str:
    """``text`` in one line, without what a stranger's file could do to a terminal with it: escape sequences, lines that
    look like others of ours, text that is turned around."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def printable_trace() -> str:
    """The trace of the exception that is being handled, line by line as :func:`printable`."""
    return "\n".join(map(printable, traceback.format_exc().splitlines()))

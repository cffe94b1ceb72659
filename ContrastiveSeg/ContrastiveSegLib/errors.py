"""The errors a user can meet. Each says what is wrong and what to do; the class decides the exit code."""

from __future__ import annotations


class ContrastiveSegError(Exception):
    """Base of every expected failure. ``exit_code`` is what the terminal returns for it."""

    exit_code = 1


class InputError(ContrastiveSegError):
    """Something given from outside (file, folder, checkpoint, option) cannot be used as it is."""

    exit_code = 2


class Cancelled(ContrastiveSegError):
    """The user asked to stop."""

    exit_code = 130

"""The reference of the Python API: every public name, its parameters, and its docstring as Markdown."""

import re
import sys

from pages import ROOT

import contrastiveseg

sys.path.insert(0, str(ROOT / "ci"))

from docs_python import document, markdown_python


def convert(first: int, *, factor: float = 2.0, late: "str | None" = None) -> float:
    """The product of ``first`` and a ``factor``, see :func:`.volumes.convert`.

    Args:
        first: a number
            of two lines. factor: another.

    Raises:
        InputError: never.

    >>> convert(1)
    2.0
    """
    return first * factor


def test_every_public_name_has_its_section():
    text = markdown_python()
    assert set(re.findall(r"^## (\w+)$", text, re.M)) == set(contrastiveseg.__all__)
    assert r"### Predictor.\_\_call\_\_" in text
    assert " at 0x" not in text


def test_a_docstring_of_the_house_becomes_markdown():
    text = document("convert", convert)
    assert "convert(first: int, *, factor: float = 2.0, late: str | None = None) -> float" in text
    assert "The product of `first` and a `factor`, see `convert`." in text
    assert "**Args**\n\n- `first`: a number\n    of two lines. factor: another.\n" in text
    assert "**Raises**\n\n- `InputError`: never.\n" in text
    assert text.endswith("```pycon\n>>> convert(1)\n2.0\n```")

"""Whatever the panel says can be translated."""

import ast
from pathlib import Path

import pytest

PANEL = Path(__file__).resolve().parents[2] / "ContrastiveSeg" / "ContrastiveSegPanel"
#: What shows its arguments to the user.
TELLS = {
    "InputError",
    "ContrastiveSegError",
    "Cancelled",
    "setText",
    "addItem",
    "setToolTip",
    "report",
    "confirm",
    "log",
}


@pytest.mark.parametrize("file", sorted(PANEL.rglob("*.py")), ids=lambda file: file.stem)
def test_no_bare_sentence_reaches_the_user(file):
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    said = [
        (argument.lineno, ast.unparse(argument))
        for call in calls
        if getattr(call.func, "id", getattr(call.func, "attr", "")) in TELLS
        for argument in call.args
        if is_sentence(argument)
    ]
    assert said == []


def is_sentence(argument):
    """A literal with words in it, rather than "" or numbers put together."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(" " in text.strip() for text in texts)


def test_sentences_are_taken_as_written_before_they_are_filled_in():
    """A translator sees what is in the file: f-strings and sums would come filled in, and never be found."""
    wrong = []
    for file in PANEL.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                (argument,) = node.args
                if not isinstance(argument, ast.Constant):
                    wrong.append(f"{file.name}:{node.lineno}")
    assert wrong == []

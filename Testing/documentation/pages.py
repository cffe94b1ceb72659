"""The pages of the documentation, for the tests: their links, and their blocks of code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("Testing/**/*.md")]
)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(page: Path) -> str:
    """The page's text without its blocks and spans of code."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))


def links(page: Path) -> list[str]:
    """Targets of links and pictures that lie in this repository."""
    return [t for t in _LINK.findall(without_code(page)) if not re.match(r"[a-z]+:", t)]


def anchors(page: Path) -> set[str]:
    """What links to headings of ``page`` may name, as GitHub and MkDocs form it."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks of code in ``language``."""
    return [code for _, found, code in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def snippet(page: Path, name: str) -> str:
    """The block of code behind the comment ``<!-- snippet: NAME -->``."""
    text = page.read_text(encoding="utf-8").partition(f"<!-- snippet: {name} -->\n")[2]
    found = _FENCE.match(text)
    assert found, f"{page} has no snippet {name}"
    return found[3]

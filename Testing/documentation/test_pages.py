"""The documentation holds together: links lead somewhere, generated parts exist, README's table is the measured one."""

import re
import sys

import pytest
from pages import PAGES, ROOT, anchors, links, without_code

sys.path[:0] = [str(ROOT / "Testing" / "benchmarks"), str(ROOT / "ci")]

from docs_figures import FIGURES  # noqa: E402
from published import TABLES, budgets  # noqa: E402

GENERATED = ("jobs", "methods", "python")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    lost = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            lost.append(target)
    assert lost == []


def test_architecture_names_files_that_are_there():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    module = ROOT / "ContrastiveSeg"
    homes = (ROOT, ROOT / "Testing", module, module / "contrastiveseg", module / "ContrastiveSegPanel")
    named = set(re.findall(r"[\w/]*\w\.py\b|\b[a-z]\w*/", text))
    assert len(named) > 50
    assert sorted(name for name in named if not any((home / name).exists() for home in homes)) == []


def test_readme_is_short_and_shows_the_measured_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 8192
    assert budgets() in text


def test_generated_parts_of_pages_exist():
    marks = [mark for page in PAGES for mark in re.findall(r"<!-- (\w+): ([\w-]+) -->", without_code(page))]
    known = {"table": set(TABLES), "figure": set(FIGURES), "generated": set(GENERATED)}
    assert [m for m in marks if m[0] in known and m[1] not in known[m[0]]] == []
    assert {kind for kind, _ in marks} >= set(known)


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_have_numbers_in_every_row(name):
    _, _, *rows = TABLES[name]().splitlines()
    assert rows
    assert all(re.search(r"\d", row.partition("|")[2].partition("|")[2]) for row in rows)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_the_same_whenever_they_are_drawn(name):
    first = FIGURES[name]()
    assert first.startswith("<?xml")
    assert FIGURES[name]() == first


def test_every_page_stands_in_the_navigation():
    navigation = re.findall(r"[-:] ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    docs = ROOT / "docs"
    assert sorted(navigation) == sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))

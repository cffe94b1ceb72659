"""What MkDocs calls while it builds the site (mkdocs.yml): generated parts of pages, links to the code, a last check.

A page names what is generated in a comment: ``<!-- table: NAME -->`` (Testing/benchmarks/published.py),
``<!-- figure: NAME -->`` (ci/docs_figures.py), ``<!-- generated: NAME -->`` (the reference of commands and of Python).
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
for folder in ("ContrastiveSeg", "Testing/benchmarks", "ci"):
    sys.path.insert(0, str(ROOT / folder))

from docs_figures import FIGURES  # noqa: E402
from docs_python import markdown_python  # noqa: E402
from published import TABLES  # noqa: E402

from contrastiveseg.reference import markdown_jobs, markdown_methods  # noqa: E402

GENERATED: dict[str, Callable[[], str]] = {
    "jobs": markdown_jobs,
    "methods": markdown_methods,
    "python": markdown_python,
}
_MARK = re.compile(r"<!-- (table|generated|figure): ([\w-]+) -->")
_LINK = re.compile(r"(\]\()(\.\./[^)\s#]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the figures, which are drawn anew with every build."""
    for name, draw in FIGURES.items():
        files.append(File.generated(config, f"figures/{name}.svg", content=draw()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put in what is generated, and turn links to files outside docs/ into links to the repository."""
    source = page.file.src_uri

    def made(mark: re.Match[str]) -> str:
        kind, name = mark.groups()
        if kind == "figure":
            place = posixpath.relpath(f"figures/{name}.svg", posixpath.dirname(source) or ".")
            return f"![{(FIGURES[name].__doc__ or name).splitlines()[0]}]({place})"
        return (TABLES if kind == "table" else GENERATED)[name]()

    def linked(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), link[2]))
        if path.startswith("docs/"):
            return link[0]
        if not (ROOT / path).exists():
            raise PluginError(f"{source} links to {path}, which is not there.")
        return f"{link[1]}{config['repo_url']}/blob/main/{path}"

    return _LINK.sub(linked, _MARK.sub(made, markdown))


class _Fetched(HTMLParser):
    """Addresses of what a browser fetches by itself to show a page: scripts, styles, fonts, pictures, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "link"):
            self.addresses += [a for a in (given.get("src"), given.get("href")) if a]


def on_post_build(config: Any) -> None:
    """Hold the site to what it promises: a page fetches nothing from another computer.

    Raises:
        PluginError: one does.
    """
    for page in Path(config["site_dir"]).rglob("*.html"):
        reader = _Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        elsewhere = [a for a in reader.addresses if re.match(r"(https?:)?//", a)]
        if elsewhere:
            raise PluginError(f"{page} would fetch {elsewhere[0]} from elsewhere.")

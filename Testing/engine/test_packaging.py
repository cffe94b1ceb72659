"""What ships is what is there, and the files that name versions and dependencies agree."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import contrastiveseg

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it for Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "ContrastiveSeg"
METHODS_OF_PAPERS = {"macl", "cvrl", "mixcl", "ideal", "mcsc", "bcp", "mean-teacher"}


def shipped(name: str) -> list[str]:
    """What ``file(GLOB_RECURSE name ...)`` finds in the module's CMakeLists.txt, as paths below the module."""
    text = re.sub(r"#.*", "", (MODULE / "CMakeLists.txt").read_text(encoding="utf-8"))
    found = re.search(rf"file\(GLOB_RECURSE {name} RELATIVE \S+ CONFIGURE_DEPENDS\s([^)]*)\)", text)
    assert found, f"no list {name}"
    patterns = [pattern.replace("${MODULE_NAME}", "ContrastiveSeg") for pattern in found[1].split()]
    # In CMake a pattern's folder is searched with all below it.
    files = {path for p in patterns for path in (MODULE / p).parent.rglob(Path(p).name)}
    return sorted(path.relative_to(MODULE).as_posix() for path in files)


def tracked() -> list[str]:
    """The module's files in git, as paths below the module."""
    told = subprocess.run(["git", "ls-files", "-z"], cwd=MODULE, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip("not a git checkout, so nothing tells what belongs to it")
    return sorted(name for name in told.stdout.split("\0") if name)


def pinned() -> dict[str, list[str]]:
    """Package -> versions in ci/constraints.txt (several where they depend on the Python version)."""
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "ci" / "constraints.txt").read_text(encoding="utf-8").splitlines():
        requirement = line.split("#")[0].split(";")[0].strip()
        if requirement:
            name, _, version = requirement.partition("==")
            versions.setdefault(normalized(name), []).append(version)
    return versions


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


#: The extras that the tested set has.
_TESTED = ("plots", "dicom", "bundles", "slicer", "test", "lint", "docs")


def wanted(*groups: list[str]) -> dict[str, str]:
    """Package -> its specifiers, from requirement strings; our own extras are left out."""
    parts = [Requirement(r) for group in groups for r in group]
    return {normalized(p.name): str(p.specifier) for p in parts if p.name != "contrastiveseg"}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_what_ships_is_what_is_tracked():
    scripts, resources = shipped("MODULE_PYTHON_SCRIPTS"), shipped("MODULE_PYTHON_RESOURCES")
    assert sorted([*scripts, *resources, "CMakeLists.txt"]) == tracked()
    assert {"ContrastiveSeg.py", "contrastiveseg/cli.py"} <= set(scripts)
    assert all((MODULE / path).stat().st_size <= 8 * 2**20 for path in resources)


def test_one_version_everywhere():
    cmake = re.search(r"project\(ContrastiveSeg VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    newest = re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert cmake
    assert citation
    assert newest
    assert cmake[1] == citation[1] == newest[1] == contrastiveseg.__version__


def test_the_index_of_extensions_finds_what_it_reads():
    entry = json.loads((ROOT / "ContrastiveSeg.json").read_text(encoding="utf-8"))
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    # Slicer's build reads these names, and ignores others without a word.
    told = dict(re.findall(r'^set\(EXTENSION_(\w+) "?([^"\n]+?)"?\)$', text, re.M))
    assert set(told) == {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    assert entry["scm_url"] == told["HOMEPAGE"] + ".git"
    assert entry["build_dependencies"] == told["DEPENDS"].split()
    assert entry["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert {"category", "scm_url"} <= set(entry)
    main = told["HOMEPAGE"].replace("//github.com", "//raw.githubusercontent.com") + "/main/"
    for url in (told["ICONURL"], told["SCREENSHOTURLS"]):
        assert url.startswith(main)
        assert url.endswith((".png", ".jpg", ".gif"))
        assert (ROOT / url.removeprefix(main)).is_file()


def test_the_tested_set_names_every_dependency(project):
    extras = project["optional-dependencies"]
    direct = wanted(
        project["dependencies"],
        *(extras[name] for name in _TESTED),
    )
    assert {"torch", "pytest", "ruff", "matplotlib", "slicer-core"} <= set(direct)
    assert set(direct) - set(pinned()) == set()


def test_the_tested_set_lies_within_the_declared_ranges(project):
    extras = project["optional-dependencies"]
    direct = wanted(
        project["dependencies"],
        *(extras[name] for name in _TESTED),
    )
    versions = pinned()
    outside = [
        f"{name}=={version}{allowed}"
        for name, allowed in direct.items()
        for version in versions[name]
        if not SpecifierSet(allowed).contains(version)
    ]
    assert outside == []


def test_constraints_are_exact():
    assert [name for name, versions in pinned().items() if not all(versions)] == []


def test_the_citation_names_the_papers_of_all_methods():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    papers = set(re.findall(r"arXiv:(\d{4}\.\d{5})", text))
    contrastive = {"2309.11876", "2105.07059", "2203.02114", "2210.15075", "2306.14293"}
    assert papers == contrastive | {"2305.00673", "1703.01780"}
    assert set(re.findall(r"The method \"([\w-]+)\"", text)) == METHODS_OF_PAPERS
    assert "planned" not in text

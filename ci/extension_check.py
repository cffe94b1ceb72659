"""What the reviewers of Slicer's Extensions Index and its scripts look at, checked offline.

    bash ci/extension-check

Exit code 1 where something is to be mended; each line says what. The sources are check_description_files.py and the
pull request's list in Slicer/ExtensionsIndex, and slicer-extension-catalog-entry-schema-v1.0.2.json in Slicer/Slicer.
What only the owners can do is listed at the end.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Of an entry: what it may hold, and the JSON type of it.
ENTRY = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = ("$schema", "category", "scm_url")
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
#: Those of the index that fit a module which segments.
CATEGORIES = ("Segmentation", "Active Learning")
VARIABLES = ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
LICENSES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt")
#: What may be imported when Slicer starts: its own and what is quick.
AT_START = {"slicer", "qt", "ctk", "vtk", "numpy"}
HEAVY = {"torch", "monai", "scipy", "SimpleITK"}
LARGEST_CLONE = 100 * 2**20
BY_HAND = (
    "the repository on GitHub has the topic 3d-slicer-extension, and no unused wiki or projects",
    "the addresses of icon and screenshots answer, which needs the repository to be public",
    "CONTRIBUTORS in ContrastiveSeg.py and EXTENSION_CONTRIBUTORS name people, as Name (Organization)",
    "the extension was built and tried in the preview release of Slicer",
)


def main(root: Path) -> int:
    """Print what is wrong with the clone at ``root``; the number of findings decides the exit code."""
    checks = (entry, cmake, license, pictures, module, module_folder, imports, sample_data, size)
    findings = [finding for check in checks for finding in check(root)]
    for finding in findings:
        print(f"extension-check: {finding}")
    if not findings:
        print(f"extension-check: {len(checks)} checks passed. By hand, before the pull request to the index:")
        print("".join(f"  - {what}\n" for what in BY_HAND), end="")
    return 1 if findings else 0


def entry_file(root: Path) -> Path:
    """The extension's entry for the index, which is named after the extension."""
    (path,) = root.glob("*.json")
    return path


def entry(root: Path) -> Iterator[str]:
    """The entry: its schema, category and address."""
    path = entry_file(root)
    raw = path.read_bytes()
    data: Any = json.loads(raw)
    if b"\r" in raw or not raw.endswith(b"\n"):
        yield f"{path.name}: lines must end with LF, the last one too."
    for key in REQUIRED:
        if key not in data:
            yield f"{path.name}: {key} is missing."
    for key, value in data.items():
        kind = ENTRY.get(key)
        if kind is None:
            yield f"{path.name}: the schema knows no {key}."
        elif type(value) is not kind or (kind is list and not all(isinstance(part, str) for part in value)):
            yield f"{path.name}: {key} must be of type {kind.__name__}."
    if data.get("$schema") != SCHEMA:
        yield f"{path.name}: $schema must be {SCHEMA}."
    if data.get("category") not in CATEGORIES:
        yield f"{path.name}: category must be one of {', '.join(CATEGORIES)}."
    if data.get("tier") not in range(1, 6):
        yield f"{path.name}: tier must be from 1 to 5; a new extension has 1."
    repository = re.fullmatch(r"https://[^/]+/[^/]+/([^/]+)\.git", str(data.get("scm_url")))
    if repository is None:
        yield f"{path.name}: scm_url must be https://HOST/OWNER/NAME.git."
    elif not repository[1].startswith("Slicer"):
        yield f"{path.name}: the repository's name must begin with Slicer."
    if path.stem.startswith("Slicer"):
        yield f"{path.name}: the extension's name must not begin with Slicer."


def variables(root: Path) -> dict[str, str]:
    """EXTENSION_* of the top CMakeLists.txt, each set in one line, as the index's script reads it."""
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "?([^"\n]+?)"?\)$', text, re.M))


def cmake(root: Path) -> Iterator[str]:
    """The top CMakeLists.txt: its name and variables."""
    text, name = (root / "CMakeLists.txt").read_text(encoding="utf-8"), entry_file(root).stem
    data, told = json.loads(entry_file(root).read_text(encoding="utf-8")), variables(root)
    project = re.search(r"^project\((\w+)", text, re.M)
    if project is None or project[1] != name:
        yield f"CMakeLists.txt: project(...) must be named {name}, as the entry's file."
    if (minimum := re.search(r"cmake_minimum_required\(VERSION (\d+)\.(\d+)", text)) is None or (
        int(minimum[1]),
        int(minimum[2]),
    ) < (3, 16):
        yield "CMakeLists.txt: cmake_minimum_required(VERSION 3.16.3 or later) is missing."
    for variable in VARIABLES:
        if variable not in told:
            yield f"CMakeLists.txt: EXTENSION_{variable} is not set, in one line."
    for variable in sorted(set(told) - set(VARIABLES)):
        yield f"CMakeLists.txt: EXTENSION_{variable} is not read by Slicer; the category is in the entry."
    for variable in ("ICONURL", "SCREENSHOTURLS"):
        if f'set(EXTENSION_{variable} "' not in text:
            yield f"CMakeLists.txt: EXTENSION_{variable} must be in quotes."
    if told.get("DEPENDS", "").split() != data.get("build_dependencies", []):
        yield "CMakeLists.txt: EXTENSION_DEPENDS and the entry's build_dependencies differ."
    if f"{told.get('HOMEPAGE')}.git" != data.get("scm_url"):
        yield "CMakeLists.txt: EXTENSION_HOMEPAGE and the entry's scm_url differ."
    for person in told.get("CONTRIBUTORS", "").split(", "):
        if not re.fullmatch(r"[^()]+ \([^()]+\)", person):
            yield f"CMakeLists.txt: EXTENSION_CONTRIBUTORS: {person!r} is not of the form Name (Organization)."


def license(root: Path) -> Iterator[str]:
    """A license lies at the top."""
    if not any((root / name).is_file() for name in LICENSES):
        yield f"There is no license file; it may be called {', '.join(LICENSES)}."


def pictures(root: Path) -> Iterator[str]:
    """Icon and screenshots are pictures of this repository."""
    told = variables(root)
    main_branch = told.get("HOMEPAGE", "").replace("//github.com/", "//raw.githubusercontent.com/") + "/main/"
    for variable in ("ICONURL", "SCREENSHOTURLS"):
        for url in told.get(variable, "").split():
            if not url.startswith("https://") or not url.endswith((".png", ".jpg", ".jpeg", ".gif")):
                yield f"EXTENSION_{variable}: {url} must be https and end in .png, .jpg, .jpeg or .gif."
            elif url.startswith(main_branch) and not (root / url.removeprefix(main_branch)).is_file():
                yield f"EXTENSION_{variable}: {url.removeprefix(main_branch)} is not in this repository."


def module(root: Path) -> Iterator[str]:
    """What the module tells Slicer of itself, which its generic test asks for."""
    name = entry_file(root).stem
    tree = ast.parse((root / name / f"{name}.py").read_text(encoding="utf-8"))
    told: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Attribute, ast.Name)):
            target = node.targets[0]
            told[target.attr if isinstance(target, ast.Attribute) else target.id] = ast.unparse(node.value)
    for field in ("title", "categories", "contributors", "helpText", "acknowledgementText"):
        if field not in told:
            yield f"{name}.py: parent.{field} is not set."
    if "href" not in told.get("helpText", ""):
        yield f"{name}.py: helpText has no link to the documentation."
    people = ast.literal_eval(told.get("CONTRIBUTORS", "[]"))
    if ", ".join(people) != variables(root).get("CONTRIBUTORS"):
        yield f"{name}.py: CONTRIBUTORS and EXTENSION_CONTRIBUTORS in CMakeLists.txt differ."


def module_folder(root: Path) -> Iterator[str]:
    """Slicer takes every .py beside the module for another module, and finds the icon by the module's name."""
    name = entry_file(root).stem
    for path in (root / name).glob("*.py"):
        if path.stem != name:
            yield f"{name}/{path.name}: Slicer would take it for a module. Move it into a package."
    icons = [root / name / "Resources" / "Icons" / f"{name}{ending}" for ending in (".png", ".svg")]
    if not any(icon.is_file() for icon in icons):
        yield f"{name}/Resources/Icons/{name}.png: the module has no icon."


def imports(root: Path) -> Iterator[str]:
    """Slicer's start loads the module: at its top only what is quick. No file of the panel imports what is heavy, or
    runs pip for PyTorch."""
    name = entry_file(root).stem
    tests = f"{name}Panel.self_test"  # Slicer wants their class in the module's file
    for file in (f"{name}.py", f"{tests.replace('.', '/')}.py"):
        for loaded in _imported(ast.parse((root / name / file).read_text(encoding="utf-8")).body):
            first = loaded.partition(".")[0]
            if loaded != tests and first not in AT_START | set(sys.stdlib_module_names):
                yield f"{file} imports {first} at its top; import it where it is used."
    for path in sorted((root / name / f"{name}Panel").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for loaded in _imported(ast.walk(ast.parse(text))):
            if loaded.partition(".")[0] in HEAVY:
                yield f"{path.relative_to(root)} imports {loaded}, which is the engine's."
        if re.search(r"pip_install\(.*\btorch\b", text):
            yield f"{path.relative_to(root)} installs PyTorch by pip; that is the PyTorch extension's."


def _imported(nodes: Any) -> Iterator[str]:
    """Dotted names of what is imported absolutely."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sample_data(root: Path) -> Iterator[str]:
    """Each sample volume has a thumbnail of its name, a PNG that is not too small."""
    folder = root / entry_file(root).stem / "Resources" / "SampleData"
    for volume in sorted(folder.glob("*.nrrd")):
        thumbnail = folder / f"{volume.name.partition('.')[0]}.png"
        if not thumbnail.is_file():
            yield f"{volume.relative_to(root)} has no thumbnail {thumbnail.name}."
            continue
        raw = thumbnail.read_bytes()
        if raw[:8] != b"\x89PNG\r\n\x1a\n" or min(struct.unpack(">II", raw[16:24])) < 64:
            yield f"{thumbnail.relative_to(root)} must be a PNG of 64 pixels or more."


def size(root: Path) -> Iterator[str]:
    """A clone with its history is not too large; where git tells."""
    told = subprocess.run(["git", "count-objects", "-v"], cwd=root, capture_output=True, text=True, check=False).stdout
    packed = re.search(r"^size-pack: (\d+)$", told, re.M)
    if packed and int(packed[1]) * 1024 > LARGEST_CLONE:
        yield f"A clone takes {int(packed[1]) / 1024:.0f} MB; the index wants at most 100."


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Names of the engine: a public class or type is found by its name alone."""

import ast
from collections import defaultdict
from pathlib import Path

import contrastiveseg

ENGINE = Path(contrastiveseg.__file__).parent


def public_types(path: Path) -> list[str]:
    """Public classes, and type aliases, which are written like them, of one module."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            found += [name] if name[0].isupper() and not name.isupper() else []
    return [name for name in found if not name.startswith("_")]


def test_no_two_public_types_have_one_name():
    modules = defaultdict(list)
    for path in sorted(ENGINE.rglob("*.py")):
        for name in public_types(path):
            modules[name].append(path.relative_to(ENGINE).as_posix())
    assert {name: paths for name, paths in modules.items() if len(paths) > 1} == {}

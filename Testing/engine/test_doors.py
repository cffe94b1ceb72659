"""Who may import whom: read from the source, so that a wrong import fails before it does harm."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import contrastiveseg

ENGINE = Path(contrastiveseg.__file__).parent
PANEL = ENGINE.parent / "ContrastiveSegPanel"

FORBIDDEN_IN_ENGINE = {"slicer", "qt", "ctk", "vtk", "ContrastiveSegPanel"}
FORBIDDEN_IN_PANEL = {"torch", "monai"}
#: Rooms of the panel that have no widgets, so that scripts can use them without a window.
WITHOUT_WIDGETS = {"workflows", "mrml"}

#: Room -> rooms it may import, besides itself and the base modules. Downward only.
DOORS = {
    "volumes": set(),
    "synthetic": {"data", "planning", "volumes"},
    "networks": set(),
    "planning": {"networks", "volumes"},
    "data": {"planning", "volumes"},
    "checkpoints": {"networks", "planning", "volumes"},
    "contrast": {"data", "networks", "planning", "volumes"},
    "methods": {"contrast", "data", "networks", "planning", "synthetic", "volumes"},
    "evaluation": {"checkpoints", "planning", "volumes"},
    "segmentation": {"checkpoints", "data", "networks", "planning", "volumes"},
    "previewing": {"checkpoints", "data", "networks", "planning", "segmentation", "volumes"},
    "training": {
        *("checkpoints", "contrast", "data", "evaluation", "methods", "networks", "planning", "segmentation"),
        "volumes",
    },
    "exports": {"checkpoints", "networks", "planning", "segmentation", "training", "volumes"},
    "jobs": {
        *("checkpoints", "contrast", "data", "evaluation", "exports", "methods", "networks", "planning"),
        *("previewing", "segmentation", "training", "volumes"),
    },
    "remote": {"checkpoints", "jobs", "segmentation", "volumes"},
    "testing": {
        *("checkpoints", "data", "jobs", "methods", "networks", "planning", "synthetic", "training", "volumes"),
    },
}
#: Modules and packages any room may import; they import no room.
BASE = {
    "results",
    "errors",
    "parameters",
    "printable",
    "registration",
    "serialization",
    "events",
    "files",
    "descriptions",
    "device",
    "claims",
    "command_line",
    "garbage",
}
#: Modules at the top that may import everything.
TOP = {"api", "checkpoint_api", "arguments", "calling", "cli", "terminal", "reference", "__main__"}

#: The same for the panel, whose modules at the top are its base, but for the self tests, which no room imports.
PANEL_DOORS = {
    "engine": set(),
    "mrml": set(),
    "workflows": {"engine", "mrml"},
    "ui": {"workflows", "engine", "mrml"},
}
PANEL_BASE = {"first_few", "plain_text", "question", "settings", "signal", "timer", "translation"}

#: Importing these must not load any of HEAVY: the terminal answers --help, and the panel opens, without waiting.
LIGHT = (
    "results",
    "registration",
    "errors",
    "parameters",
    "serialization",
    "events",
    "files",
    "claims",
    "descriptions",
    "command_line",
    "garbage",
    "planning.plan",
    "planning.patch",
    "checkpoints.familiarity",
    "checkpoints.licensing",
    "checkpoints.nnunet_files",
    "checkpoints.bundle_files",
    "checkpoints.model_catalog",
    "evaluation.quality_tables",
    "remote.slurm",
    "training.beside",
    "terminal",
    "reference",
    "cli",
)
HEAVY = ("torch", "monai", "SimpleITK", "numpy", "scipy", "matplotlib")


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below ``package`` -> file; a package's ``__init__`` has the package's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, name: str, package: str, everywhere: bool) -> list[str]:
    """Absolute names ``path`` imports; with ``everywhere`` also inside functions. TYPE_CHECKING blocks are left out."""
    here = [package, *([p for p in name.split(".") if p])]
    if path.name != "__init__.py":
        here = here[:-1]
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not everywhere:
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            # `from .x import y`: y may be a module or a name; both spellings are offered.
            found.extend(f"{stem}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(parsed(path.read_text(encoding="utf-8")))
    return found


@functools.cache
def parsed(text: str) -> ast.Module:
    """Most files are looked at by several tests."""
    return ast.parse(text)


def target(imported: str, package: str, known: dict[str, Path]) -> str | None:
    """The module of ``package`` that importing ``imported`` loads; None if it is another's."""
    if imported != package and not imported.startswith(package + "."):
        return None
    name = imported[len(package) + 1 :]
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def wrong_doors(package: Path) -> list[str]:
    """Every import in the engine that the doors forbid, as "importer imports imported"."""
    foreign = [
        f"{name} imports {imported}"
        for name, path in modules(package).items()
        for imported in imports(path, name, package.name, everywhere=True)
        if imported.split(".")[0] in FORBIDDEN_IN_ENGINE
    ]
    return sorted([*foreign, *upward(package, DOORS, BASE, TOP)])


def upward(package: Path, doors: dict[str, set[str]], base: set[str], top: set[str]) -> list[str]:
    """Imports between the rooms of ``package`` that ``doors`` do not allow, as "importer imports imported"."""
    known, wrong = modules(package), []
    for name, path in known.items():
        room = name.split(".")[0]
        if room in top:
            continue
        for imported in imports(path, name, package.name, everywhere=True):
            other = target(imported, package.name, known)
            there = other.split(".")[0] if other else room
            if there != room and there not in base | doors.get(room, set()):
                wrong.append(f"{name} imports {other}")
    return wrong


def widgets_below_ui(package: Path) -> list[str]:
    """Imports of Qt in the panel's rooms that have no widgets."""
    return [
        f"{name} imports {imported}"
        for name, path in modules(package).items()
        if name.split(".")[0] in WITHOUT_WIDGETS
        for imported in imports(path, name, package.name, everywhere=True)
        if imported.split(".")[0] in ("qt", "ctk")
    ]


def circles(package: Path) -> list[list[str]]:
    """Circles of modules that import one another while loading, each begun at its first name."""
    known = modules(package)
    graph = {
        name: {t for i in imports(p, name, package.name, everywhere=False) if (t := target(i, package.name, known))}
        - {name}
        for name, p in known.items()
    }
    found, done = [], set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            circle = trail[trail.index(name) :]
            first = circle.index(min(circle))
            found.append([*circle[first:], *circle[: first + 1]])
        elif name not in done:
            for other in sorted(graph[name]):
                walk(other, [*trail, name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return found


def heavy_in_panel(module: Path) -> list[str]:
    """Imports of the engine's libraries in Slicer's side: the panel, the editor's effect and the module's own file."""
    wrong = []
    folders = (module / "ContrastiveSegPanel", module / "SegmentEditorContrastiveSegLib")
    for path in [*(path for folder in folders for path in sorted(folder.rglob("*.py"))), *module.glob("*.py")]:
        loaded = {i.split(".")[0] for i in imports(path, path.stem, "ContrastiveSegPanel", everywhere=True)}
        wrong += [f"{path.stem} imports {name}" for name in sorted(loaded & FORBIDDEN_IN_PANEL)]
    return wrong


def test_the_engine_imports_downward_only():
    assert wrong_doors(ENGINE) == []


def test_the_panel_imports_downward_only():
    assert upward(PANEL, PANEL_DOORS, PANEL_BASE, set()) == []


def test_only_the_panels_ui_has_widgets():
    assert widgets_below_ui(PANEL) == []


@pytest.mark.parametrize("package", [ENGINE, PANEL], ids=lambda package: package.name)
def test_no_module_imports_itself_in_a_circle(package):
    assert circles(package) == []


def imports_of_nothing(package: Path) -> list[str]:
    """Every import of a module, or of a name in one, that the package does not have, as "importer imports imported"."""
    known, wrong = modules(package), []
    names = {name: names_in(path) for name, path in known.items()}
    for importer, path in known.items():
        for imported in imports(path, importer, package.name, everywhere=True):
            other = target(imported, package.name, known)
            if other is None:
                continue
            rest = imported[len(package.name) + 1 :].removeprefix(other).removeprefix(".")
            if rest and rest not in names[other]:
                wrong.append(f"{importer} imports {imported}")
    return wrong


def names_in(path: Path) -> set[str]:
    """The names that a module binds at its top level."""
    tree = parsed(path.read_text(encoding="utf-8"))
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return bound


def test_every_import_of_the_engine_exists():
    assert imports_of_nothing(ENGINE) == []


def test_pytest_is_imported_in_one_module():
    loading = [name for name, path in modules(ENGINE).items() if "pytest" in imports(path, name, ENGINE.name, True)]
    assert loading == ["testing.with_pytest"]


def test_every_room_has_its_door():
    assert {p.parent.name for p in PANEL.glob("*/__init__.py")} == set(PANEL_DOORS)
    assert {p.stem for p in PANEL.glob("*.py")} - {"__init__", "self_test"} == PANEL_BASE
    rooms = {p.parent.name for p in ENGINE.glob("*/__init__.py")}
    assert rooms <= set(DOORS) | BASE
    loose = {p.stem for p in ENGINE.glob("*.py")} - {"__init__"}
    assert loose <= BASE | TOP


def test_the_editors_effect_imports_the_panel_only_when_it_is_used():
    """Slicer loads the file at every start."""
    path = ENGINE.parent / "SegmentEditorContrastiveSegLib" / "SegmentEditorEffect.py"
    at_start = {i.split(".")[0] for i in imports(path, path.stem, "SegmentEditorContrastiveSegLib", everywhere=False)}
    assert not at_start & {"ContrastiveSegPanel", "contrastiveseg"}


def test_the_panel_never_loads_the_engines_libraries():
    assert heavy_in_panel(ENGINE.parent) == []


@pytest.mark.parametrize("name", [m for m in LIGHT if m in modules(ENGINE)])
def test_light_modules_load_nothing_heavy(name):
    code = f"import sys, contrastiveseg.{name}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ENGINE.parent)
    assert done.stdout.strip() == ""


def write_package(package: Path, sources: dict[str, str]) -> Path:
    """A package of these modules: dotted name -> source."""
    for name, source in sources.items():
        path = package / (name.replace(".", "/") + ".py")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(source)
    return package


@pytest.fixture
def broken(tmp_path):
    """An engine that breaks every rule once, and some harmless imports between them."""
    sources = {
        "__init__": "",
        "errors": "import os",
        "files": "from .volumes import volume",
        "volumes.__init__": "",
        "volumes.volume": "import numpy\nfrom .. import errors\nfrom ..networks.unet import build",
        "volumes.a": "from . import b",
        "volumes.b": "from .a import something",
        "networks.__init__": "",
        "networks.unet": "def build():\n    import slicer",
        "methods.__init__": "",
        "methods.macl": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..training import loop\n"
        "from ..networks.unet import build\nimport Engine.training.loop",
        "training.__init__": "",
        "training.loop": "from ..methods import macl\nfrom ..errors import Problem",
        "cli": "from .training import loop",
    }
    return write_package(tmp_path / "Engine", sources)


def test_a_wrong_door_is_found(broken):
    assert wrong_doors(broken) == [
        "files imports volumes.volume",
        "methods.macl imports training.loop",
        "networks.unet imports slicer",
        "volumes.volume imports networks.unet",
    ]


def test_a_wrong_door_of_the_panel_is_found(tmp_path):
    sources = {
        "__init__": "",
        "signal": "",
        "mrml.scene": "from ..signal import Signal\nfrom ..engine import client",
        "engine.client": "import qt",
        "workflows.training": "from ..mrml import scene\nfrom ..ui.chart import Chart\nimport qt",
        "ui.chart": "import qt\nfrom ..workflows import training",
    }
    package = write_package(tmp_path / "Panel", sources)
    assert upward(package, PANEL_DOORS, PANEL_BASE, set()) == [
        "mrml.scene imports engine.client",
        "workflows.training imports ui.chart",
    ]
    assert widgets_below_ui(package) == ["workflows.training imports qt"]


def test_a_circle_is_found(broken):
    assert circles(broken) == [
        ["methods.macl", "training.loop", "methods.macl"],
        ["volumes.a", "volumes.b", "volumes.a"],
    ]


def test_torch_in_the_panel_is_found(tmp_path):
    (tmp_path / "ContrastiveSegPanel").mkdir()
    (tmp_path / "ContrastiveSegPanel" / "scene.py").write_text("def run():\n    from torch.nn import Module")
    (tmp_path / "SegmentEditorContrastiveSegLib").mkdir()
    (tmp_path / "SegmentEditorContrastiveSegLib" / "Effect.py").write_text("import torch")
    (tmp_path / "ContrastiveSeg.py").write_text("import slicer\nimport monai")
    found = ["scene imports torch", "Effect imports torch", "ContrastiveSeg imports monai"]
    assert heavy_in_panel(tmp_path) == found

"""Which Python packages the engine needs and which of them are missing, without importing any of them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion
except ImportError:  # Slicer ships it; another Python has at least pip's copy
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
    from pip._vendor.packaging.version import InvalidVersion  # type: ignore[assignment]

#: Equal to the dependencies in pyproject.toml; a test compares them.
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


def required() -> list[Requirement]:
    """What the engine needs. Every package is imported by the name it is installed by."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def missing() -> list[Requirement]:
    """What is not there, or not in a version that fits, in the order in which to install it."""
    importlib.invalidate_caches()
    return [requirement for requirement in required() if not _fits(requirement)]


def installed_pins() -> list[str]:
    """Lines of a constraints file that keep what is there and fits as it is: Slicer's own numpy and SimpleITK, which
    its C++ side was built beside, and a PyTorch for this machine's GPU."""
    versions = [(requirement.name, _version(requirement)) for requirement in required() if _fits(requirement)]
    return [f"{name}=={version}" for name, version in versions if version is not None]


def installable() -> list[Requirement]:
    """What to name to pip: all but packages without a record of their installation, which pip would replace."""
    return [requirement for requirement in required() if _version(requirement) is not None or not _fits(requirement)]


def how_to_install() -> str:
    """What to do about :func:`missing` where there is no user to ask, such as in a batch."""
    names = ", ".join(str(requirement) for requirement in missing())
    return (
        f"Python packages are missing: {names}.\n"
        "In Slicer: install the extension PyTorch, then choose Install in the module "
        '"Contrastive Segmentation".\n'
        f'Elsewhere: python -m pip install -r "{REQUIREMENTS}"'
    )


def _fits(requirement: Requirement) -> bool:
    version = _version(requirement)
    if version is None:
        # Slicer's own build of a package may come without a record; a folder that was left behind has no origin.
        spec = importlib.util.find_spec(requirement.name)
        return spec is not None and spec.origin is not None
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _version(requirement: Requirement) -> str | None:
    try:
        return importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return None

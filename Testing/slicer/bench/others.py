"""Small modules of Slicer that scripts import: translation, packages, sample data."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import slicer


def i18n() -> types.ModuleType:
    """``slicer.i18n``; nothing is translated."""
    made = types.ModuleType("slicer.i18n")
    made.tr = lambda text: text  # type: ignore[attr-defined]
    made.translate = lambda context, text: text  # type: ignore[attr-defined]
    return made


@dataclass
class Installs:
    """What was asked of pip; a test may put its own function in place of ``answer``."""

    calls: list[Any] = field(default_factory=list)
    requesters: list[str | None] = field(default_factory=list)
    answer: Callable[..., Any] | None = None

    def clear(self) -> None:
        self.calls.clear()
        self.requesters.clear()
        self.answer = None


installs = Installs()


def packaging() -> types.ModuleType:
    """``slicer.packaging``; nothing is installed."""
    made = types.ModuleType("slicer.packaging")

    def pip_install(requirements: Any, *, requester: str | None = None, **options: Any) -> Any:
        installs.calls.append(requirements)
        installs.requesters.append(requester)
        return installs.answer(requirements, **options) if installs.answer else None

    made.pip_install = pip_install  # type: ignore[attr-defined]

    def missing(name: str) -> Any:
        raise AttributeError(f"the bench has no slicer.packaging.{name}")

    made.__getattr__ = missing  # type: ignore[method-assign]
    return made


@dataclass
class SampleDataSource:
    """One set in Sample Data's gallery."""

    sampleName: str | None = None
    uris: Any = None
    fileNames: Any = None
    nodeNames: Any = None
    customDownloader: Callable[[SampleDataSource], Any] | None = None
    thumbnailFileName: str | None = None
    loadFileTypes: Any = None
    loadFiles: Any = None
    loadFileProperties: dict[str, Any] = field(default_factory=dict)
    checksums: Any = None


def sample_data() -> types.ModuleType:
    """``SampleData``: sets are registered in ``slicer.modules.sampleDataSources`` as in Slicer."""
    made = types.ModuleType("SampleData")

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category: str = "Custom",
            sampleName: str | None = None,
            uris: Any = None,
            fileNames: Any = None,
            nodeNames: Any = None,
            customDownloader: Callable[[SampleDataSource], Any] | None = None,
            thumbnailFileName: str | None = None,
            loadFileTypes: Any = None,
            loadFiles: Any = None,
            loadFileProperties: dict[str, Any] | None = None,
            checksums: Any = None,
            loadFileType: Any = None,
        ) -> None:
            sources = vars(slicer.modules).setdefault("sampleDataSources", {})
            source = SampleDataSource(
                sampleName,
                uris,
                fileNames,
                nodeNames,
                customDownloader,
                thumbnailFileName,
                loadFileTypes or loadFileType,
                loadFiles,
                dict(loadFileProperties or {}),
                checksums,
            )
            known = sources.setdefault(category, [])
            if not any(s.sampleName == sampleName for s in known):
                known.append(source)

    made.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    made.SampleDataSource = SampleDataSource  # type: ignore[attr-defined]
    return made

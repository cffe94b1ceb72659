"""What imports, exports and catalogs return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImportResult:
    """The checkpoint written; names of their tensors that were used and that were not, and of ours that have no
    counterpart; the license of the weights ("" where neither the file nor the job says it).
    """

    checkpoint: str
    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]
    license: str = ""


@dataclass(frozen=True)
class ExportResult:
    """The file or folder written."""

    output: str


@dataclass(frozen=True)
class CatalogModel:
    """A checkpoint that a catalog lists.

    Attributes:
        name: file name without its ending. purpose: what it is for. modality: the images that it takes.
        size, sha256: of the file, in bytes and in hexadecimal.
        license, citation: of the weights, and works to cite.
        address: where the file is, by https; "" for one that ships.
    """

    name: str
    purpose: str
    modality: str
    size: int
    sha256: str
    license: str
    citation: str
    address: str = ""


@dataclass(frozen=True)
class ModelsResult:
    """The models of the catalogs, and the file downloaded (None: not asked for)."""

    models: tuple[CatalogModel, ...]
    downloaded: str | None = None

"""Catalogs: JSON files that list checkpoints, those that ship and those to download when asked. Light to import.

Their form is that of ``starters/catalog.schema.json``. A catalog only names files: what is downloaded is known by its
hash, and is read like any other checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError
from ..files import readable
from ..printable import quoted
from ..results import CatalogModel
from ..serialization import from_json
from .starters import FOLDER, starters

#: The catalog that ships.
OWN = FOLDER / "catalog.json"
#: The ending of catalogs that lie among the user's checkpoints.
ENDING = ".catalog.json"
#: Bytes of a catalog, and of a checkpoint in it, at most.
_MOST, _LARGEST = 10 * 2**20, 10**11


@dataclass(frozen=True)
class _Catalog:
    models: tuple[CatalogModel, ...]


def catalog_models(catalogs: Iterable[Path]) -> list[CatalogModel]:
    """The models of the catalog that ships, without starters that are not there, and of other ``catalogs``.

    Raises:
        InputError: a file cannot be read, is no catalog, or two models have one name.
    """
    ours = [model for model in read_catalog(OWN) if model.name in starters()]
    models = [*ours, *(model for path in catalogs for model in read_catalog(path))]
    names = [model.name.casefold() for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"Two models of the catalogs are called {twice[0]!r}. Rename one, or give one catalog.")
    return models


def read_catalog(path: Path) -> tuple[CatalogModel, ...]:
    """The models that the catalog at ``path`` lists.

    Raises:
        InputError: it cannot be read, or an entry is not as the schema says.
    """
    with readable(path):
        if path.stat().st_size > _MOST:
            raise InputError(f"{path} is too large for a catalog. Give the JSON file that lists the models.")
        text = path.read_bytes()
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is no catalog: it is not JSON ({problem}).") from problem
    if isinstance(data, dict):
        data.pop("$schema", None)
    models = from_json(_Catalog, data, path.name).models
    for model in models:
        _check(model, path.name)
    return models


def _check(model: CatalogModel, where: str) -> None:
    address, texts = model.address, (model.purpose, model.modality, model.license, model.citation)
    try:
        parts = urlsplit(address)
        secure = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
    except ValueError:
        secure = False
    for holds, words in (
        (re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,99}", model.name, re.ASCII), "name must be letters, digits and _.+-"),
        (0 < model.size <= _LARGEST, "size must be the bytes of the file"),
        (re.fullmatch(r"[0-9a-f]{64}", model.sha256), "sha256 must be 64 hexadecimal digits in lower case"),
        (all(text.isprintable() for text in texts), "texts must be one line each"),
        (not address or (secure and re.fullmatch(r"[!-~]+", address)), "address must be that of a file, by https"),
    ):
        if not holds:
            raise InputError(f"{where}: model {quoted(model.name)}: {words}.")

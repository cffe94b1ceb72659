"""Downloading a checkpoint of a catalog: by https alone, bounded, resumable, and kept only if its hash is right."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import __version__, events
from ..claims import claimed
from ..errors import Cancelled, InputError
from ..files import check_output
from ..results import CatalogModel
from .header import digest, read_card

#: Opens an address from a byte on; what it returns is read as :class:`http.client.HTTPResponse` is.
Open = Callable[[str, int], Any]
_BLOCK = 2**18
_TIMEOUT_SECONDS = 60


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follows redirections, as hosts of releases make them, but to no unencrypted address."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise InputError(f"The address leads on to {newurl}, which is not https. Nothing is downloaded from there.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_https(address: str, start: int) -> Any:
    """The answer to a request for ``address`` from byte ``start`` on.

    Raises:
        InputError: it is not https, or leads to what is not.
        OSError: there is no such answer.
    """
    if not address.startswith("https://"):
        raise InputError(f"{address} is not https. Nothing is downloaded from there.")
    headers = {"User-Agent": f"contrastiveseg/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # Of urllib's handlers those for http, ftp and file are left out.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpsAlone(),
    ):
        opener.add_handler(handler)
    return opener.open(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT_SECONDS)


def download(
    model: CatalogModel,
    output: Path,
    overwrite: bool = False,
    emit: events.Emit = events.silent,
    cancelled: events.CancelCheck = events.never,
    open_address: Open = open_https,
) -> None:
    """Write the checkpoint of ``model`` to ``output``.

    What was downloaded when it is stopped or fails stays beside the output, and the next call goes on from there.

    Args:
        open_address: in place of :func:`open_https`, for tests without a network.

    Raises:
        InputError: the model has no address, the output exists, the file cannot be had, is another one, or is no
            checkpoint.
        Cancelled: stopped.
    """
    if not model.address:
        raise InputError(f"{model.name} ships with the package: name it as starter:{model.name}.")
    check_output(output, overwrite)
    with claimed(output):
        # Named after its content, so that it is never gone on with for another file.
        part = output.with_name(f"{output.name}.{model.sha256[:16]}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        emit(events.StageStarted(events.Stage.DOWNLOAD))
        try:
            _fetch(model, part, emit, cancelled, open_address)
        except (OSError, http.client.HTTPException) as problem:
            why = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
            raise InputError(
                f"{model.name} could not be downloaded from {model.address}: {why}. What there is of it is kept; the "
                "same command goes on from there. Without a network, get the file elsewhere and give its path."
            ) from problem
        if digest(part) != model.sha256:
            part.unlink()
            raise InputError(
                f"What {model.address} gave is not the file that the catalog names (its SHA-256 is another). It was "
                "removed. Try again later, or ask whoever made the catalog."
            )
        try:
            read_card(part)
        except InputError as problem:
            part.unlink()
            raise InputError(f"{model.address} holds no checkpoint: {problem}") from problem
        part.replace(output)


def _fetch(
    model: CatalogModel, part: Path, emit: events.Emit, cancelled: events.CancelCheck, open_address: Open
) -> None:
    """Bring ``part`` to the size of the model's file."""
    there = part.stat().st_size if part.exists() else 0
    if there == model.size:
        return
    if there > model.size:
        part.unlink()
        there = 0
    with closing(open_address(model.address, there)) as answer:
        if there and not _goes_on(answer, there):
            there = 0  # this server sends whole files only
        progress = events.ProgressMeter(emit, model.size, "bytes", there)
        with open(part, "ab" if there else "wb") as file:
            while block := answer.read(_BLOCK):
                if cancelled():
                    raise Cancelled(
                        f"Stopped after {there} of {model.size} bytes; the same command goes on from there."
                    )
                there += len(block)
                if there > model.size:
                    raise InputError(
                        f"{model.address} gives more than the {model.size} bytes that the catalog names. Ask whoever "
                        "made the catalog."
                    )
                file.write(block)
                progress(there)
    if there < model.size:
        raise OSError(f"the connection ended after {there} of {model.size} bytes")


def _goes_on(answer: Any, start: int) -> bool:
    """Whether the answer is the rest of the file from ``start`` on."""
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status == 206 and found is not None and int(found[1]) == start

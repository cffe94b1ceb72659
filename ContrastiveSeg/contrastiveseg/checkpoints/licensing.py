"""The license of weights: passed on to what is made from them, and told before they are used. Light to import."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from .. import events
from ..errors import InputError
from ..files import replacing
from ..serialization import to_json
from .card import Card
from .header import CARD_KEY, read_card, read_header

#: In lower case, with spaces for other signs between words.
_NON_COMMERCIAL = r"\bnc\b|non ?commercial|research (use )?only|academic (use )?only|research purposes"


def non_commercial(license: str) -> bool:
    """Whether the terms, a name as CC-BY-NC-4.0 or a sentence, seem to exclude commercial use."""
    return re.search(_NON_COMMERCIAL, re.sub(r"[^a-z0-9]+", " ", license.casefold())) is not None


def inherited(own: str, base: str) -> str:
    """The license of weights that were made under ``own`` from weights under ``base``; either may be ""."""
    if not base or base in own:
        return own
    return f"{own}, from weights under {base}" if own else base


def sources(base: Card | None, name: str, digest: str | None) -> tuple[str, ...]:
    """Whose weights a checkpoint was made from, the first ones first: those of ``base``, then ``base`` itself."""
    return () if base is None else (*base.provenance.sources, f"{name} ({(digest or '')[:12]})")


def terms(card: Card, _: Callable[[str], str] = str, works: str | None = None) -> str:
    """A sentence on the license and citation of ``card``, to be read before it is used; "" where there is no license
    and none is to be expected, since nobody else's weights are in it.

    Args:
        _: translates a text before its values are filled in.
        works: what to say in place of the citation.
    """
    origin = card.provenance
    if not origin.license:
        text = _("No license is noted for these weights. If they began with somebody else's, ask for the terms.")
        return text if origin.sources else ""
    text = _("The weights are under {license}.").format(license=origin.license)
    if non_commercial(origin.license):
        text = _("The weights are under {license}: not for commercial use.").format(license=origin.license)
    works = origin.citation if works is None else works
    return f"{text} {_('Cite: {works}').format(works=works)}" if works else text


def tell_terms(card: Card, emit: events.Emit, in_full: bool = False) -> None:
    """Emit :func:`terms`, as a warning where they exclude commercial use.

    Args:
        in_full: with the whole citation, for who gets the weights; else it says whom to cite and where that stands.
    """
    if text := terms(card, works=None if in_full else _works_in_short(card.provenance.citation)):
        emit(events.warning(text) if non_commercial(card.provenance.license) else events.log(text))


def _works_in_short(citation: str) -> str:
    """The authors of the first work and the number of the others: a run need not print all that a card holds."""
    first, *others = (work.strip() for work in citation.rstrip(".; ").split(";"))
    if not first:
        return ""
    more = f" and {len(others)} more" if others else ""
    return f"{first.partition(',')[0]}{more}; 'contrastiveseg inspect' shows it in full."


def note_license(path: Path, license: str) -> None:
    """Write ``license`` into the card of the checkpoint at ``path``; its weights stay as they are, byte for byte.

    Raises:
        InputError: it is no checkpoint of ours, or its file cannot be written.
    """
    card = read_card(path)
    origin = dataclasses.replace(card.provenance, license=check_license(license))
    card = dataclasses.replace(card, provenance=origin)
    header, length = read_header(path)
    header["__metadata__"][CARD_KEY] = json.dumps(to_json(card))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # safetensors wants the weights to begin at a multiple of 8
    with replacing(path) as temporary, open(path, "rb") as source, open(temporary, "wb") as target:
        target.write(struct.pack("<Q", len(text)) + text)
        source.seek(8 + length)
        shutil.copyfileobj(source, target, 2**20)


def check_license(license: str) -> str:
    """``license`` without space around it.

    Raises:
        InputError: it is more than a line.
    """
    if len(license) > 200 or not license.isprintable():
        raise InputError("A license is one line, as CC-BY-NC-4.0 or the address of its terms.")
    return license.strip()

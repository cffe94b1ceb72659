"""Cases by doubt as CSV, one row a case, and as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..printable import inert
from ..results import QualityCase

_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:1.5em;color:#222;background:#fff}"
    "table{border-collapse:collapse}th,td{border-bottom:1px solid #ccc;padding:.3em .7em;text-align:left;"
    "vertical-align:top}td.number,th.number{text-align:right}img{display:block;background:#000}"
)


@dataclass(frozen=True)
class Picture:
    """A case with its thumbnail, a PNG."""

    case: QualityCase
    png: bytes


def without_names(cases: Sequence[QualityCase]) -> list[QualityCase]:
    """``cases`` in their order, named by their numbers in the order of their names, which may identify patients."""
    numbers = {name: number for number, name in enumerate(sorted(case.name for case in cases), start=1)}
    return [replace(case, name=f"Case {numbers[case.name]}") for case in cases]


def to_csv(cases: Sequence[QualityCase]) -> str:
    """The columns case, doubt, uncertainty, distance, ml and pieces of each structure, reasons; what is not known is
    empty."""
    names = _structures(cases)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    volumes, pieces = ([f"{name} {what}" for name in names] for what in ("ml", "pieces"))
    writer.writerow(["case", "doubt", "uncertainty", "distance", *map(inert, (*volumes, *pieces)), "reasons"])
    for case in cases:
        uncertainty = "" if case.uncertainty is None else f"{case.uncertainty:.4f}"
        distance = "" if case.distance is None else f"{case.distance:.2f}"
        ml = [f"{case.volumes_ml[name]:.4g}" for name in names]
        count = [case.pieces[name] for name in names]
        reasons = inert("; ".join(case.reasons))
        writer.writerow([inert(case.name), f"{case.doubt:.3f}", uncertainty, distance, *ml, *count, reasons])
    return text.getvalue()


def to_html(pictures: Sequence[Picture]) -> str:
    """A table with a row a case; texts are escaped, pictures are in the page."""
    names = _structures([picture.case for picture in pictures])
    head = "".join(f'<th class="number">{html.escape(name)}<br>ml (pieces)</th>' for name in names)
    rows = "\n".join(_row(picture, names) for picture in pictures)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Segmentations by doubt</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>Segmentations by doubt</h1>\n"
        "<p>The most doubtful first: doubt is from 0 to 1, by comparison with the other cases. It says where to look, "
        "not what is wrong. The pictures are slices of the volumes through the place to look at first.</p>\n"
        '<table><tr><th>Slice</th><th>Case</th><th class="number">Doubt</th><th class="number">Uncertainty</th>'
        '<th class="number">Distance from training</th>'
        f"{head}<th>Why</th></tr>\n{rows}\n</table></body></html>\n"
    )


def _row(picture: Picture, names: Sequence[str]) -> str:
    case = picture.case
    source = base64.b64encode(picture.png).decode("ascii")
    name = html.escape(case.name)
    uncertainty = "" if case.uncertainty is None else f"{case.uncertainty:.3f}"
    distance = "" if case.distance is None else f"{case.distance:.1f}"
    cells = "".join(f'<td class="number">{case.volumes_ml[n]:.4g} ({case.pieces[n]})</td>' for n in names)
    reasons = "<br>".join(html.escape(reason) for reason in case.reasons)
    return (
        f'<tr><td><img alt="" src="data:image/png;base64,{source}"></td><td>{name}</td>'
        f'<td class="number">{case.doubt:.2f}</td><td class="number">{uncertainty}</td>'
        f'<td class="number">{distance}</td>{cells}<td>{reasons}</td></tr>'
    )


def _structures(cases: Sequence[QualityCase]) -> list[str]:
    return list(dict.fromkeys(name for case in cases for name in case.volumes_ml))

"""A card in words: the rows that ``inspect`` prints and the panel shows."""

from __future__ import annotations

from collections.abc import Callable

from ..planning.plan import Plan, millimeters
from ..printable import printable
from .card import Card, Provenance
from .licensing import non_commercial


def card_rows(card: Card, _: Callable[[str], str] = str) -> list[tuple[str, str]]:
    """(title, value) of everything a user may want to know of a checkpoint; a title may occur several times.

    Args:
        _: translates a text before its values are filled in; titles are left in English.
    """
    plan, origin = card.plan, card.provenance
    use = _("ready to segment") if card.kind == "segmenter" else _("fine-tune it before it can segment")
    rows = [
        ("kind", f"{card.kind}: {use}"),
        ("method", card.method),
        ("network", f"{card.network.name}, {card.network.dimensions}D"),
        ("architecture", ", ".join(f"{name} {value}" for name, value in card.network.arguments.items())),
        ("expects", _expects(plan, _)),
        ("intensities", "; ".join(f"{channel.name}: {channel.normalization.scheme}" for channel in plan.channels)),
        ("patch", _("{patch} voxels (z, y, x)").format(patch=" x ".join(map(str, plan.patch)))),
        ("transfers", ", ".join(card.transferred)),
    ]
    for label in card.labels:
        piece = ", " + _("in one piece") if label.value in card.one_piece else ""
        rows.append(("label", f"{label.value} {label.name}{piece}"))
    rows += [("score", f"{name.replace('_', ' ')} {value:.4f}") for name, value in origin.scores.items()]
    rows += [
        ("from", _("{method} checkpoint {digest}").format(method=origin.base_method, digest=origin.base[:12]))
        if origin.base
        else ("from", _("scratch")),
        ("trained on", _training(origin, _)),
        ("labeled part", _labeled_part(origin, _)),
        ("familiar with", _familiar(card, _)),
        *(("not drawn", text) for text in _not_drawn(card, _)),
        *(("intervened", text) for text in origin.interventions),
        ("made", origin.created and _("{date} by {software}").format(date=origin.created, software=origin.software)),
        ("weights", _kept(origin, _)),
        *(("source", source) for source in origin.sources),
        ("license", _license(origin, _)),
        ("cite", origin.citation),
    ]
    return [(title, value) for title, value in rows if value]


def describe(card: Card) -> str:
    """:func:`card_rows` as lines for a terminal."""
    return "\n".join(printable(f"{title:<12} {value}") for title, value in card_rows(card))


def _expects(plan: Plan, _: Callable[[str], str]) -> str:
    count = len(plan.channels)
    parts = [_("1 channel") if count == 1 else _("{count} channels").format(count=count)]
    if plan.generic:
        return ", ".join([*parts, _("any modality and spacing (follows your data when fine-tuned)")])
    parts.append(" + ".join(f"{c.name} ({c.modality})" if count > 1 else c.modality for c in plan.channels))
    parts.append(_("voxels of {spacing} mm").format(spacing=millimeters(plan.volume_spacing or plan.spacing)))
    if plan.volume_spacing:
        parts.append(_("resampled to {spacing} mm").format(spacing=millimeters(plan.spacing)))
    return ", ".join(parts)


def _training(origin: Provenance, _: Callable[[str], str]) -> str:
    labeled = len(origin.labeled_cases)
    if origin.case_count and not origin.cases:  # a starter's, which are nobody's
        volumes = _("{count} volumes").format(count=origin.case_count)
    else:
        volumes = _("{labeled} labeled and {others} unlabeled volumes").format(
            labeled=labeled, others=origin.case_count - labeled
        )
    return _("{volumes}, {steps} steps, {minutes:g} min, seed {seed}").format(
        volumes=volumes, steps=origin.steps, minutes=origin.minutes, seed=origin.seed
    )


def _familiar(card: Card, _: Callable[[str], str]) -> str:
    if card.familiarity is None:
        return ""
    return _("the looks of {count} labeled volumes, and tells volumes unlike them").format(count=card.familiarity.cases)


def _kept(origin: Provenance, _: Callable[[str], str]) -> str:
    if origin.kept == "best":
        return _("best: those that scored best on the held-out cases")
    if origin.kept == "average":
        return _("average: the mean over the last steps")
    return _("last: those of the last step") if origin.kept == "last" else origin.kept


def _license(origin: Provenance, _: Callable[[str], str]) -> str:
    if non_commercial(origin.license):
        return _("{license} (not for commercial use)").format(license=origin.license)
    return origin.license or (_("not known") if origin.sources else "")


def _labeled_part(origin: Provenance, _: Callable[[str], str]) -> str:
    partly = [case.labeled for case in origin.labeled_cases if case.labeled < 1]
    if not partly:
        return ""
    return _("{partly} of {labeled} labeled volumes only in part, on average {share:.1%} of their voxels").format(
        partly=len(partly), labeled=len(origin.labeled_cases), share=sum(partly) / len(partly)
    )


def _not_drawn(card: Card, _: Callable[[str], str]) -> list[str]:
    """A line for each label that was not looked for in some labeled volumes."""
    cases = card.provenance.labeled_cases
    lines = []
    for label in card.labels:
        count = sum(case.structures is not None and label.value not in case.structures for case in cases)
        if count:
            text = _("{label} was not looked for in {count} of {labeled} labeled volumes")
            lines.append(text.format(label=f"{label.value} {label.name}", count=count, labeled=len(cases)))
    return lines

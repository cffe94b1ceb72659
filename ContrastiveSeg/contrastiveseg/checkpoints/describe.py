"""A card in plain words, for ``inspect``."""

from __future__ import annotations

from .card import Card


def describe(card: Card) -> str:
    """Several lines: what the checkpoint is, what it expects, what it labels, where it comes from."""
    plan, origin = card.plan, card.provenance
    kind = "ready to segment" if card.kind == "segmenter" else "pre-trained only: fine-tune it before it can segment"
    channels = "; ".join(f"{c.name} ({c.modality}, {c.normalization.scheme})" for c in plan.channels)
    generic = all(c.modality == "any" for c in plan.channels)
    spacing = " x ".join(f"{s:.3g}" for s in plan.spacing)
    lines = [
        f"kind         {card.kind}: {kind}",
        f"method       {card.method}",
        f"network      {card.network.name}, {card.network.dimensions}D, {card.network.in_channels} channel(s), "
        + ", ".join(f"{k} {v}" for k, v in card.network.arguments.items()),
        f"channels     {channels}",
        f"spacing      {spacing} mm (z, y, x)" + ("; follows your data when fine-tuned" if generic else ""),
        f"patch        {' x '.join(map(str, plan.patch))} voxels",
        f"transfers    {', '.join(card.transferred)}",
    ]
    for label in card.labels:
        piece = ", in one piece" if label.value in card.one_piece else ""
        lines.append(f"label        {label.value} {label.name}{piece}")
    lines += [f"score        {name} {value:.4f}" for name, value in origin.scores.items()]
    labeled = len(origin.labeled_cases)
    without = len(origin.cases) - labeled if card.kind == "segmenter" else 0
    with_labels = labeled if card.kind == "pretrained" else 0
    labels = f" ({without} of them without labels)" if without else ""
    labels = f" ({with_labels} of them with labels)" if with_labels else labels
    base = f"{origin.base_method} checkpoint {origin.base[:12]}" if origin.base else "scratch"
    lines += [
        f"from         {base}",
        f"trained on   {origin.case_count} volumes{labels}, {origin.steps} steps, {origin.minutes:g} min, "
        f"seed {origin.seed}",
        f"made         {origin.created} by {origin.software}",
    ]
    lines += [f"weights      {origin.kept}"] if origin.kept else []
    lines += [f"license      {origin.license}"] if origin.license else []
    lines += [f"cite         {origin.citation}"] if origin.citation else []
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """``line`` without what a stranger's card could do to a terminal: escape sequences, line breaks, turned text."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in line)

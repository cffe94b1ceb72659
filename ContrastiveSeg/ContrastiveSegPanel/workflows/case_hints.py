"""What is in the scene but is no case to learn from, in words for the user."""

from __future__ import annotations

from slicer.i18n import tr as _

from .pairing import label_maps


def label_maps_hint() -> str:
    """That label map volumes are not used, and how they are; "" where there are none."""
    names = [node.GetName() for node in label_maps()]
    if not names:
        return ""
    text = _(
        "Not used: label map {names}. To learn from it, convert it to a segmentation (module Data, right click, "
        "Convert labelmap to segmentation node)."
    )
    return text.format(names=", ".join(names[:3]) + (" …" if len(names) > 3 else ""))

"""The module ``ctk``: stand-ins for the widgets of CTK that the panel uses."""

from __future__ import annotations

import types

from . import ctk_inputs, ctk_sections, ui_loader


def module() -> types.ModuleType:
    """A new module ``ctk``; its widgets become known to the .ui loader."""
    made = types.ModuleType("ctk", "CTK's widgets, as far as the panel uses them")
    for source in (ctk_sections, ctk_inputs):
        for name, cls in vars(source).items():
            if name.startswith("ctk") and isinstance(cls, type):
                setattr(made, name, cls)
                ui_loader.custom[name] = cls

    def missing(name: str) -> object:
        raise AttributeError(f"the bench has no ctk.{name}: add the real behavior or do not use it")

    made.__getattr__ = missing  # type: ignore[method-assign]
    return made

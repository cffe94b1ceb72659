"""Texts in the user's language; as they are where there is no application to translate them, as in slicer-core.

For the modules that also run there; the others take ``tr`` from ``slicer.i18n`` themselves.
"""

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        return text


__all__ = ["_"]

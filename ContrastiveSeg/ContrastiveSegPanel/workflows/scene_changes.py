"""What a work has changed in the scene: taken back in one step, and brought back again."""

from __future__ import annotations

from typing import Any

import slicer

from contrastiveseg.errors import InputError

from ..mrml.undo import Change


class SceneChanges:
    """Changes of segmentations, attributes of nodes, and volumes that were added."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._undone = False
        self._refused: list[str] = []
        self._added: list[Any] = []
        #: Node ID, attribute, and what it was before and is now.
        self._attributes: list[tuple[str, str, str | None, str | None]] = []

    def add(self, change: Change) -> None:
        """A segmentation was written into; ``change`` takes that back."""
        self._changes.append(change)

    def add_volume(self, node: Any) -> None:
        """The node was added to the scene."""
        self._added.append(node)

    def set_attribute(self, node: Any, attribute: str, value: str | None) -> None:
        """Give a node's attribute another value (None: none)."""
        before = node.GetAttribute(attribute)
        # Views that show the node are drawn anew for every change.
        if value != before:
            self._attributes.append((node.GetID(), attribute, before, value))
            node.SetAttribute(attribute, value)

    @property
    def there(self) -> bool:
        """Whether a segmentation was changed, and that was not undone."""
        return bool(self._changes) and not self._undone

    @property
    def edited_since(self) -> bool:
        """Whether the user has corrected what was made, which undoing would throw away."""
        return any(change.edited_since for change in self._changes)

    def undo(self) -> None:
        """Put the scene back as it was before.

        Raises:
            InputError: something could not be put back, and why; the rest was.
        """
        for node in self._added:
            if node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._reverse()
        self._set_attributes(before=True)
        self._undone = True
        self._report_refused()

    def redo(self) -> None:
        """After :meth:`undo`: bring back what was made, with the corrections of then.

        Raises:
            InputError: as :meth:`undo`.
        """
        self._reverse()
        for node in self._added:
            slicer.mrmlScene.AddNode(node)
            node.CreateDefaultDisplayNodes()
        self._set_attributes(before=False)
        self._undone = False
        self._report_refused()

    def _reverse(self) -> None:
        opposite: list[Change] = []
        self._refused = []
        for change in reversed(self._changes):
            try:
                opposite.append(change())
            except InputError as problem:
                self._refused.append(str(problem))
        self._changes = opposite

    def _set_attributes(self, before: bool) -> None:
        for identifier, attribute, *values in self._attributes:
            node = slicer.mrmlScene.GetNodeByID(identifier)
            if node is not None:
                node.SetAttribute(attribute, values[0 if before else 1])

    def _report_refused(self) -> None:
        if self._refused:
            raise InputError("\n".join(dict.fromkeys(self._refused)))

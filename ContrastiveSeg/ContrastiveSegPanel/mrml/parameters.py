"""What the scene remembers of the panel: values and node references in a vtkMRMLScriptedModuleNode.

What belongs to the user or to this machine (folders, device) is in :mod:`.settings` instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, overload

import vtk

from ..signal import Signal

T = TypeVar("T")


class Value(Generic[T]):
    """A value kept as JSON under the attribute's name; what cannot be read as the default's type is the default."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, parameters: None, owner: type) -> Value[T]: ...
    @overload
    def __get__(self, parameters: Parameters, owner: type) -> T: ...
    def __get__(self, parameters: Parameters | None, owner: type) -> Value[T] | T:
        if parameters is None:
            return self
        try:
            value = json.loads(parameters.mrml.GetParameter(self.name) or "null")
        except ValueError:
            return self.default
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        return value if type(value) is type(self.default) else self.default

    def __set__(self, parameters: Parameters, value: T) -> None:
        text = json.dumps(value)
        # Unchanged values write nothing: an event for nothing would make the panel refresh itself in circles.
        if parameters.mrml.GetParameter(self.name) != text:
            with parameters.writing():
                parameters.mrml.SetParameter(self.name, text)


class Node:
    """A reference to a node (None: no such node, or no longer)."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name

    def __get__(self, parameters: Parameters, owner: type) -> Any:
        return parameters.mrml.GetNodeReference(self.role)

    def __set__(self, parameters: Parameters, node: Any) -> None:
        identifier = node.GetID() if node is not None else None
        if parameters.mrml.GetNodeReferenceID(self.role) != identifier:
            with parameters.writing():
                parameters.mrml.SetNodeReferenceID(self.role, identifier)


class Nodes:
    """References to several nodes in their order, without those that are gone."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name

    def __get__(self, parameters: Parameters, owner: type) -> list[Any]:
        count = parameters.mrml.GetNumberOfNodeReferences(self.role)
        nodes = (parameters.mrml.GetNthNodeReference(self.role, i) for i in range(count))
        return [node for node in nodes if node is not None]

    def __set__(self, parameters: Parameters, nodes: list[Any]) -> None:
        if [n.GetID() for n in self.__get__(parameters, Parameters)] == [n.GetID() for n in nodes]:
            return
        with parameters.writing():
            parameters.mrml.RemoveNodeReferenceIDs(self.role)
            for node in nodes:
                parameters.mrml.AddNodeReferenceID(self.role, node.GetID())


class OptionalNodes:
    """A node or None at each position of a list, as for the channels of a model; one that is gone leaves None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name

    def __get__(self, parameters: Parameters, owner: type) -> list[Any]:
        count = parameters.mrml.GetParameter(self.role) or ""
        # More than 99 were not written by us, and might be more than there is room for.
        length = int(count) if count.isdecimal() and len(count) < 3 else 0
        return [parameters.mrml.GetNodeReference(f"{self.role}{index}") for index in range(length)]

    def __set__(self, parameters: Parameters, nodes: list[Any]) -> None:
        if self.__get__(parameters, Parameters) == nodes:
            return
        with parameters.writing():
            parameters.mrml.SetParameter(self.role, str(len(nodes)))
            for index, node in enumerate(nodes):
                parameters.mrml.SetNodeReferenceID(f"{self.role}{index}", node.GetID() if node is not None else None)


class Parameters:
    """The panel's state in one scene.

    Attributes:
        mrml: the node it is kept in.
        changed: signal after any change, by the panel itself or by others (a scene read, a script).
        changed_by_others: signal after a change that the panel did not make.
    """

    #: File name of the checkpoint; its folder is a setting of this machine.
    checkpoint = Value("")

    #: "one", "several" or "all": which volumes Segment takes. ``channels`` is for models with several channels.
    inputs = Value("one")
    input = Node()
    several = Nodes()
    channels = OptionalNodes()
    output = Node()
    mirror = Value(False)
    pieces = Value("auto")
    uncertainty = Value(False)
    #: A Markups ROI, outside of which nothing is segmented.
    roi = Node()
    #: Batch: whether a folder's uncertainty maps are written; its folders belong to this machine.
    batch_uncertainty = Value(False)
    #: "folder" or "sequence".
    batch_source = Value("folder")
    batch_sequence = Node()

    #: Fine-tune: values of ``Cases.choices`` and ``Budget.text``. Roles are kept in the volumes.
    structures = Value("")
    fine_tune_method = Value("supervised")
    fine_tune_budget = Value("10 min")
    compare_scratch = Value(False)
    #: File names of the checkpoints to start from as well.
    compared_starts = Value[list[str]]([])
    #: Names of the channels of each case, with commas between them; "" for one.
    fine_tune_channels = Value("")
    #: A word of ``RankJob``.
    rank_direction = Value("auto")
    #: What is changed in the form Advanced: method -> name of the parameter -> value.
    fine_tune_advanced = Value[dict[str, Any]]({})

    #: Pre-train: "folder" or "scene"; ``size`` is a word of ``PretrainJob``.
    pretrain_source = Value("folder")
    pretrain_method = Value("ideal")
    pretrain_size = Value("auto")
    pretrain_budget = Value("60 min")
    pretrain_advanced = Value[dict[str, Any]]({})

    prediction = Node()
    reference = Node()

    def __init__(self, mrml: Any) -> None:
        self.mrml = mrml
        self.changed, self.changed_by_others = Signal(), Signal()
        self._writing = False
        self._observation = mrml.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_modified)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The panel writes: one event for all of it."""
        before, self._writing = self._writing, True
        was = self.mrml.StartModify()
        try:
            yield
        finally:
            self.mrml.EndModify(was)
            self._writing = before

    def _on_modified(self, caller: Any, event: str) -> None:
        self.changed.emit()
        if not self._writing:
            self.changed_by_others.emit()

    def close(self) -> None:
        """Stop watching the node."""
        self.mrml.RemoveObserver(self._observation)

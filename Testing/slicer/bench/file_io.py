"""``slicer.app.coreIOManager()``: reads and writes by the real storage nodes and by the module's own file readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore

from .pythonqt import stands_in

_VOLUME = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_TYPES = {
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "VolumeFile": _VOLUME,
    "TransformFile": (".h5", ".tfm", ".mat"),
    "SceneFile": (".mrb", ".mrml"),
    "TableFile": (".csv", ".tsv"),
    "ColorTableFile": (".ctbl",),
}
_WRITERS = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLColorTableNode": "ColorTableFile",
}


@stands_in
class qSlicerScriptedFileReader(QtCore.QObject):
    """The ``parent`` of a scripted file reader."""

    def __init__(self) -> None:
        super().__init__()
        self._loaded: list[str] = []
        self._extensions: list[str] = []  # filled in by the manager

    @property
    def loadedNodes(self) -> list[str]:
        return self._loaded

    @loadedNodes.setter
    def loadedNodes(self, identifiers: list[str]) -> None:
        self._loaded = list(identifiers)

    def supportedNameFilters(self, path: str) -> list[str]:
        """Those of the reader's extensions that fit the file."""
        return [e for e in self._extensions if path.lower().endswith(e)]


@stands_in
class qSlicerCoreIOManager(QtCore.QObject):
    """Only what slicer.util asks of it."""

    signals = ("newFileLoaded(qSlicerIO::IOProperties)", "fileSaved(qSlicerIO::IOProperties)")

    def __init__(self) -> None:
        super().__init__()
        self._readers: list[Any] = []

    def _register(self, reader_class: type, parent: qSlicerScriptedFileReader) -> None:
        """As qSlicerScriptedLoadableModule does with a class NAMEFileReader in the module's file."""
        reader = reader_class(parent)
        parent._extensions = [e[e.find("*") + 1 :].rstrip(")").lower() for e in reader.extensions()]
        self._readers.append((reader, parent))

    def _unregister(self, reader_class: type) -> None:
        self._readers = [r for r in self._readers if type(r[0]).__name__ != reader_class.__name__]

    def fileType(self, path: str) -> str:
        for reader, parent in self._readers:
            if reader.canLoadFile(path) if hasattr(reader, "canLoadFile") else parent.supportedNameFilters(path):
                return reader.fileType()
        for kind, extensions in _TYPES.items():
            if str(path).lower().endswith(extensions):
                return kind
        return "NoFile"

    def registeredFileReaderCount(self, kind: str) -> int:
        return int(kind in _TYPES) + sum(r.fileType() == kind for r, _ in self._readers)

    def fileWriterFileType(self, node: Any, _extension: str = "") -> str:
        return next((kind for name, kind in _WRITERS.items() if node.IsA(name)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> list[str]:
        extensions = _TYPES.get(self.fileWriterFileType(node), ())
        return [f"{kind[1:]} (*{kind})" for kind in extensions]

    def extractKnownExtension(self, path: str, node: Any) -> str:
        extensions = _TYPES.get(self.fileWriterFileType(node), ())
        return next((e for e in extensions if path.lower().endswith(e)), "")

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        path = properties["fileName"]
        if not Path(path).exists():
            return False
        for reader, parent in self._readers:
            if reader.fileType() == kind:
                parent.loadedNodes = []
                ok = reader.load(properties)
                if not isinstance(ok, bool):
                    raise TypeError("a file reader's load is expected to return a boolean")
                for identifier in parent.loadedNodes:
                    if loaded is not None:
                        loaded.AddItem(slicer.mrmlScene.GetNodeByID(identifier))
                return ok
        load = {
            "VolumeFile": _load_volume,
            "SegmentationFile": _load_segmentation,
            "TransformFile": lambda p, _: _load_stored("vtkMRMLLinearTransformNode", p),
            "TableFile": lambda p, _: _load_stored("vtkMRMLTableNode", p),
            "ColorTableFile": lambda p, _: _load_stored("vtkMRMLColorTableNode", p),
            "SceneFile": _load_scene,
        }.get(kind)
        if load is None:
            raise NotImplementedError(f"the bench reads no {kind}")
        result = load(path, properties)
        if result is None:
            return False
        if loaded is not None and result is not True:
            if properties.get("name"):
                result.SetName(properties["name"])
            loaded.AddItem(result)
        return True

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None, scene: Any = None) -> bool:
        if kind == "SceneFile":
            path = properties["fileName"]
            if path.lower().endswith(".mrb"):
                return bool(slicer.mrmlScene.WriteToMRB(path, None))
            slicer.mrmlScene.SetURL(path)
            return bool(slicer.mrmlScene.Commit())
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def exportNodes(
        self, identifiers: Any, paths: Any, properties: dict[str, Any], harden: bool, messages: Any = None
    ) -> bool:
        if harden:
            raise NotImplementedError("the bench does not harden transforms on export")
        for identifier, path in zip(identifiers, paths, strict=True):
            node = slicer.mrmlScene.GetNodeByID(identifier)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetScene(slicer.mrmlScene)
            storage.SetFileName(path)
            if "useCompression" in properties:
                storage.SetUseCompression(properties["useCompression"])
            if not storage.WriteData(node):
                return False
        return True


def _stem(path: str) -> str:
    name = Path(path).name
    known = [e for extensions in _TYPES.values() for e in extensions if name.lower().endswith(e)]
    return name[: -len(max(known, key=len))] if known else Path(path).stem


def _load_volume(path: str, properties: dict[str, Any]) -> Any:
    options = 1 if properties.get("labelmap") else 0
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, properties.get("name") or _stem(path), options)
    if node is not None and properties.get("show", True):
        _show(node, bool(options))
    return node


def _show(node: Any, labelmap: bool) -> None:
    """A volume that was loaded comes into all slice views, where it stays until another one does."""
    logic = slicer.app.applicationLogic()
    selection = logic.GetSelectionNode()
    if labelmap:
        selection.SetActiveLabelVolumeID(node.GetID())
    else:
        selection.SetActiveVolumeID(node.GetID())
    logic.PropagateVolumeSelection(1)


def _load_segmentation(path: str, properties: dict[str, Any]) -> Any:
    if not path.lower().endswith(_TYPES["SegmentationFile"]):
        labels = slicer.modules.volumes.logic().AddArchetypeVolume(path, _stem(path), 1)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _stem(path))
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
        slicer.mrmlScene.RemoveNode(labels)
    else:
        node = _load_stored("vtkMRMLSegmentationNode", path)
    if node is not None:
        node.CreateDefaultDisplayNodes()
    return node


def _load_stored(class_name: str, path: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, _stem(path))
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(path)
    if not node.GetStorageNode().ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        return None
    return node


def _load_scene(path: str, properties: dict[str, Any]) -> bool | None:
    clear = bool(properties.get("clear", True))
    if path.lower().endswith(".mrb"):
        return True if slicer.mrmlScene.ReadFromMRB(path, clear) else None
    slicer.mrmlScene.SetURL(path)
    return True if (slicer.mrmlScene.Connect() if clear else slicer.mrmlScene.Import()) else None

"""Where results stand in the subject hierarchy."""

from typing import Any

import slicer


def place_beside(node: Any, volume: Any) -> None:
    """Put ``node`` under the volume's patient, study or folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    # Items are made by plugins that a Slicer without its application lacks: 0 then.
    item, beside = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(volume)
    if item and beside:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))

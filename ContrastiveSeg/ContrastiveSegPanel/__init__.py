"""Slicer's side of the module: the only room that imports slicer, qt, ctk and vtk."""

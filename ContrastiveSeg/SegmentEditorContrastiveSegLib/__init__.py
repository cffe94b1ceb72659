"""The effect of Slicer's Segment Editor; Slicer takes the folder's name for the module's."""

"""A bench on which the panel runs without Slicer: real MRML, real Qt, small stand-ins for the rest; see ../README.md."""

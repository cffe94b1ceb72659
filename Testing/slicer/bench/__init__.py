"""A bench on which the panel runs without Slicer: real MRML, real Qt, stand-ins for the rest; see ../README.md."""

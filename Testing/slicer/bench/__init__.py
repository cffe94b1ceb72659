"""A bench on which the Slicer panel runs without Slicer: real MRML, real Qt, small stand-ins for the rest. See ../README.md."""

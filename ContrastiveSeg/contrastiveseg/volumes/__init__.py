"""Volumes: read, write, geometry, which files make a case, resample."""

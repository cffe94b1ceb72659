"""Volumes: read, write, geometry, resample, augment."""
